"""A phone's side of offer and answer: what it describes, what it was told, and what its mouth and ear do about it.

Owns: one call's descriptions both ways (RFC 3264) and its audio. Must not know SIP. It answers from the offer in hand,
and judges each description of the peer's against the one before and the one it answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from telephony.interfaces import Host
from telephony.testing.audio import Audio
from telephony.testing.offer import (
    EVENTS,
    NUMBERS,
    Described,
    answer_faults,
    read,
    successor_faults,
    write,
)
from telephony.testing.phone_srtp import PhoneSrtp
from telephony.testing.quirks import Quirks

EVENT_NUMBER = 101


class PhoneMedia:
    """One call's media. ``complain`` is told of each fault in what the peer describes."""

    def __init__(
        self,
        host: Host,
        address: str,
        quirks: Quirks,
        complain: Callable[[str], None],
        *,
        codecs: Sequence[str],
        ptime: int,
        sends: bool,
        srtp: str | None = None,
    ) -> None:
        self.srtp = None if srtp is None else PhoneSrtp(host, srtp, quirks.lies_about_key)
        self.audio = Audio(host, address, quirks, self.srtp)
        self.audio.mouth.ptime = ptime
        self.direction = "sendrecv"
        """What we want: sendrecv, sendonly (we hold the peer), recvonly or inactive."""
        self.theirs: Described | None = None
        """The peer's last description that we took."""
        self._address = address
        self._quirks = quirks
        self._complain = complain
        self._codecs = tuple(codecs)
        self._sends = sends
        self._session_id = host.random.getrandbits(31)
        self._version = 1
        self._written = b""
        self._offered: Described | None = None
        self._seen: Described | None = None
        self._zero = False
        self._quiet = False  # whether we agreed to hear nothing

    @property
    def offering(self) -> bool:
        """Whether an offer of ours waits for its answer."""
        return self._offered is not None

    @property
    def held(self) -> bool:
        """Whether the peer holds us: it wants to hear nothing."""
        said = self.theirs
        return said is not None and (
            said.direction in ("sendonly", "inactive") or (bool(said.port) and said.rtp is None)
        )

    def offer(self) -> bytes:
        """Return an offer of what we want now."""
        number = next(n for n in range(EVENT_NUMBER, 128) if n not in NUMBERS.values())
        formats = [(NUMBERS[codec], codec) for codec in self._codecs]
        if not self._quirks.no_events:
            formats.append((number, EVENTS))
        body = self._describe(formats, self.direction, None)
        self._offered = read(body)
        if self.direction in ("sendrecv", "recvonly"):  # RFC 3264 5.1: from the offer on we have to expect it
            self.audio.ear.expect_sound()
        return body

    def answer(self, body: bytes) -> bytes | None:
        """Take the peer's offer and return our answer; None when nothing in it is of use to us (488)."""
        offer = self._taken(body)
        formats = [(n, offer.names[n]) for n in offer.formats if offer.names.get(n) in self._codecs]
        if not formats or not offer.port or not self._secured_by(offer):
            return None
        events = offer.number(EVENTS)
        if events is not None and not self._quirks.no_events:
            formats.append((events, EVENTS))
        direction = self.direction
        if offer.direction == "inactive" or (offer.direction == direction != "sendrecv"):
            direction = "inactive"
        elif offer.direction == "sendonly":
            direction = "recvonly" if direction == "sendrecv" else "inactive"
        elif offer.direction == "recvonly":
            direction = "sendonly" if direction in ("sendrecv", "sendonly") else "inactive"
        direction = self._quirks.answer_direction or direction
        if self._quirks.answer_hold_sendrecv:
            direction = "sendrecv"
        answer = self._describe(formats, direction, offer)
        self._accept(offer, direction, 1.0)
        return answer

    def take_answer(self, body: bytes) -> bool:
        """Take the peer's answer to our offer; False when it can't be used. The first answer to an offer counts."""
        offer = self._offered
        if offer is None:
            return True
        answer = self._taken(body)
        for fault in answer_faults(offer, answer):
            self._complain(fault)
        if not answer.port or not any(name in self._codecs for name in answer.names.values()):
            return False
        if not self._secured_by(answer):
            return False
        self._offered = None
        self._accept(answer, offer.direction, 0.25)
        return True

    def answered_by_another(self, offer: bytes, body: bytes) -> bool:
        """Take the answer of another fork than the one whose reliable answer stood; False when it can't be used."""
        self._offered = read(offer)
        self._seen = self.theirs = None
        return self.take_answer(body)

    def hear_early(self, body: bytes) -> None:
        """Look at the answer of a provisional response: it may be of one fork of several, so it settles nothing."""
        if self._offered is not None:
            said = read(body)
            for fault in [*said.faults, *answer_faults(self._offered, said)]:
                self._complain(fault)
            if self._quirks.early_rtp:
                self._configure(said)
                self.start()

    def see_refused(self, body: bytes) -> None:
        """Look at an offer that comes at the wrong moment, so that the next description can be judged against it."""
        if body:
            self._taken(body)

    def withdraw(self) -> None:
        """Forget an offer that was refused; what was agreed before stands."""
        self._offered = None
        if self._quiet:
            self.audio.ear.expect_quiet(1.0)

    def start(self) -> None:
        """Send, if this phone sends and knows where to."""
        if self._sends and self.theirs is not None:
            self.audio.mouth.start()

    def _secured_by(self, said: Described) -> bool:
        """Take the peer's SRTP key where we want SRTP; False when it isn't as we want it."""
        if self.srtp is None:
            return not said.secured
        return said.secured and self.srtp.take(said.text)

    def _taken(self, body: bytes) -> Described:
        said = read(body)
        for fault in said.faults:
            self._complain(f"description: {fault}")
        # An offer that was refused may count as the one before, or not: RFC 3264 8 doesn't say.
        judged = [successor_faults(before, said) for before in (self._seen, self.theirs) if before is not None]
        for fault in min(judged, key=len, default=[]):
            self._complain(fault)
        self._seen = said
        return said

    def _accept(self, said: Described, own: str, grace: float) -> None:
        self._configure(said)
        mouth, ear = self.audio.mouth, self.audio.ear
        mouth.held = own not in ("sendrecv", "sendonly") or said.direction not in ("sendrecv", "recvonly")
        self._quiet = own in ("sendonly", "inactive") or self._zero
        if self._quiet:
            ear.expect_quiet(grace)
        else:
            ear.expect_sound()

    def _configure(self, said: Described) -> None:
        self.theirs = said
        mouth = self.audio.mouth
        number = next((n for n in said.formats if said.names.get(n) in self._codecs), None)
        if number is None:
            return
        rtcp = None if said.rtp is None else (said.rtp[0], said.rtcp_port or said.rtp[1] + 1)
        mouth.configure(said.rtp, rtcp, said.names[number], number)
        mouth.event_type = said.number(EVENTS)

    def _describe(self, formats: list[tuple[int, str]], direction: str, offered: Described | None) -> bytes:
        quirks = self._quirks
        if quirks.sdp is not None:
            return quirks.sdp
        rtp, rtcp = self.audio.ports
        ear = self.audio.ear
        self._zero = quirks.hold_with_zero and self.direction in ("sendonly", "inactive")
        for _ in range(2):
            body = write(
                address=self._address,
                session_id=self._session_id,
                version=self._version,
                port=0 if quirks.port_zero else rtp,
                rtcp_port=1 if quirks.port_zero else rtcp,
                formats=formats,
                direction="sendrecv" if self._zero else direction,
                ptime=self.audio.mouth.ptime,
                connection=("::" if ":" in self._address else "0.0.0.0") if self._zero else None,
                offered=offered,
                crypto=None if self.srtp is None else self.srtp.line(),
            )
            if body == self._written or not self._written or quirks.frozen_version:
                break
            self._version += 1
            self._written = b""
        self._written = body
        for number, name in formats:
            ear.names[number] = name
            if name == EVENTS:
                ear.event_type = number
        return body
