"""The ways in which a phone can misbehave, as plain knobs.

Owns: the names of what can go wrong on purpose. Must not know how: the phone asks each knob where it matters. All of
them are things that real phones, gateways and networks have been seen to do.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from telephony.sip.message import Message


@attrs.define(slots=True)
class Quirks:
    """Knobs for misbehaviour, all off: a phone as the RFCs want it. They may be turned at any moment."""

    deaf: bool = False
    """Hear messages and answer nothing at all."""
    slow: float = 0.0
    """Handle every message only so many seconds after it came."""
    trying: bool = True
    """Send 100 for an INVITE at once."""
    no_ack: bool = False
    """Never acknowledge a 2xx."""
    ack_cseq: int = 0
    """Add this to the CSeq number of each ACK to a 2xx."""
    extra_200: int = 0
    """Send so many more copies of each 2xx to an INVITE at once."""
    bye_behind_200: bool = False
    """Send BYE right behind our 2xx to the INVITE, without waiting for the ACK."""
    bye_before_200: bool = False
    """Send that BYE before the 2xx, in the same moment."""
    answer_on_cancel: bool = False
    """Answer the call at the moment its CANCEL comes, as if the 2xx had crossed it."""
    ignore_cancel: bool = False
    """Answer the CANCEL with 200 and do nothing else about it."""
    ignore_bye: bool = False
    """Don't answer a BYE."""
    refuse_reinvite: int = 0
    """Answer re-INVITEs and UPDATEs with this status."""
    glare: int = 0
    """Answer so many re-INVITEs and UPDATEs with 491, as if ours had crossed them; it counts down."""
    no_prack: bool = False
    """Never acknowledge a reliable provisional response."""
    no_wait_for_prack: bool = False
    """Send the 2xx though a description that was sent reliably waits for its PRACK."""
    answers_again: bool = False
    """Describe our side in the 2xx again, though a reliable response has answered."""
    no_refresh: bool = False
    """Never refresh a session, whatever was agreed."""
    no_expiry: bool = False
    """Don't end a session that the peer does not refresh."""
    offerless: bool = False
    """Dial without an offer; the answer goes into the ACK."""
    no_sdp_in_200: bool = False
    """Answer with a 2xx that has no body."""
    sdp: bytes | None = None
    """Send this in the place of each of our session descriptions."""
    port_zero: bool = False
    """Describe our audio with port 0: refused."""
    hold_with_zero: bool = False
    """Hold by ``c=IN IP4 0.0.0.0``, as before RFC 3264, with no direction attribute."""
    answer_hold_sendrecv: bool = False
    """Answer every offer with sendrecv, whatever direction it had."""
    answer_direction: str = ""
    """Answer every offer with this direction."""
    frozen_version: bool = False
    """Never count up the version in our o= line."""
    lies_about_key: bool = False
    """Secure what we send with another SRTP key than we described."""
    no_events: bool = False
    """Know nothing of RFC 4733."""
    no_marker: bool = False
    """Never set the marker bit."""
    early_rtp: bool = False
    """Send RTP as soon as the peer's address is known, before the 2xx."""
    late_rtp: float = 0.0
    """Begin to send RTP so many seconds late."""
    new_ssrc_every: float = 0.0
    """Change the SSRC (and begin sequence and timestamps anew) so often, in seconds."""
    event_ends: int = 3
    """How many end packets a key press has."""
    rtcp: bool = True
    """Send RTCP reports."""
    alter: Callable[[Message], Message | None] | None = None
    """Called with each message before it is sent first: returns what to send instead, None for nothing."""
