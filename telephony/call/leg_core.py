"""What every leg is made of: its parts, and the opening and closing of its media.

Owns: the RTP port, session and endpoint of one dialog from their opening to their release, the keys between them and
the dialog, and the leg's one end. Must not know when a leg dials, answers or is offered something: `leg_calling` and
`leg` do, which are built upon this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from telephony.call.keys import KeysIn, KeysOut
from telephony.call.leg_words import Ending, How, LegOwner
from telephony.media.endpoint import Endpoint
from telephony.rtp.ports import PortPair
from telephony.rtp.session import RtpSession
from telephony.sdp.negotiation import Agreed, Negotiation, PeerDescription, Securing
from telephony.sip.headers import format_reason
from telephony.sip.incoming import IncomingSession
from telephony.sip.message import Message
from telephony.sip.outgoing import OutgoingSession
from telephony.sip.parties import allows
from telephony.sip.session import Session

if TYPE_CHECKING:
    from telephony.call.exchange import Exchange
    from telephony.call.whereabouts import Whereabouts
    from telephony.sdp.elsewhere import Elsewhere


class LegCore:
    """A dialog with its media, without what either does."""

    __slots__ = (
        "_answered",
        "_early",
        "_early_answers",
        "_elsewhere",
        "_exchange",
        "_keys_in",
        "_keys_out",
        "_locating",
        "_media_at",
        "_negotiation",
        "_offer",
        "_pair",
        "_reliable",
        "_rtp",
        "_securing",
        "endpoint",
        "owner",
        "session",
        "whereabouts",
    )

    def __init__(self, exchange: Exchange, owner: LegOwner) -> None:
        self._exchange = exchange
        self.owner: LegOwner | None = owner
        self.session: IncomingSession | OutgoingSession | None = None
        self.endpoint: Endpoint | None = None
        self._negotiation: Negotiation | None = None
        #: What their INVITE offers, until it is answered.
        self._offer: PeerDescription | None = None
        self._pair: PortPair | None = None
        self._rtp: RtpSession | None = None
        self._locating: Deferred[Any] | None = None
        self._elsewhere: Callable[[], None] | None = None
        #: By To tag: the first description of each fork, and the answer that one has given reliably (R17, R19).
        self._early_answers: dict[str, bytes] = {}
        self._reliable: dict[str, bytes] = {}
        #: Made with the first key: most calls have none.
        self._keys_in: KeysIn | None = None
        self._keys_out: KeysOut | None = None
        self._early: str | None = None
        self._answered = False
        self._media_at = ""
        self._securing = Securing.REFUSED
        self.whereabouts: Whereabouts | None = None
        """Where the far end's audio goes, once it was to go anywhere but here."""

    @property
    def agreed(self) -> Agreed | None:
        """What the last offer/answer exchange settled, None before the first."""
        return None if self._negotiation is None else self._negotiation.agreed

    @property
    def elsewhere(self) -> Elsewhere | None:
        """Whose place our last agreed description names, None for our own."""
        return None if self._negotiation is None else self._negotiation.elsewhere

    @property
    def media_addresses(self) -> tuple[str, str] | None:
        """The address of ours that media uses, and what the far end is told of it; None without media."""
        return None if self._rtp is None else (self._rtp.address[0], self._media_at)

    def _negotiation_for(self, codecs: Sequence[str]) -> Negotiation:
        assert self._rtp is not None
        wanted = tuple(codecs) or self._exchange.codecs
        present = self._negotiation
        if present is not None and present.is_fresh and present.codecs == wanted:
            return present
        return Negotiation(
            self._media_at,
            self._rtp.address[1],
            self._exchange.host.random.getrandbits(31),
            codecs=wanted,
            securing=self._securing,
            new_key=self._exchange.host.random.randbytes,
        )

    def _open_media(self, address: str, remote: str, codecs: Sequence[str]) -> None:
        exchange = self._exchange
        self._pair = exchange.ports.acquire(address)
        self._media_at = exchange.advertised(address, remote)
        random = exchange.host.random
        recorder = exchange.recorder
        pair = self._pair if recorder is None or not recorder.media else recorder.tapped(self._pair, self)
        self._rtp = RtpSession(pair, exchange.host.clock, random, f"{random.getrandbits(48):012x}")
        self._negotiation = self._negotiation_for(codecs)
        self.endpoint = Endpoint(self._rtp, exchange.media_clock)
        self.endpoint.on_digit = self._digit

    def _watch_media(self) -> None:
        """Begin the media timer, now that both sides send (R32)."""
        if self.owner is not None and self.endpoint is not None:
            self.endpoint.watch(self.owner.media_timeout, self._media_lost)

    def _media_lost(self) -> None:
        session = self.session
        if session is not None:
            session.bye([("Reason", format_reason("SIP", 408, "No Media"))])
        self._over(Ending(How.SILENT, 0, "no RTP and no RTCP came"))

    def _start_media(self) -> None:
        if self.endpoint is not None:
            self.endpoint.start()

    def _keys_that_come(self) -> KeysIn:
        if self._keys_in is None:
            self._keys_in = KeysIn(self._exchange.clock, self._key_by_info)
        return self._keys_in

    def _digit(self, digit: str) -> None:
        self._keys_that_come().event()
        if self.owner is not None:
            self.owner.leg_digit(digit)

    def _key_by_info(self, key: str) -> None:
        if self.endpoint is not None:
            self.endpoint.pressed(key)
        if self.owner is not None:
            self.owner.leg_digit(key)

    def _begin_keys(self, session: Session, message: Message) -> None:
        """Send keys by INFO where the far end takes no telephone events, if ``message`` says that it takes INFO."""
        if self.endpoint is not None and allows(message, "INFO"):
            self._keys_out = KeysOut(session, self._keys_refused)
            self.endpoint.signal = self._keys_out.send

    def _keys_refused(self, keys: str) -> None:
        if self.endpoint is not None:
            self.endpoint.signal = None
            self.endpoint.press(keys)

    def _first_packet(self) -> None:
        if self.owner is not None and not self._answered:
            self.owner.leg_early_media()

    def _close(self) -> None:
        """Stop the media, free the port and let go of everything; the session looks after itself from here."""
        if self.owner is not None and self._rtp is not None:
            self.owner.leg_media_over(self._rtp.packets_received, self._rtp.packets_sent)
        self.owner = None
        if self._keys_in is not None:
            self._keys_in.close()
        self._elsewhere = None
        if self._locating is not None:
            locating, self._locating = self._locating, None
            locating.addErrback(lambda _given_up: None)
            locating.cancel()
        if self.session is not None:
            if self._answered and self.session.dialog is not None:
                self._exchange.replacing.ended.note(self.session.dialog)
            self.session.observer = None
            self.session = None
        if self.whereabouts is not None:
            self.whereabouts.close()
            self.whereabouts = None
        self._release_media()

    def _release_media(self) -> None:
        if self._keys_out is not None:
            self._keys_out.close()
            self._keys_out = None
        if self.endpoint is not None:
            self.endpoint.signal = None
            self.endpoint.on_digit = None
            self.endpoint.on_first_packet = None
            self.endpoint.on_timeout = None
            self.endpoint.stop()
            self.endpoint = None
        if self._rtp is not None:
            self._rtp.close()
            self._rtp = None
        self._pair = None

    def _over(self, ending: Ending) -> None:
        owner = self.owner
        self._close()
        if owner is not None:
            owner.leg_over(ending)
