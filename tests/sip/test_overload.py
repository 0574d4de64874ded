"""More calls than there is time for: who waits, who is refused, and what that costs (RFC 3261 21.5.4, issue 5)."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from telephony.interfaces import Address
from telephony.sip import admission, defence
from telephony.sip.admission import CALM, FULL, MOST_WAITING, PATIENCE, SLICE, Admission
from telephony.sip.glance import Refusing, begins_call
from telephony.sip.incoming import IncomingSession
from telephony.sip.message import Request, Response
from telephony.sip.parser import parse_message
from telephony.sip.timers import Timers
from telephony.sip.transaction import server_key
from telephony.sip.user_agent import UserAgent
from telephony.testing.busy import BusyHost
from telephony.testing.clock import SimulatedClock
from telephony.testing.network import SimulatedNetwork
from tests.sip.fakes import ANSWER, BOB, US, Peer, World

SOURCE: Address = ("192.0.2.9", 5062)


class SlowClock(SimulatedClock):
    """A clock that goes on while a test's function runs, by what the test says that it took."""

    spent = 0.0

    def seconds(self) -> float:
        return self._now + self.spent

    def spend(self, seconds: float) -> None:
        self.spent += seconds


class AdmissionTests(SynchronousTestCase):
    """The control law by itself."""

    def setUp(self) -> None:
        self.clock = SlowClock()
        self.counters: Counter[str] = Counter()
        self.taken: list[Any] = []
        self.refused: list[Any] = []
        self.cost = 1.01 * SLICE / 5  # five fit into a slice
        self.admission: Admission[Any] = Admission(self.clock, self.counters, self.take, self.refused.append)

    def take(self, call: Any) -> None:
        self.taken.append(call)
        self.clock.spend(self.cost)

    def offer(self, *calls: Any) -> None:
        for call in calls:
            self.admission.offer(call)

    def next_turn(self) -> None:
        """Let the reactor look at its timers once."""
        self.clock._step(self.clock.seconds())

    def test_in_order_and_in_slices(self) -> None:
        """RFC 3261 16.1: first come, first served; no more in one turn than its slice holds."""
        self.offer(*range(12))
        self.admission.turn()
        self.assertEqual(self.taken, list(range(5)))
        self.admission.turn()
        self.assertEqual(len(self.taken), 5, "its next turn is the reactor's to give")
        self.clock.advance(0)
        self.assertEqual((self.taken, self.refused, len(self.admission)), (list(range(12)), [], 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_at_least_one(self) -> None:
        """However long one call takes, each turn takes one up."""
        self.cost = 3 * SLICE
        self.offer(1, 2)
        self.admission.turn()
        self.assertEqual(self.taken, [1])
        self.clock.advance(0)
        self.assertEqual(self.taken, [1, 2])

    def test_patience(self) -> None:
        """RFC 3261 21.5.4: who has waited for longer than twice the patience is refused, who hasn't is taken up."""
        self.offer("old")
        self.clock.advance(PATIENCE)
        self.offer("young")
        self.clock.advance(PATIENCE + 0.01)
        self.admission.turn()
        self.assertEqual((self.refused, self.taken), (["old"], ["young"]))
        self.assertEqual((self.counters["calls_put_off"], self.counters["overloads"]), (1, 1))

    def test_standing(self) -> None:
        """After a hiccup everybody is taken up; where somebody has waited for a second, patience is half of that."""
        self.offer("held up")
        self.clock.advance(1.5 * PATIENCE)
        self.admission.turn()
        self.assertEqual((self.refused, self.taken), ([], ["held up"]))
        self.cost = 0.1
        for step in range(30):
            self.offer(*[step] * 4)
            self.admission.turn()
            self.next_turn()
        self.assertGreater(len(self.refused), 30)
        self.offer("last")
        self.clock.spend(PATIENCE + 0.01)
        self.next_turn()
        self.assertIn("last", self.refused)

    def test_endless_patience(self) -> None:
        """A patience of 0: nobody is refused for having waited."""
        self.admission.patience = 0.0
        self.offer("old")
        self.clock.advance(3600)
        self.admission.turn()
        self.assertEqual((self.refused, self.taken), ([], ["old"]))

    def test_unread(self) -> None:
        """As long as something more urgent may wait unread, new calls wait; those that waited too long are refused."""
        self.offer(*range(20))
        self.admission.turn(True)
        taken = len(self.taken)
        self.assertEqual(taken, 5, "what was read is dealt with")
        for _ in range(10):
            self.admission.turn(True)
            self.next_turn()
            self.assertEqual(len(self.taken), taken, "and no more")
        self.next_turn()
        self.assertEqual(len(self.taken), 2 * taken, "all has been read")
        self.admission.turn(True)
        self.clock.spend(2 * PATIENCE)
        self.next_turn()
        self.assertEqual((len(self.taken), len(self.refused)), (2 * taken, 20 - 2 * taken))

    def test_full(self) -> None:
        """Where everything else takes all the time, none is taken up."""
        for others, expected in ((0.0, 5), (FULL / 2, 5), (FULL + 0.001, 0)):
            self.setUp()
            self.offer(*range(100))
            self.admission.turn()
            before = len(self.taken)
            self.clock.spend(others)
            self.next_turn()
            self.assertEqual(len(self.taken) - before, expected, others)

    def test_bounded(self) -> None:
        """Every queue is bounded: beyond that the newest is refused at once."""
        self.offer(*range(MOST_WAITING + 3))
        self.assertEqual((len(self.admission), len(self.refused)), (MOST_WAITING, 3))

    def test_what_follows(self) -> None:
        """A CANCEL stays behind its INVITE, and is never refused."""
        self.offer("invite")
        self.admission.follow("cancel")
        self.clock.advance(1)
        self.admission.turn()
        self.assertEqual((self.refused, self.taken), (["invite"], ["cancel"]))

    def test_one_line_each(self) -> None:
        """However many are refused, the log says once that it begins and once that it is over."""
        said: list[str] = []
        log = admission._log
        self.patch(admission._log, "observer", lambda event: said.append(event["log_format"] % ()))
        self.assertIs(log, admission._log)
        for _ in range(50):
            self.offer("call")
            self.clock.advance(2 * PATIENCE + 0.1)
            self.admission.turn()
            self.assertTrue(self.admission.overloaded)
        self.assertEqual(len(said), 1, said)
        self.clock.advance(CALM + 1)
        self.assertEqual((len(said), self.admission.overloaded), (2, False))
        self.assertIn("{refused} new calls", said[1])
        self.assertEqual((self.counters["overloads"], self.counters["calls_put_off"]), (1, 50))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close(self) -> None:
        """Nothing is left after the end: no timer, nobody who waits."""
        self.offer(*range(12))
        self.clock.spend(1)
        self.offer(*range(12))
        self.admission.turn()
        self.assertTrue(self.admission.overloaded)
        self.admission.close()
        self.assertEqual((self.clock.getDelayedCalls(), len(self.admission)), ([], 0))


INVITE = (
    "INVITE sip:sales@192.0.2.1 SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bKa1{via}\r\n"
    "Via: SIP/2.0/UDP 10.1.1.1;branch=z9hG4bKb2\r\n"
    "Max-Forwards: 70\r\n"
    "From: Bob <sip:bob@192.0.2.9>;tag=b\r\n"
    "To: <sip:sales@192.0.2.1>{to}\r\n"
    "Call-ID: c1\r\n"
    "CSeq: 7 INVITE\r\n"
    "Contact: <sip:bob@192.0.2.9:5062>\r\n"
    "Content-Length: 0\r\n\r\n"
)


def invite(via: str = "", to: str = "", **changes: str) -> bytes:
    """Return an INVITE, with ``changes`` of header names: ``To="t"`` makes it compact."""
    text = INVITE.format(via=via, to=to)
    for name, other in changes.items():
        text = text.replace(f"\r\n{name.replace('_', '-')}:", f"\r\n{other}:")
    return text.encode()


class GlanceTests(SynchronousTestCase):
    """What is seen of a request without parsing it."""

    def setUp(self) -> None:
        self.refusing = Refusing(b"secret", "abc", "telephony", 5, 10)

    def refusal(self, data: bytes, source: Address = SOURCE) -> Response:
        seen = self.refusing.refusal(data, source)
        assert seen is not None
        response = parse_message(seen.response)
        assert isinstance(response, Response)
        self.destination = seen.destination
        return response

    def test_new_calls(self) -> None:
        """RFC 3261 12.2.2: an INVITE without a tag in its To is from outside of any dialog."""
        self.assertTrue(begins_call(invite()))
        self.assertTrue(begins_call(invite(To="t")))
        self.assertTrue(begins_call(invite(To="TO \t")))
        self.assertFalse(begins_call(invite(to=";tag=x")))
        self.assertFalse(begins_call(invite(to=" ; TAG = x", To="t")))
        self.assertTrue(begins_call(invite(to=";tagged=x")))
        for method in (b"BYE", b"ACK", b"OPTIONS", b"INVITEX"):
            self.assertFalse(begins_call(invite().replace(b"INVITE ", method + b" ", 1)))
        self.assertFalse(begins_call(b"INVITE sip:a SIP/2.0\r\n\r\n"))

    def test_response(self) -> None:
        """RFC 3261 8.2.6: Vias, From, Call-ID and CSeq as they came, To with a tag; 20.33: when to come again."""
        request = parse_message(invite())
        assert isinstance(request, Request)
        response = self.refusal(invite())
        self.assertEqual((response.status, response.reason), (503, "Service Unavailable"))
        for name in ("Via", "From", "Call-ID", "CSeq"):
            self.assertEqual(response.get_all(name), request.get_all(name), name)
        self.assertEqual(response.to.uri, request.to.uri)
        self.assertTrue((response.to.tag or "").startswith("abc"))
        self.assertEqual((response.get("Server"), self.destination), ("telephony", SOURCE))

    def test_same_again(self) -> None:
        """RFC 3261 8.2.7: the same request gets the same response, another one another tag."""
        again = self.refusing.refusal(invite(), SOURCE)
        self.assertEqual(self.refusing.refusal(invite(), SOURCE), again)
        other = self.refusal(invite().replace(b"Call-ID: c1", b"Call-ID: c2"))
        self.assertNotEqual(other.to.tag, self.refusal(invite()).to.tag)

    def test_spread(self) -> None:
        """RFC 3261 20.33: callers are not all asked to come back at the same second."""
        waits = [
            int(self.refusal(invite().replace(b"Call-ID: c1", b"Call-ID: c%d" % n)).get("Retry-After") or "")
            for n in range(300)
        ]
        self.assertEqual(set(waits), set(range(5, 16)))

    def test_where_it_goes(self) -> None:
        """RFC 3261 18.2.1, 18.2.2, RFC 3581 4: ``received`` and ``rport`` are filled in, and lead back."""
        response = self.refusal(invite(via=";rport;x=1"), ("198.51.100.4", 4444))
        self.assertEqual((response.via.received, response.via.rport), ("198.51.100.4", 4444))
        self.assertEqual((response.via.params["x"], response.via.branch), ("1", "z9hG4bKa1"))
        self.assertEqual(self.destination, ("198.51.100.4", 4444))
        response = self.refusal(invite(), ("198.51.100.4", 4444))
        self.assertEqual((response.via.received, response.via.rport), ("198.51.100.4", None))
        self.assertEqual(self.destination, ("198.51.100.4", 5062))
        self.refusal(invite().replace(b"192.0.2.9:5062;", b"192.0.2.9;"))
        self.assertEqual(self.destination, ("192.0.2.9", 5060))

    def test_key(self) -> None:
        """RFC 3261 17.2.3: the transaction it belongs to is found by the same key as the parsed request's."""
        for data in (
            invite(),
            invite(Via="v"),
            invite(via=";rport"),
            invite().replace(b"192.0.2.9:5062;", b"PC.example.com;"),
            invite().replace(b";branch=", b" ; Branch = ", 1),
        ):
            request = parse_message(data)
            assert isinstance(request, Request)
            seen = self.refusing.refusal(data, SOURCE)
            assert seen is not None
            self.assertEqual(seen.key, server_key(request))

    def test_unusual(self) -> None:
        """What is written in an unusual way is for the parser: nothing is guessed."""
        usual = invite()
        for data in (
            usual.replace(b"Max-Forwards: 70", b"Subject: folded\r\n line"),
            usual.replace(b"a1\r\nVia: ", b"a1, "),
            usual.replace(b"192.0.2.9:5062;", b"[2001:db8::1];"),
            usual.replace(b"z9hG4bKa1", b"1"),
            usual.replace(b"z9hG4bKa1", b"Z9HG4BKa1"),
            usual.replace(b";branch", b";received=1.2.3.4;branch"),
            usual.replace(b";branch", b";rport=7;branch"),
            usual.replace(b"\r\nTo:", b"\r\nXo:"),
            usual.replace(b"\r\nCall-ID:", b"\r\nXall-ID:"),
            usual.replace(b"\r\n\r\n", b"\r\n"),
            usual.replace(b"bob", b"b\0b"),
            b"INVITE",
        ):
            self.assertIsNone(self.refusing.refusal(data, SOURCE), data)

    def test_acknowledgement(self) -> None:
        """RFC 3261 17.1.1.3: the ACK of such a response is known by its To tag, and needs nothing else."""
        tag = self.refusal(invite()).to.tag
        ack = invite(to=f";tag={tag}").replace(b"INVITE", b"ACK")
        self.assertTrue(self.refusing.is_acknowledgement(ack))
        self.assertFalse(self.refusing.is_acknowledgement(invite(to=";tag=other").replace(b"INVITE", b"ACK")))
        self.assertFalse(self.refusing.is_acknowledgement(ack.replace(b"ACK", b"BYE")))


class EntranceTests(SynchronousTestCase):
    """The door of a user agent, a datagram at a time."""

    def setUp(self) -> None:
        self.world = World()
        self.world.welcome()
        self.agent: UserAgent = self.world.agent
        self.bob: Peer = self.world.bob
        self.port: Any = self.world.host.ports[US]
        self._calls = 0

    def invite(self) -> Request:
        """Return the INVITE of another call of Bob's."""
        self._calls += 1
        return self.world.request(call_id=f"other-{self._calls}")

    def wait(self, *messages: bytes) -> None:
        """Let messages come in one go, new calls among them not having their turn yet."""
        self.port.draining = True
        for one in messages:
            self.port.received(one, BOB)
        self.port.draining = False

    def overload(self, *messages: bytes) -> None:
        """Let messages come and wait for too long."""
        self.wait(*messages)
        self.world.clock.advance(2 * PATIENCE + 0.01)
        self.port.drained(False)

    def test_urgent_first(self) -> None:
        """What belongs to a call that there is goes before new ones that came with it (RFC 3261 12.2.2)."""
        session, _ = self.world.called()
        session.answer(ANSWER)
        ack = self.world.request("ACK", to_tag=self.bob.one().to.tag)
        self.wait(self.invite().to_bytes(), ack.to_bytes())
        self.assertEqual((session.state.name, len(self.world.sessions)), ("CONFIRMED", 1))
        self.port.drained(False)
        self.assertEqual(len(self.world.sessions), 2)

    def test_refused_and_forgotten(self) -> None:
        """RFC 3261 8.2.7: nothing is kept of a call that is refused but that it was."""
        request = self.invite()
        self.overload(request.to_bytes())
        refusal = self.bob.one()
        self.assertEqual((refusal.status, self.world.sessions, self.agent.transactions.server), (503, [], {}))
        self.assertEqual((self.agent.counters["sent_503"], self.agent.counters["requests"]), (1, 1))
        self.bob.send(self.world.ack(request, refusal))
        self.assertEqual((self.bob.take(), self.agent.counters["stray_acks"]), ([], 1))
        self.assertEqual(self.world.leftovers(), [])

    def test_late_copy(self) -> None:
        """An INVITE that comes again after its 503 isn't taken up: its caller has given up. Later it is a new one."""
        request = self.invite()
        self.overload(request.to_bytes())
        self.bob.take()
        self.bob.send(request)
        self.assertEqual((self.bob.lines(), self.world.sessions), (["503 INVITE"], []))
        for seconds in (3.5, 20):
            self.world.host.advance(seconds)
            self.overload(self.invite().to_bytes())
            self.bob.take()
            self.bob.send(request)
            self.assertEqual(len(self.world.sessions), int(seconds > 4), seconds)
            self.bob.take()

    def test_repetition(self) -> None:
        """RFC 3261 17.2.1: an INVITE that was taken up and comes again is never refused; it gets what it got before."""
        request = self.invite()
        self.bob.send(request)
        self.assertEqual(self.bob.lines(), ["100 INVITE"])
        self.overload(request.to_bytes())
        self.assertEqual(self.bob.lines(), ["100 INVITE"])
        self.assertEqual((len(self.world.sessions), self.agent.counters["sent_503"]), (1, 0))

    def test_unusual_ones(self) -> None:
        """An INVITE that can't be refused at a glance is parsed for it; garbage is answered as ever."""
        request = self.invite()
        request.set("Subject", "x")
        folded = request.to_bytes().replace(b"Subject: x", b"Subject: x\r\n y")
        self.overload(folded)
        self.assertEqual((self.bob.lines(), self.world.sessions), (["503 INVITE"], []))
        self.overload(folded.replace(b"CSeq: ", b"CSeq: x"))
        self.assertEqual([one.status for one in self.bob.take()], [400])

    def test_cancel_behind(self) -> None:
        """RFC 3261 9.2: a CANCEL that comes with its INVITE finds it, although it waits."""
        request = self.invite()
        self.wait(request.to_bytes(), self.world.cancel(request).to_bytes())
        self.assertEqual(self.bob.take(), [])
        self.port.drained(False)
        self.assertEqual(self.bob.lines(), ["100 INVITE", "200 CANCEL", "487 INVITE"])

    def test_over_tcp(self) -> None:
        """RFC 3261 18: a new call over a stream waits like any other, and is refused like any other."""
        self.agent.listen("tcp", US)
        wire = self.world.host.connect(BOB, US)
        self.wait(self.invite().to_bytes())
        self.world.clock.advance(PATIENCE / 2)
        request = self.invite()
        request.set("Via", (request.via.branch and f"SIP/2.0/TCP 192.0.2.2;branch={request.via.branch}") or "")
        wire.send(request)
        self.assertEqual(len(self.world.sessions), 2, "there is time")
        self.assertEqual([one.status for one in wire.take()], [100])

    def test_after_the_end(self) -> None:
        """Nothing is taken up once the user agent is closed."""
        self.wait(self.invite().to_bytes())
        self.agent.close()
        self.port.drained(False)
        self.assertEqual((self.world.sessions, self.world.clock.getDelayedCalls()), ([], []))


#: What a call costs our server: to be taken up, and to be answered by its application; and a datagram, read or sent.
TAKEN_UP, ANSWERED, READ, SENT = 0.004, 0.006, 0.00025, 0.0002
#: Three are read (INVITE, ACK, BYE) and three are sent (100, 200, 200).
CAPACITY = 1 / (TAKEN_UP + ANSWERED + 3 * READ + 3 * SENT)
SECONDS = 8
TAG = re.compile(rb"\nTo: [^\r]*;tag=([^\r;]+)")
CALL = re.compile(rb"\nCall-ID: (\d+)\r")


class Callers:
    """Callers at one address, as many a second as is asked for, who repeat themselves as RFC 3261 17.1 has it."""

    def __init__(self, network: SimulatedNetwork, rate: float, seconds: float) -> None:
        self.clock = network.clock
        self.port = network.host("192.0.2.9").open_datagram_port(("192.0.2.9", 5062), self.received)
        self.counts: Counter[str] = Counter()
        #: What each call waits for an answer to, and when it is sent again.
        self.waiting: dict[tuple[int, bool], tuple[bytes, Any]] = {}
        self.setup: list[float] = []
        self.began: dict[int, float] = {}
        for number in range(int(rate * seconds)):
            self.clock.callLater(number / rate, self.call, number)

    def request(self, number: int, method: str, tag: str = "") -> bytes:
        return (
            f"{method} sip:sales@192.0.2.1 SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bK{number}{method}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:bob@192.0.2.9>;tag=b{number}\r\nTo: <sip:sales@192.0.2.1>{tag}\r\n"
            f"Call-ID: {number}\r\nCSeq: {2 if method == 'BYE' else 1} {method}\r\n"
            f"Contact: <sip:bob@192.0.2.9:5062>\r\nContent-Length: 0\r\n\r\n"
        ).encode()

    def send(self, data: bytes) -> None:
        self.port.send(data, US)

    def call(self, number: int) -> None:
        self.began[number] = self.clock.seconds()
        self.ask(number, self.request(number, "INVITE"), 0.5)

    def ask(self, number: int, data: bytes, wait: float) -> None:
        """Send a request, and again until it is answered."""
        self.send(data)
        key = number, data.startswith(b"INVITE")
        self.waiting[key] = (data, self.clock.callLater(wait, self.repeat, key, wait))

    def repeat(self, key: tuple[int, bool], wait: float) -> None:
        data, _ = self.waiting.pop(key)
        self.counts["repeated"] += 1
        if wait < 16:
            self.ask(key[0], data, 2 * wait)
        else:
            self.counts["lost"] += 1

    def answered(self, key: tuple[int, bool]) -> None:
        waiting = self.waiting.pop(key, None)
        if waiting is not None and waiting[1].active():
            waiting[1].cancel()

    def received(self, data: bytes, source: Address) -> None:
        number = int(CALL.search(data)[1])  # type: ignore[index]
        status, invite = data[8:11], b" INVITE\r" in data
        self.answered((number, invite))
        if status == b"100":
            return
        tag = TAG.search(data)
        assert tag is not None, data
        to = f";tag={tag[1].decode()}"
        if invite:
            self.send(self.request(number, "ACK", to))
        if not invite:
            self.counts["completed"] += 1
        elif status == b"200":
            self.setup.append(self.clock.seconds() - self.began[number])
            self.clock.callLater(1.0, self.ask, number, self.request(number, "BYE", to), 0.5)
        else:
            self.counts[status.decode()] += 1


class OverloadTests(SynchronousTestCase):
    """A whole server in simulated time, on a machine whose work takes time (`telephony.testing.busy`)."""

    def play(self, load: float, patience: float = PATIENCE) -> None:
        """Let so many times as many calls come as it can take, for `SECONDS`."""
        network = SimulatedNetwork(7, delay=0.001)
        host = BusyHost(network, US[0], reading=READ, sending=SENT)
        # Without the quarter of an hour that a session takes to end when its BYE gets lost.
        agent = self.agent = UserAgent(host, timers=Timers())
        self.port = agent.listen("udp", US)
        agent.defence.welcome("192.0.2.9", trunk=True)
        agent.entrance.admission.patience = patience
        self.patch(defence, "TOO_LATE", 1e9)  # the older and coarser guard, which would step in without a patience

        def answer(session: IncomingSession) -> None:
            host.spend(ANSWERED)
            session.answer(ANSWER)

        def taken_up(session: IncomingSession) -> None:
            host.spend(TAKEN_UP)
            host.clock.callLater(0, answer, session)

        agent.on_invite = taken_up
        self.callers = Callers(network, load * CAPACITY, SECONDS)
        network.advance(SECONDS + 1)
        self.counts = Counter(self.callers.counts)
        network.advance(120)
        self.left = network.clock.leftovers()

    def test_three_times_too_many(self) -> None:
        """Issue 5, Overload: at three times the capacity 80 % of it are completed, and all others get their 503."""
        self.play(3.0)
        counts = self.callers.counts
        calls = int(3 * CAPACITY * SECONDS)
        self.assertGreaterEqual(counts["completed"], 0.8 * CAPACITY * SECONDS)
        self.assertEqual((counts["completed"] + counts["503"], counts["lost"]), (calls, 0))
        self.assertEqual(counts["repeated"], 0, "no storm of repetitions")
        self.assertLess(max(self.callers.setup), 0.5, "who is taken up is answered before T1 is over")
        self.assertEqual(self.agent.counters["sent_503"], counts["503"])
        self.assertEqual(self.agent.counters["overloads"], 1)
        self.assertEqual(self.left, [])

    def test_just_enough(self) -> None:
        """Nobody is refused below the capacity, and a burst of what a fifth of a second holds is taken up."""
        self.play(0.9)
        self.assertEqual(self.callers.counts["503"], 0)
        self.assertEqual(self.callers.counts["completed"], int(0.9 * CAPACITY * SECONDS))

    def test_what_it_is_good_for(self) -> None:
        """Without it: callers repeat what has been taken up long ago, and what is completed comes too late."""
        self.play(3.0, patience=0.0)
        self.assertEqual(self.callers.counts["503"], 0)
        self.assertGreater(self.callers.counts["repeated"], 100)
        self.assertGreater(max(self.callers.setup), 5.0)
