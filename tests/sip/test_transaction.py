"""The four transaction machines (RFC 3261 17, RFC 6026), each on its own over a flow that writes down what it sends."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from telephony.sip.message import Request, Response, respond
from telephony.sip.timers import Timers
from telephony.sip.transaction import (
    INVITE_CLIENT,
    INVITE_SERVER,
    OTHER_CLIENT,
    OTHER_SERVER,
    Aftermath,
    ClientInput,
    ClientState,
    InviteServerTransaction,
    ServerInput,
    ServerState,
    Transactions,
    server_key,
)
from telephony.tables import undecided


class Line:
    """A flow that keeps what is sent."""

    transport = "UDP"
    local = ("192.0.2.1", 5060)
    remote = ("192.0.2.2", 5060)
    usable = True

    def __init__(self, clock: Clock, reliable: bool = False) -> None:
        self.clock = clock
        self.reliable = reliable
        self.sent: list[tuple[float, str]] = []
        self.watchers: list[Any] = []

    def send(self, data: bytes) -> None:
        self.sent.append((self.clock.seconds(), data.split(b"\r\n", 1)[0].decode().replace("SIP/2.0", "").strip()))

    def watch(self, watcher: Any) -> None:
        self.watchers.append(watcher)

    def unwatch(self, watcher: Any) -> None:
        if watcher in self.watchers:
            self.watchers.remove(watcher)

    def times(self, start: str) -> list[float]:
        """Return when messages with that start were sent."""
        return [when for when, what in self.sent if what.startswith(start)]


def request(method: str = "INVITE", branch: str | None = "z9hG4bKa", cseq: int = 1) -> Request:
    """Return a request."""
    made = Request(method, "sip:b@192.0.2.2")
    made.set("Via", "SIP/2.0/UDP 192.0.2.1:5060" + (f";branch={branch}" if branch else ""))
    made.set("From", "<sip:a@192.0.2.1>;tag=a")
    made.set("To", "<sip:b@192.0.2.2>")
    made.set("Call-ID", "c")
    made.set("CSeq", f"{cseq} {method}")
    return made


class TransactionCase(SynchronousTestCase):
    reliable = False

    def setUp(self) -> None:
        self.clock = Clock()
        self.line = Line(self.clock, self.reliable)
        self.all = Transactions(self.clock, Timers())
        self.seen: list[str] = []

    def tearDown(self) -> None:
        self.pass_time(100)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual((self.all.client, self.all.server, self.all.merging), ({}, {}, {}))
        self.assertEqual(self.line.watchers, [])

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds * 2)):
            self.clock.advance(0.5)

    def start(self, made: Request) -> Any:
        return self.all.start(
            made,
            self.line,
            lambda response: self.seen.append(str(response.status)),
            lambda failure, reason: self.seen.append(f"{failure.name} {reason}"),
            lambda: self.seen.append("end"),
        )

    def receive(self, transaction: Any, *statuses: int) -> None:
        for status in statuses:
            transaction.receive(respond(transaction.request, status, to_tag="b"))

    def accept(self, made: Request) -> Any:
        return self.all.accept(made, server_key(made), self.line)


class TableTests(SynchronousTestCase):
    def test_every_pair_is_decided(self) -> None:
        """Architecture, "State machines are tables": no pair of state and input is left out."""
        for table in (INVITE_CLIENT, OTHER_CLIENT):
            self.assertEqual(undecided(table, ClientState, ClientInput), [])
        for table in (INVITE_SERVER, OTHER_SERVER):
            self.assertEqual(undecided(table, ServerState, ServerInput), [])


class ClientTests(TransactionCase):
    def test_invite_timers(self) -> None:
        """RFC 3261 17.1.1.2: timer A doubles without a bound, timer B ends it at 64*T1."""
        self.start(request())
        self.pass_time(40)
        self.assertEqual(self.line.times("INVITE"), [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5])
        self.assertEqual(self.seen, ["end", "TIMEOUT no answer"])

    def test_invite_provisional_stops_the_timers(self) -> None:
        """RFC 3261 17.1.1.2: a 1xx stops A and B; an INVITE may ring for ever."""
        transaction = self.start(request())
        self.receive(transaction, 100, 180)
        self.pass_time(300)
        self.assertEqual(self.line.times("INVITE"), [0])
        self.receive(transaction, 486)
        self.assertEqual(self.seen, ["100", "180", "486"])

    def test_invite_refused(self) -> None:
        """RFC 3261 17.1.1.2: timer D: for 32 s each 486 gets its ACK, and the user hears of one."""
        transaction = self.start(request())
        self.receive(transaction, 486)
        self.pass_time(31)
        self.receive(transaction, 486, 180)
        self.assertEqual(self.line.times("ACK"), [0, 31])
        self.pass_time(2)
        self.receive(transaction, 486)
        self.assertEqual(self.line.times("ACK"), [0, 31])
        self.assertEqual(self.seen, ["486", "end"])

    def test_invite_accepted(self) -> None:
        """RFC 6026 7.2: each 2xx is passed up for 64*T1 (timer M), no ACK is sent here, refusals are dropped."""
        transaction = self.start(request())
        self.receive(transaction, 200, 200, 486, 180)
        self.pass_time(31)
        self.receive(transaction, 202)
        self.pass_time(2)
        self.receive(transaction, 200)
        self.assertEqual(self.seen, ["200", "200", "202", "end"])
        self.assertEqual(self.line.times("ACK"), [])

    def test_other_timers(self) -> None:
        """RFC 3261 17.1.2.2: timer E doubles up to T2, timer F ends it at 64*T1."""
        self.start(request("BYE"))
        self.pass_time(40)
        self.assertEqual(self.line.times("BYE"), [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5])
        self.assertEqual(self.seen, ["end", "TIMEOUT no answer"])

    def test_other_provisional(self) -> None:
        """RFC 3261 17.1.2.2: behind a 1xx the request is sent again each T2, and timer F goes on."""
        transaction = self.start(request("BYE"))
        self.receive(transaction, 100)
        self.pass_time(40)
        self.assertEqual(self.line.times("BYE"), [0, 0.5, *[4.5 + 4 * number for number in range(7)]])
        self.assertEqual(self.seen, ["100", "end", "TIMEOUT no answer"])

    def test_other_final(self) -> None:
        """RFC 3261 17.1.2.2: the final response is passed up once, others are absorbed for T4 (timer K)."""
        transaction = self.start(request("BYE"))
        self.receive(transaction, 481, 481, 100)
        self.pass_time(4.5)
        self.assertEqual(self.seen, ["481"])
        self.pass_time(1)
        self.assertEqual(self.seen, ["481", "end"])

    def test_flow_fails(self) -> None:
        """RFC 3261 17.1.4, 8.1.3.1: a failed flow ends what has no response; what has one waits on, for 18.2.2.

        An INVITE stays for its late 2xx (rule 1), and for nothing else.
        """
        for method in ("INVITE", "BYE"):
            self.seen.clear()
            transaction = self.start(request(method))
            transaction.flow_failed("refused")
            self.receive(transaction, 180, 486, 200)
            seen = ["TRANSPORT refused", "200"] if method == "INVITE" else ["end", "TRANSPORT refused"]
            self.assertEqual(self.seen, seen)
            self.pass_time(40)
            self.assertEqual(self.seen, [*seen, "end"] if method == "INVITE" else seen)
            self.seen.clear()
            transaction = self.start(request(method))
            self.receive(transaction, 100)
            self.assertEqual(self.line.watchers, [])
            transaction.flow_failed("refused")
            self.receive(transaction, 486)
            self.assertEqual(self.seen, ["100", "486"])
            self.pass_time(40)

    def test_close(self) -> None:
        """Transactions.close: no timer is left, nobody is told."""
        for number, statuses in enumerate([(), (100,), (200,), (486,)]):
            self.receive(self.start(request(branch=f"z9hG4bK{number}")), *statuses)
            self.receive(self.start(request("BYE", f"z9hG4bK{number}")), *statuses)
        server = self.accept(request(branch="z9hG4bKserver"))
        server.respond(respond(request(), 486, to_tag="b"))
        self.seen.clear()
        self.all.close()
        self.assertEqual((self.clock.getDelayedCalls(), self.seen), ([], []))


class ReliableClientTests(TransactionCase):
    reliable = True

    def test_nothing_is_sent_again(self) -> None:
        """RFC 3261 17.1.1.2, 17.1.2.2: timers A and E are for unreliable transports; B and F are for all."""
        self.start(request())
        self.start(request("BYE"))
        self.pass_time(40)
        self.assertEqual([what.split()[0] for _, what in self.line.sent], ["INVITE", "BYE"])
        self.assertEqual(self.seen, ["end", "TIMEOUT no answer"] * 2)

    def test_over_with_the_final_response(self) -> None:
        """RFC 3261 17.1.1.2, 17.1.2.2: timers D and K are 0; RFC 6026: M is not."""
        self.receive(self.start(request()), 486)
        self.receive(self.start(request("BYE")), 200)
        self.assertEqual(self.seen, ["486", "end", "200", "end"])
        self.assertEqual(self.line.times("ACK"), [0])
        self.receive(self.start(request()), 200)
        self.assertEqual(self.seen[4:], ["200"])

    def test_server(self) -> None:
        """RFC 3261 17.2: timers G, I and J are for unreliable transports; H is for all."""
        self.accept(request("BYE")).respond(respond(request("BYE"), 200, to_tag="b"))
        self.assertEqual(self.all.server, {})
        refused = self.accept(request())
        refused.respond(respond(request(), 486, to_tag="b"))
        self.pass_time(31)
        self.assertEqual(self.line.times("486"), [0])
        refused.feed(ServerInput.ACK)
        self.assertEqual(self.all.server, {})


class ServerTests(TransactionCase):
    def response(self, status: int, method: str = "INVITE") -> Response:
        return respond(request(method), status, to_tag="b")

    def test_invite_refused(self) -> None:
        """RFC 3261 17.2.1: timer G up to T2, H ends it; the INVITE again gets the refusal again."""
        transaction = self.accept(request())
        transaction.respond(self.response(180))
        transaction.feed(ServerInput.REQUEST)
        transaction.respond(self.response(486))
        transaction.feed(ServerInput.REQUEST)
        self.assertEqual([what for _, what in self.line.sent], ["180 Ringing"] * 2 + ["486 Busy Here"] * 2)
        transaction.respond(self.response(200))
        self.pass_time(40)
        self.assertEqual(self.line.times("486"), [0, 0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5])
        self.assertEqual(self.line.times("200"), [])

    def test_invite_acknowledged(self) -> None:
        """RFC 3261 17.2.1: the ACK stops timer G; for T4 (timer I) what comes again is absorbed."""
        transaction = self.accept(request())
        transaction.respond(self.response(486))
        transaction.feed(ServerInput.ACK)
        transaction.feed(ServerInput.REQUEST)
        transaction.feed(ServerInput.ACK)
        self.pass_time(4.5)
        self.assertEqual(len(self.all.server), 1)
        self.pass_time(1)
        self.assertEqual((len(self.all.server), len(self.line.sent)), (0, 1))

    def test_invite_accepted(self) -> None:
        """RFC 6026 7.1: the INVITE again is absorbed for 64*T1 (timer L), the 2xx again is its user's business."""
        transaction = self.accept(request())
        assert isinstance(transaction, InviteServerTransaction)
        data = transaction.respond(self.response(200))
        transaction.feed(ServerInput.REQUEST)
        self.assertEqual(len(self.line.sent), 1)
        transaction.send_again(data)
        self.assertEqual(len(self.line.sent), 2)
        transaction.respond(self.response(180))
        transaction.respond(self.response(486))
        self.pass_time(31.5)
        self.assertEqual((len(self.all.server), len(self.line.sent)), (1, 2))
        self.pass_time(1)
        transaction.send_again(data)
        self.assertEqual((len(self.all.server), len(self.line.sent)), (0, 2))

    def test_other(self) -> None:
        """RFC 3261 17.2.2: nothing before a response, then the response again, for 64*T1 (timer J)."""
        transaction = self.accept(request("INFO"))
        transaction.feed(ServerInput.REQUEST)
        self.assertEqual(self.line.sent, [])
        transaction.respond(self.response(200, "INFO"))
        transaction.feed(ServerInput.REQUEST)
        self.pass_time(31.5)
        transaction.feed(ServerInput.REQUEST)
        self.assertEqual(self.line.times("200"), [0, 0, 31.5])
        transaction.respond(self.response(486, "INFO"))
        self.assertEqual(self.line.times("486"), [])


class MatchingTests(SynchronousTestCase):
    def test_branch(self) -> None:
        """RFC 3261 17.2.3: branch, sent-by and method; an ACK matches its INVITE."""
        self.assertEqual(server_key(request()), server_key(request("ACK")))
        self.assertNotEqual(server_key(request()), server_key(request("CANCEL")))
        self.assertNotEqual(server_key(request()), server_key(request(branch="z9hG4bKb")))
        elsewhere = request()
        elsewhere.set("Via", "SIP/2.0/UDP 192.0.2.1:5061;branch=z9hG4bKa")
        self.assertNotEqual(server_key(request()), server_key(elsewhere))

    def test_without_the_cookie(self) -> None:
        """RFC 3261 17.2.3: without the magic cookie, or with nothing behind it, the rules of RFC 2543 hold."""
        for branch in (None, "1", "z9hG4bK"):
            self.assertEqual(server_key(request(branch=branch)), server_key(request("ACK", branch)))
            self.assertNotEqual(server_key(request(branch=branch)), server_key(request(branch=branch, cseq=2)))
            self.assertNotEqual(server_key(request(branch=branch)), server_key(request("BYE", branch)))


class LifetimeTests(SynchronousTestCase):
    def test_no_cycles(self) -> None:
        """Architecture, "Learned by trying": a transaction that is over is freed without the garbage collector."""
        clock = Clock()
        line = Line(clock)
        everything = Transactions(clock, Timers())
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)

        class Holder:
            """A user that holds its transaction, which holds its methods."""

            def heard(self, *_: object) -> None:
                pass

        dead = []
        for method, status in (("INVITE", 200), ("INVITE", 486), ("BYE", 200), ("BYE", None)):
            holder = Holder()
            holder.transaction = everything.start(  # type: ignore[attr-defined]
                request(method), line, holder.heard, holder.heard, holder.heard
            )
            if status is not None:
                holder.transaction.receive(respond(request(method), status, to_tag="b"))  # type: ignore[attr-defined]
            dead.append(weakref.ref(holder))
            del holder
            clock.advance(31.9)
            clock.advance(0.2)
        self.assertEqual([one() for one in dead], [None] * 4)

    def test_one_timer_for_all_that_wait(self) -> None:
        """Aftermath: however many wait, there is one timer, and each is called at its own time."""
        clock = Clock()
        over: list[tuple[int, float]] = []
        aftermath = Aftermath(clock, 32)
        for number in range(100):
            aftermath.add(lambda number=number: over.append((number, clock.seconds())))  # type: ignore[misc]
            clock.advance(0.1)
        self.assertEqual(len(clock.getDelayedCalls()), 1)
        for _ in range(400):
            clock.advance(0.1)
        self.assertEqual([number for number, _ in over], list(range(100)))
        for number, when in over:
            self.assertAlmostEqual(when, 32 + number / 10, delta=0.11)
        self.assertEqual(clock.getDelayedCalls(), [])
