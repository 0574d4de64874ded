"""The stage on which the table of races is played: phones, an application, a bad network, and what is held of them.

Owns: the vocabulary of `tests.races`, the kinds of network trouble, and what a scenario for something unbuilt must fail
of. Must not know any row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

import attrs
from twisted.internet.defer import Deferred

from telephony.call import direct as direct_module
from telephony.call.channel import CallChannel
from telephony.call.constants import State, TransferCause
from telephony.call.direct import DirectState
from telephony.call.resources import TonePlayer
from telephony.interfaces import Address
from telephony.sip.message import Message, Request, Response, respond
from telephony.sip.parser import parse_message
from telephony.testing.case import SERVER, CallTestCase
from telephony.testing.phone import Phone
from telephony.testing.phone_dialog import PhoneDialog
from telephony.testing.sounds import tone
from telephony.trace.events import TraceEvent
from tests.call.media_scene import packets_of

#: What each phone says all the time, in Hz, and what the caller hears while the target rings.
SAYS = {"alice": 500, "bob": 1000, "carol": 1500}
RINGBACK = (440, 480)
#: How much of a tone has to be heard: the worst network here loses and garbles a little of it.
MOST = 0.6

#: Kinds of trouble, each with its seed: what every link is like that a scenario hasn't made `Race.orderly`.
TROUBLES: dict[str, tuple[int, dict[str, Any]]] = {
    "far": (1, {"delay": 0.03, "jitter": 0.03}),
    "lossy": (2, {"delay": 0.005, "loss": 0.03}),
    "unruly": (3, {"delay": 0.01, "duplicate": 0.15, "reorder": 0.1}),
}


@attrs.frozen
class Row:
    """One scenario of the table; ``unbuilt`` is why it has to fail, ``fails_with`` a pattern for how.

    ``anchored`` is why it says nothing of direct media, "" where it does.
    """

    number: str
    play: Callable[[Race], Coroutine[Any, Any, None]]
    unbuilt: str = ""
    fails_with: str = ""
    anchored: str = ""

    @property
    def name(self) -> str:
        """The scenario's name as part of a test's."""
        return f"{self.number.lower()}_{self.play.__name__}"


class FailsOtherwise(Exception):  # noqa: N818 - it says what became of a scenario
    """A scenario for something unbuilt failed, but not of that."""


class Race(CallTestCase):
    """Alice calls the application, which transfers her to bob; carol is a third phone.

    ``a`` is alice's channel, ``b`` the one bob is called on, ``verb`` the transfer's Deferred, ``began`` when it began.
    """

    row: Row
    #: Whether the media of transferred calls come by the server.
    anchored = True
    a: CallChannel
    b: CallChannel
    verb: Deferred[State]
    began: float

    def setUp(self) -> None:
        super().setUp()
        self.alice, self.bob, self.carol = (self.phone(name) for name in SAYS)
        for phone in self.phones:
            phone.says(tone(SAYS[phone.name]))
        self.sent: dict[str, dict[tuple[str, ...], Message]] = {phone.address[0]: {} for phone in self.phones}
        #: When a message of the server's left for a phone, repetitions too.
        self.left: list[tuple[float, str, Message]] = []
        #: What the INVITEs to each phone described, by branch.
        self.offered: dict[str, dict[str, bytes]] = {phone.address[0]: {} for phone in self.phones}
        self.network.watchers.append(self._was_sent)
        self.calls: list[CallChannel] = []
        self.exchange.on_call = self.calls.append

    # -- arrange -------------------------------------------------------------------------------------------------

    def orderly(self, *phones: Phone, delay: float | None = None) -> None:
        """Let nothing between these phones and the server be lost or overtaken from now on: the row is about an order.

        ``delay`` sets the way's length in seconds. What comes twice still does.
        """
        settings: dict[str, Any] = {"loss": 0.0, "reorder": 0.0, "jitter": 0.0}
        if delay is not None:
            settings["delay"] = delay
        for phone in phones:
            self.network.link(phone.address[0], SERVER, **settings)

    async def calls_in(self, **details: Any) -> None:
        """Alice's call has come in; nobody has answered it."""
        self.alice.dial(self.uri("3300"), **details)
        await self.comes(lambda: self.calls, "alice's call")
        self.a = self.calls[0]

    async def answered(self, **details: Any) -> None:
        """The application has answered alice."""
        await self.calls_in(**details)
        self.assertIs(await self.a.answer(), State.ANSWERED)
        TonePlayer(self.a)

    async def transferring(self, to: str | None = None, *, limit: float = 60, rings: bool = True) -> None:
        """The application transfers alice; bob's phone has the INVITE and rings."""
        if not self.calls:
            await self.answered()
        self.begin(to or self.bob.uri, limit)
        if to is None:
            known = len(self.bob.calls)
            await self.comes(lambda: len(self.bob.calls) > known, "bob's call")
            if rings:
                self.bob.ring()
                await self.passes(0.3)

    def begin(self, to: str, limit: float = 60) -> None:
        """Begin the transfer, on the same second channel as before."""
        if not hasattr(self, "b"):
            self.b = self.exchange.channel()
        self.began = self.now()
        self.verb = self.a.retrievable_transfer(self.b, to, seconds_timeout=limit)

    async def transferred(self) -> None:
        """Alice and bob talk."""
        await self.transferring()
        self.bob.answer()
        await self.ends(State.TRANSFERRED)
        await self.comes(lambda: self.bob.call.answered, "the ACK of bob's 200")
        await self.passes(0.3)

    # -- act -----------------------------------------------------------------------------------------------------

    async def passes(self, seconds: float) -> None:
        """Let time pass."""
        done: Deferred[None] = Deferred()
        self.network.clock.callLater(seconds, done.callback, None)
        await done

    async def comes(self, what: Callable[[], object], name: str, within: float = 10.0) -> None:
        """Wait until something is true; fail with its name when it doesn't get so."""
        end = self.now() + within
        while not what():
            if self.now() > end:
                self.fail(f"{name} did not come within {within:g} s")
            await self.passes(0.01)

    def now(self) -> float:
        """The clock's time."""
        return self.network.clock.seconds()

    def request(
        self, phone: Phone, method: str, *headers: tuple[str, str], cseq: int | None = None, body: bytes = b""
    ) -> Deferred[Response | None]:
        """Send a request in the dialog of a phone's call, behind the phone's back; fires with the final response."""
        call = phone.call
        dialog = call._dialog or PhoneDialog.called(call.invite, call.provisionals[-1])
        request = call._request(dialog, method, cseq)
        for name, value in headers:
            request.add(name, value)
        call._attach(request, body)
        done: Deferred[Response | None] = Deferred()

        def came(response: Response | None) -> None:
            if response is None or response.status >= 200:
                done.callback(response)

        call._send(dialog, request, came)
        return done

    def provisional_again(self, status: int) -> None:
        """Send a 1xx from bob behind his back: his phone would not send one any more."""
        response = respond(self.bob.call.invite, status, to_tag=self.bob.call.local_tag)
        response.add("Contact", f"<{self.bob.uri}>")
        self.network._datagram(self.bob.address, response.to_bytes(), (SERVER, 5060))

    # -- hold ----------------------------------------------------------------------------------------------------

    async def ends(self, state: State, within: float = 10.0) -> None:
        """Hold that the transfer verb ends with a state, in so many seconds at most."""
        await self.comes(lambda: self.verb.called, "the end of the transfer verb", within)
        self.assertIs(await self.verb, state)

    async def outcome(self, a: State, b: State, cause: TransferCause, within: float = 3.0) -> None:
        """Hold that this comes about: the state of A, of B, and the transfer's cause."""
        wanted = (a, b, cause)
        end = self.now() + within
        while self.found() != wanted and self.now() < end:
            await self.passes(0.01)
        self.assertEqual([str(one) for one in self.found()], [str(one) for one in wanted])

    def found(self) -> tuple[State, State, TransferCause]:
        """What the application sees."""
        return self.a.state(), self.b.state(), self.a.transfer_cause()

    async def saw(self, phone: Phone, within: float = 10.0, **counts: int) -> None:
        """Hold how many requests of a method the wire saw on their way to a phone: ``BYE=1``, and no second one.

        ``_200=1`` is of responses, those to INVITE only. Repetitions count once; what got lost was on the wire too.
        """

        def seen() -> dict[str, int]:
            return {what: len(self.sent_to(phone, what)) for what in counts}

        end = self.now() + within
        while any(seen()[what] < counts[what] for what in counts) and self.now() < end:
            await self.passes(0.05)
        await self.passes(1)
        self.assertEqual(seen(), counts, f"what {phone.name} was sent")

    def sent_to(self, phone: Phone, what: str) -> list[Message]:
        """The requests of a method, or responses (``_487``) to INVITE, that the server sent a phone."""
        return [message for message in self.sent[phone.address[0]].values() if _is(message, what)]

    def times(self, phone: Phone, what: str) -> list[float]:
        """When the server sent those, each repetition too."""
        return [time for time, host, message in self.left if host == phone.address[0] and _is(message, what)]

    def _was_sent(self, event: TraceEvent) -> None:
        if event.source[0] == SERVER:
            message = parse_message(event.data)
            if message is not None and self._counts(message, event.destination[0]):
                first = message.method if isinstance(message, Request) else str(message.status)
                key = first, message.via.branch or "", message.get("CSeq") or "", message.get("To") or ""
                self.sent[event.destination[0]].setdefault(key, message)
                self.left.append((self.now(), event.destination[0], message))

    def _counts(self, message: Message, host: str) -> bool:
        """Tell whether a message of the server's is one that a row speaks of; note what it describes."""
        if isinstance(message, Request) and message.method == "INVITE":
            self.offered[host][message.via.branch or ""] = message.body
        return True

    def got_all(self, phone: Phone) -> list[Response]:
        """Every final response that a phone got, repetitions too."""
        found = [one.message for one in phone.log if not one.sent]
        return [one for one in found if isinstance(one, Response) and one.status >= 200]

    async def hears(self, phone: Phone, *frequencies: float, seconds: float = 1.0) -> None:
        """Hold that a phone hears a tone from now on, for most of the time."""
        since = self.now()
        await self.passes(seconds)
        total = sum(one.seconds for one in phone.heard(*frequencies, since=since))
        self.assertGreater(total, MOST * seconds, f"{phone.name} hears {frequencies}")

    async def deaf(self, phone: Phone, *frequencies: float, seconds: float = 1.0) -> None:
        """Hold that a phone doesn't hear a tone from a moment after now."""
        await self.passes(0.2)
        since = self.now()
        await self.passes(seconds)
        self.assertEqual(phone.heard(*frequencies, since=since), [], f"{phone.name} does not hear {frequencies}")

    async def quiet(self, *phones: Phone, seconds: float = 1.0) -> None:
        """Hold that phones get no RTP at all from a moment after now."""
        await self.passes(0.3)
        since = self.now()
        await self.passes(seconds)
        for phone in phones:
            self.assertEqual(packets_of(phone, since), [], f"RTP to {phone.name}")

    async def talk(self) -> None:
        """Hold that alice and bob hear each other."""
        await self.hears(self.alice, SAYS["bob"])
        await self.hears(self.bob, SAYS["alice"])

    def rtp_of(self, channel: CallChannel) -> Address:
        """Where a channel's call gets its RTP."""
        assert channel.leg is not None and channel.leg.endpoint is not None
        return channel.leg.endpoint.rtp.address

    # -- the works -----------------------------------------------------------------------------------------------

    async def play(self, row: Row) -> None:
        """Play a row; one for something unbuilt may fail of that and of nothing else."""
        self.row = row
        try:
            await row.play(self)
        except AssertionError as error:
            if row.unbuilt and not re.search(row.fails_with, str(error)):
                raise FailsOtherwise(f"expected to fail with {row.fails_with!r}: {error}") from error
            raise

    def _judge(self) -> None:
        try:
            super()._judge()
        except AssertionError as error:
            if self.row.unbuilt:
                raise FailsOtherwise(f"the scenario passes: {error}") from error
            raise


class DirectRace(Race):
    """The same with direct media: what a row does to two that talk it does once their media are direct.

    Rows count what the server sends; the re-INVITEs that send audio elsewhere, or bring it back, are not of any row.
    """

    anchored = False
    exchange_settings: ClassVar[dict[str, Any]] = {"media": "direct"}

    def setUp(self) -> None:
        super().setUp()
        #: By Call-ID: what holds; by Call-ID and CSeq: which re-INVITEs move audio.
        self._holds: dict[str, bytes] = {}
        self._moves: dict[tuple[str, int], bool] = {}

    async def transferred(self) -> None:
        """Alice and bob talk, directly where nothing stands in the way."""
        await super().transferred()
        await self.comes(self._decided, "an end of the look for obstacles")
        await self.passes(0.3)

    def _decided(self) -> bool:
        direct = None if self.a.transfer is None else self.a.transfer.direct
        return direct is None or direct.state in (DirectState.DIRECT, DirectState.ANCHORED)

    def _counts(self, message: Message, host: str) -> bool:
        super()._counts(message, host)
        key = message.call_id, message.cseq.number
        if not isinstance(message, Request) or message.method not in ("INVITE", "ACK"):
            return True
        if message.method == "INVITE" and message.to.tag is not None and key not in self._moves:
            before = self._holds.get(message.call_id, b"")
            self._moves[key] = message.body != before and (_elsewhere(message.body) or _elsewhere(before))
            self._holds[message.call_id] = message.body
        return not self._moves.get(key, False)

    def _judge(self) -> None:
        # Who hangs up gets what the other had sent by then, and goes on to send until it is told: nobody can help that.
        for phone in self.phones:
            for call in phone.calls:
                ear = call.media.audio.ear
                late = ear.heard_packets()[-ear.unwanted :] if ear.unwanted else []
                ear.unwanted = sum(one.source[0] == SERVER for one in late)
            if self.row.number == "R37":
                # A description that was lost with its connection had a version too, which the phone has never seen.
                phone.complaints[:] = [one for one in phone.complaints if "the o= version went from" not in one]
        super()._judge()


class HastyRace(DirectRace):
    """The same while media are on their way to being direct: what a row does comes between the re-INVITEs."""

    def setUp(self) -> None:
        super().setUp()
        # The first look comes a moment before `Race.transferred` is over.
        self.patch(direct_module, "SETTLE", 0.29)

    async def transferred(self) -> None:
        """Alice and bob talk, and one of them has a re-INVITE."""
        await Race.transferred(self)


def _elsewhere(body: bytes) -> bool:
    """Tell whether a description names somebody else's place than the server's."""
    return b"c=IN IP4 " in body and f"c=IN IP4 {SERVER}\r\n".encode() not in body


def _is(message: Message, what: str) -> bool:
    if isinstance(message, Response):
        return what == f"_{message.status}" and message.cseq.method == "INVITE"
    return isinstance(message, Request) and message.method == what


def rows_of(*rows: Row) -> Callable[[type[Race]], type[Race]]:
    """Give a class a test for each row; an unbuilt one's is marked with trial's ``todo``."""

    def filled(case: type[Race]) -> type[Race]:
        for row in rows:
            setattr(case, f"test_{row.name}", _test(row))
        return case

    return filled


def _test(row: Row) -> Callable[[Race], Coroutine[Any, Any, None]]:
    async def test(self: Race) -> None:
        await self.play(row)

    test.__doc__ = f"{row.number} of transfer.md: {row.play.__doc__}"
    if row.unbuilt:
        # By its name: trial can't report the unexpected success of a mark that has the class.
        test.todo = (["builtins.AssertionError"], row.unbuilt)  # type: ignore[attr-defined]
    return test
