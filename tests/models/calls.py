"""The model of calls: caller, target, application and network do what they like, and the invariants must hold.

Each step is something a person, a program or a network may do at any moment. What must always hold is ``transfer.md``,
"Invariants", I1 to I8; I9 has a test of its own beside this, I5 and I10 are judged packet by packet in the audio model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import attrs
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.defer import Deferred

from telephony.call import states
from telephony.call.channel import CallChannel
from telephony.call.constants import State, TransferCause
from telephony.call.core import ChannelCore
from telephony.call.exchange import Exchange
from telephony.call.resources import TonePlayer
from telephony.errors import TelephonyError
from telephony.interfaces import Address
from telephony.sip.message import Request, Response
from telephony.sip.parser import parse_message
from telephony.testing.network import SimulatedNetwork
from telephony.testing.phone import Phone
from telephony.testing.phone_call import CallState, PhoneCall
from telephony.trace.events import TraceEvent
from telephony.trace.ladder import Note, ladder

SERVER = "10.0.0.1"
#: 3*64*T1 (I4), and what a drained call may still need besides.
AFTERMATH = 3 * 64 * 0.5 + 10
#: A verb ends within its limit plus this (rule 7).
GRACE = 1.0

SITUATIONS = ["idle", "incoming", "answered", "transferring", "ringing", "transferred", "retrieved"]
LIMITS = st.sampled_from([0.0, 0.1, 1.0, 4.0, 10.0])
TIMES = st.sampled_from([0.004, 0.006, 0.02, 0.02, 0.02, 0.3, 2.0, 6.0])
PAUSES = st.sampled_from([0.0, 0.0, 0.004, 0.006, 0.011, 0.02, 0.02, 0.3])
LOSSES = st.sampled_from([0.0, 0.0, 0.1, 0.3])
REFUSALS = st.sampled_from([486, 603, 480, 404, 408, 500, 503, 302, 401])


def move(**arguments: Any) -> Callable[[Callable[..., None]], Any]:
    """Make a rule of what somebody does, with a pause of any length behind it: none, too short for a packet, longer."""

    def made(method: Callable[..., None]) -> Any:
        def moved(self: Calls, pause: float, **drawn: Any) -> None:
            method(self, **drawn)
            self.network.advance(pause)

        moved.__name__ = method.__name__
        moved.__doc__ = method.__doc__
        return rule(pause=PAUSES, **arguments)(moved)

    return made


@attrs.define
class Running:
    """A verb that has been called: when it must have ended, and its Deferred's outcome once it has."""

    name: str
    due: float
    outcome: object = None

    def ended(self, value: object) -> None:
        """Take the outcome, failures too."""
        self.outcome = value if value is not None else "None"


class Calls(RuleBasedStateMachine):
    """Anybody does anything at any time."""

    #: Whether phones send RTP, so that what is heard can be judged.
    media = False

    @initialize(
        seed=st.integers(0, 2**32),
        loss=LOSSES,
        jitter=st.sampled_from([0.0, 0.0, 0.02]),
        tcp=st.booleans(),
        situation=st.sampled_from(SITUATIONS),
    )
    def begin(self, seed: int, loss: float, jitter: float, tcp: bool, situation: str) -> None:
        """Put the phones and the server on a network, lead them into a situation, and let the network get worse."""
        self.prepare(seed, tcp)
        self.lead_to(situation)
        self.refusing = loss > 0
        for one in ("10.0.0.2", "10.0.0.3"):
            self.network.link(SERVER, one, loss=loss, jitter=jitter, duplicate=loss / 3, reorder=loss / 3)

    def prepare(self, seed: int, tcp: bool) -> None:
        """Put the phones and the server on a network."""
        self.network = SimulatedNetwork(seed)
        self.exchange = Exchange(self.network.host(SERVER), call_seconds=600)
        for transport in ("udp", "tcp"):
            self.exchange.listen(f"{transport}:{SERVER}:5060")
        self.events: list[TraceEvent] = []
        self.exchange.trace = self.events.append
        self.notes: list[Note] = []
        transport = "tcp" if tcp else "udp"
        self.alice = Phone(self.network.host("10.0.0.2"), ("10.0.0.2", 5060), "alice", media=self.media)
        self.bob = Phone(
            self.network.host("10.0.0.3"), ("10.0.0.3", 5060), "bob", media=self.media, transport=transport
        )
        self.exchange.on_call = self.arrived
        self.channel: CallChannel | None = None
        self.other: CallChannel = self.made(self.exchange.channel())
        self.channels: list[CallChannel] = [self.other]
        self.causes: dict[CallChannel, TransferCause] = {}
        self.verbs: list[Running] = []
        self.wrong_steps: list[str] = []
        self.reinviting: set[PhoneCall] = set()
        #: Whether the network may keep a TCP connection from opening: what waits for one is then never sent.
        self.refusing = False

    def lead_to(self, situation: str) -> None:
        """Do what leads to one of `SITUATIONS`, so that the steps begin where the races are."""
        way: list[Callable[[], None]] = [
            lambda: self.caller_dials(pause=0.02, quirk="none"),
            lambda: self.app_answers(pause=0.02),
            lambda: self.app_transfers(pause=0.02, limit=10.0, tcp=False),
            lambda: self.target_rings(pause=0.02, status=180, sdp=False),
            lambda: self.target_answers(pause=0.02, quirk="none"),
            lambda: self.app_retrieves(pause=0.03),
        ]
        for step in way[: SITUATIONS.index(situation)]:
            step()

    # -- the application ---------------------------------------------------------------------------------------------

    def made(self, channel: CallChannel) -> CallChannel:
        """Watch a channel's steps."""
        channel.observers.append(self.stepped)
        return channel

    def arrived(self, channel: CallChannel) -> None:
        """Take an inbound call; it is the one that the application works with from now on, if it has none."""
        self.made(channel)
        self.channels.append(channel)
        if self.channel is None or self.channel.state() is State.IDLE:
            self.channel = channel
        else:
            channel.reject()

    def stepped(self, channel: ChannelCore, old: State, new: State) -> None:
        """I7: each step is in the published graph; rule 6: the caller's end is the target's."""
        self.notes.append((self.network.clock.seconds(), "", f"{channel.id} {new}"))
        if new not in states.TABLE[old].values():
            self.wrong_steps.append(f"I7: {channel.id}: {old} to {new}")
        if (
            new is State.IDLE
            and old in (State.TRANSFERRING, State.TRANSFERRED)
            and self.other.state() is not State.IDLE
        ):
            self.wrong_steps.append(f"rule 6: {channel.id} is over and its target's call is {self.other.state()}")

    def use(self, name: str, deferred: Deferred[Any], limit: float) -> None:
        """Note a verb that was called."""
        running = Running(name, self.network.clock.seconds() + limit + GRACE)
        self.verbs.append(running)
        deferred.addErrback(lambda failure: failure.trap(TelephonyError) and "refused")
        deferred.addCallbacks(running.ended, running.ended)

    def usable(self) -> bool:
        """Whether there is an inbound call's channel."""
        return self.channel is not None

    def incoming(self) -> bool:
        """Whether the inbound call waits for an answer."""
        return self.channel is not None and self.channel.state() in (State.CALL_INCOMING, State.RING_INCOMING)

    def up(self) -> bool:
        """Whether the inbound call is answered."""
        return self.channel is not None and self.channel.state() not in (State.IDLE, State.CALL_INCOMING)

    def transferred(self) -> bool:
        """Whether the inbound call is transferred, or on its way back."""
        return self.channel is not None and self.channel.state() in (State.TRANSFERRED, State.RECONNECTING)

    @precondition(incoming)
    @move(seconds=LIMITS)
    def app_rings(self, seconds: float) -> None:
        """Call ring()."""
        self.use("ring", self.channel.ring(seconds), seconds)

    @precondition(incoming)
    @move()
    def app_answers(self) -> None:
        """answer(): bounded by 64*T1, since the ACK may never come."""
        self.use("answer", self.channel.answer(), 32)

    @precondition(usable)
    @move(raw=st.sampled_from([None, "486", "302", "503"]))
    def app_rejects(self, raw: str | None) -> None:
        """reject()."""
        self.use("reject", self.channel.reject(raw_cause=raw), 60)

    @precondition(usable)
    @move()
    def app_hangs_up(self) -> None:
        """hang_up(): bounded by 64*T1 for an unacknowledged 2xx."""
        self.use("hang_up", self.channel.hang_up(), 32)

    @precondition(lambda self: self.other.state() is not State.IDLE)
    @move()
    def app_hangs_up_the_other(self) -> None:
        """other_call.hang_up()."""
        self.use("other.hang_up", self.other.hang_up(), 32)

    @precondition(up)
    @move(limit=LIMITS, tcp=st.booleans())
    def app_transfers(self, limit: float, tcp: bool) -> None:
        """retrievable_transfer()."""
        if self.channel.TonePlayer is None:
            TonePlayer(self.channel)
        if self.channel.state() is State.ANSWERED and self.other.state() is State.IDLE:
            self.causes.pop(self.channel, None)
        target = self.bob.contact("TCP" if tcp else "UDP")
        self.use("transfer", self.channel.retrievable_transfer(self.other, target, seconds_timeout=limit), limit)

    @precondition(lambda self: self.other.state() is State.IDLE)
    @move(limit=LIMITS)
    def app_calls(self, limit: float) -> None:
        """call() on the other channel."""
        self.use("call", self.other.call(self.bob.uri, seconds_timeout=limit), limit)

    @precondition(usable)
    @move()
    def app_retrieves(self) -> None:
        """retrieve_transferred_call()."""
        self.use("retrieve", self.channel.retrieve_transferred_call(), 0.1)

    @precondition(usable)
    @move(limit=LIMITS)
    def app_waits_for_retrieval(self, limit: float) -> None:
        """wait_for_transferred_call_retrieval()."""
        self.use("wait", self.channel.wait_for_transferred_call_retrieval(limit), limit)

    @precondition(usable)
    @move(limit=LIMITS)
    def app_waits_for_idle(self, limit: float) -> None:
        """wait_for_idle()."""
        self.use("wait_for_idle", self.channel.wait_for_idle(limit), limit)

    @precondition(up)
    @move()
    def app_connects(self) -> None:
        """connect()."""
        self.use("connect", self.channel.connect(self.other), 0)

    @precondition(up)
    @move()
    def app_disconnects(self) -> None:
        """disconnect()."""
        self.use("disconnect", self.channel.disconnect(), 0)

    @precondition(up)
    @move()
    def app_gives_up_a_verb(self) -> None:
        """A transfer whose Deferred is cancelled at once after it was begun."""
        if self.channel.TonePlayer is None:
            TonePlayer(self.channel)
        if self.channel.state() is State.ANSWERED and self.other.state() is State.IDLE:
            self.causes.pop(self.channel, None)
        verb = self.channel.retrievable_transfer(self.other, self.bob.uri)
        verb.addErrback(lambda _failure: None)
        verb.cancel()

    @precondition(usable)
    @move(which=st.sampled_from(["ring", "answer", "disconnect", "retrieve_transferred_call", "start_call"]))
    def app_is_careless(self, which: str) -> None:
        """A verb at any moment, legal or not."""
        arguments = [self.bob.uri] if which == "start_call" else []
        self.use(which, getattr(self.channel, which)(*arguments), 32)

    # -- the caller and the target -----------------------------------------------------------------------------------

    @precondition(lambda self: not self.alice.calls or self.alice.call.state is CallState.ENDED)
    @move(quirk=st.sampled_from(["no_ack", "ignore_bye", "offerless", "deaf", "none", "none", "none"]))
    def caller_dials(self, quirk: str) -> None:
        """A new call in, unless one is up."""
        for name in ("no_ack", "ignore_bye", "offerless", "deaf"):
            setattr(self.alice.quirks, name, name == quirk)
        self.alice.dial(f"sip:3300@{SERVER}:5060")

    def talking(self, phone: Phone, *wanted: CallState) -> PhoneCall | None:
        """Return the phone's call if it is in one of these states."""
        return phone.call if phone.calls and phone.call.state in wanted else None

    @precondition(lambda self: bool(self.alice.calls) and self.alice.call.state is not CallState.ENDED)
    @move()
    def caller_hangs_up(self) -> None:
        """BYE, or CANCEL before the answer."""
        if self.talking(self.alice, CallState.TALKING):
            self.alice.hang_up().addErrback(lambda _failure: None)
        elif self.talking(self.alice, CallState.DIALLING, CallState.FAR_RINGING):
            self.alice.cancel()

    @move(caller=st.booleans(), resume=st.booleans())
    def somebody_holds(self, caller: bool, resume: bool) -> None:
        """A re-INVITE from either side."""
        phone = self.alice if caller else self.bob
        if self.talking(phone, CallState.TALKING) and phone.call not in self.reinviting:
            call = phone.call
            self.reinviting.add(call)
            (call.resume() if resume else call.hold()).addBoth(lambda _status: self.reinviting.discard(call))

    def target_called(self) -> bool:
        """Whether the target has a call to answer."""
        return self.talking(self.bob, CallState.INCOMING, CallState.RINGING) is not None

    @precondition(target_called)
    @move(status=st.sampled_from([180, 183]), sdp=st.booleans())
    def target_rings(self, status: int, sdp: bool) -> None:
        """A provisional response."""
        if self.talking(self.bob, CallState.INCOMING, CallState.RINGING):
            self.bob.ring(status, sdp=sdp and status == 183)

    @precondition(target_called)
    @move(
        quirk=st.sampled_from(
            ["bye_behind_200", "bye_before_200", "no_sdp_in_200", "port_zero", "extra_200", "none", "none", "none"]
        )
    )
    def target_answers(self, quirk: str) -> None:
        """200, in one of the ways phones do it."""
        if self.talking(self.bob, CallState.INCOMING, CallState.RINGING):
            for name in ("bye_behind_200", "bye_before_200", "no_sdp_in_200", "port_zero"):
                setattr(self.bob.quirks, name, name == quirk)
            self.bob.quirks.extra_200 = 1 if quirk == "extra_200" else 0
            self.bob.answer()

    @precondition(target_called)
    @move(status=REFUSALS)
    def target_refuses(self, status: int) -> None:
        """A final response of 300 or more."""
        if self.talking(self.bob, CallState.INCOMING, CallState.RINGING):
            self.bob.reject(status)

    @precondition(lambda self: self.talking(self.bob, CallState.TALKING) is not None)
    @move()
    def target_hangs_up(self) -> None:
        """BYE."""
        if self.talking(self.bob, CallState.TALKING):
            self.bob.hang_up().addErrback(lambda _failure: None)

    @move(on=st.booleans(), which=st.sampled_from(["answer_on_cancel", "deaf", "ignore_cancel", "ignore_bye"]))
    def target_is_odd(self, on: bool, which: str) -> None:
        """What phones have been seen to do."""
        setattr(self.bob.quirks, which, on)

    # -- the network and time ------------------------------------------------------------------------------------------

    @rule(seconds=TIMES)
    def time_passes(self, seconds: float) -> None:
        """Nothing else happens for a while."""
        self.network.advance(seconds)

    @move(caller=st.booleans(), heal=st.booleans())
    def network_breaks(self, caller: bool, heal: bool) -> None:
        """Nothing comes through to one phone, or everything does again."""
        self.refusing = self.refusing or not heal
        (self.network.heal if heal else self.network.partition)(SERVER, "10.0.0.2" if caller else "10.0.0.3")

    @precondition(lambda self: self.bob.transport == "tcp")
    @move()
    def connections_break(self) -> None:
        """Every TCP connection is reset."""
        self.network.reset_streams(SERVER, "10.0.0.3")

    # -- what must hold ------------------------------------------------------------------------------------------------

    @invariant()
    def holds(self) -> None:
        """Check what must hold at every moment."""
        if not hasattr(self, "network"):
            return
        self.check(not self.wrong_steps, "; ".join(self.wrong_steps))
        now = self.network.clock.seconds()
        for running in self.verbs:
            self.check(running.outcome is not None or now <= running.due, f"rule 7, I6: {running.name} did not end")
        for channel in self.channels:
            cause, known = channel.transfer_cause(), self.causes.get(channel, TransferCause.NONE)
            self.check(known in (TransferCause.NONE, cause), f"I8: cause was {known} and became {cause}")
            self.causes[channel] = cause
            if channel.state() is State.TRANSFERRED:
                self.check(self.other.state() is State.ANSWERED, "TRANSFERRED without an answered target")
                self.check(cause is TransferCause.NORMAL, f"TRANSFERRED with cause {cause}")

    def check(self, holds: bool, text: str) -> None:
        """Fail with the ladder."""
        if not holds:
            names: dict[Address, str] = {
                ("10.0.0.2", 5060): "alice",
                (SERVER, 5060): "server",
                ("10.0.0.3", 5060): "bob",
            }
            note(ladder(self.network.events, names, notes=self.notes, start=1000.0))
            raise AssertionError(text)

    def teardown(self) -> None:
        """Hang everything up, wait, and look at what is left and what was on the wire."""
        if not hasattr(self, "network"):
            return
        # What goes on behind the application's back (late 2xx, held CANCELs) is given its time: a server that is
        # closed meanwhile doesn't owe it any more.
        for channel in self.channels:
            channel.release()
        self.network.advance(AFTERMATH)
        closed: list[object] = []
        self.exchange.close().addCallback(closed.append)
        self.network.advance(AFTERMATH)
        self.check(bool(closed), "the exchange did not close")
        for running in self.verbs:
            self.check(running.outcome is not None, f"I6: {running.name} never ended")
            self.check(isinstance(running.outcome, str | bool | State), f"{running.name} raised {running.outcome!r}")
        for channel in self.channels:
            self.check(channel.state() is State.IDLE, f"{channel.id} is {channel.state()} after the end")
        self.check_media()
        for phone in (self.alice, self.bob):
            phone.close()
        self.network.advance(1)
        left = self.network.leftovers()
        self.check(not left, f"I4: left over: {left}")
        self.check_wire()

    def check_media(self) -> None:
        """I3: nothing was sent from a leg's port after its owner was IDLE (here: after the last one was)."""

    def check_wire(self) -> None:
        """I1 and I2, from what the server received and sent."""
        acked: set[tuple[str, str | None, int]] = set()
        wanted: set[tuple[str, str | None, int]] = set()
        byes: dict[tuple[str, str | None, str | None], set[str | None]] = defaultdict(set)
        for event in self.events:
            try:
                message = parse_message(event.data)
            except ValueError:
                continue
            if isinstance(message, Response) and not event.sent and 200 <= message.status < 300:
                unsendable = self.refusing and message.via.transport.upper() == "TCP"
                if message.cseq.method == "INVITE" and not unsendable:
                    wanted.add((message.call_id, message.to.tag, message.cseq.number))
            elif isinstance(message, Request) and event.sent and message.method == "ACK":
                acked.add((message.call_id, message.to.tag, message.cseq.number))
            elif isinstance(message, Request) and event.sent and message.method == "BYE":
                byes[message.call_id, message.from_.tag, message.to.tag].add(message.via.branch)
        self.check(wanted <= acked, f"I1: 2xx without an ACK: {wanted - acked}")
        twice = [dialog for dialog, branches in byes.items() if len(branches) > 1]
        self.check(not twice, f"I2: more than one BYE in {twice}")


class DirectCalls(Calls):
    """The same with phones that talk, and a service that lets them talk directly."""

    media = True

    def prepare(self, seed: int, tcp: bool) -> None:
        """Let media be direct, and phones have something to say."""
        super().prepare(seed, tcp)
        self.exchange.media = "direct"
