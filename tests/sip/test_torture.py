"""The torture tests of SIP: each message of RFC 4475 and RFC 5118, what is read in it, and what becomes of it.

One table, `EXPECTED`, has a row for every message: the status that a phone system answers when it comes as a datagram,
the one over a stream where that differs, and what is to be read in it. None stands for no answer at all: it is a
response, or not enough of a request to answer. Each row is run through a whole exchange whose application answers
every call. Where an RFC leaves a choice (reject, or be liberal), ``why`` says what was chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from telephony.call.channel import CallChannel
from telephony.call.exchange import Exchange
from telephony.errors import RemoteProtocolError
from telephony.interfaces import Address
from telephony.sip.message import Request, Response
from telephony.sip.parser import parse_message
from telephony.sip.registrar import Registrar
from telephony.testing.network import SimulatedNetwork
from tests.sip.torture import MESSAGES

#: A checkout may have the messages of the RFCs as files beside it.
ORACLE = Path(__file__).parents[3] / "shared" / "data"

#: The stream was closed, with nothing said.
CLOSED = "closed"

#: Where responses are sent: to the source's address, at the port that the topmost Via names.
PORTS = (5060, 5050, 5070, 6050, 19823)


@attrs.frozen
class Expected:
    """What becomes of a message: a status, None for silence, or `CLOSED`; ``read`` names what is read in it."""

    datagram: int | None
    read: dict[str, Any] = attrs.field(factory=dict)
    stream: int | str | None = -1
    why: str = ""
    #: What a registrar says to a REGISTER (405 is what there is without one), and what is bound then.
    registrar: int | None = None
    bound: list[str] = attrs.field(factory=list)

    @property
    def over_stream(self) -> int | str | None:
        """What becomes of it over a stream: the same, unless the row says otherwise."""
        return self.datagram if self.stream == -1 else self.stream


def refused(status: int, sentence: str) -> dict[str, Any]:
    """Say that reading the message fails with a status and a sentence that has these words."""
    return {"refused": (status, sentence)}


EXPECTED: dict[str, Expected] = {
    # RFC 4475 3.1.1: valid messages.
    "wsinv": Expected(
        481,
        {
            "method": "INVITE",
            "to.tag": "1918181833n",
            "from_.display": 'J Rosenberg \\"',
            "from_.tag": "98asjd8",
            "max_forwards": 68,
            "cseq.number": 9,
            "via.host": "192.0.2.2",
            "via.branch": "390skdjuw",
            "vias.1.transport": "TCP",
            "vias.2.branch": "z9hG4bK30239",
            "routes.0.uri": "sip:services.example.com;lr;unknownwith=value;unknown-no-value",
            "contacts.0.params.secondparam": None,
            "contacts.0.params.q": "0.33",
        },
        why="To has a tag: it belongs to a dialog that isn't here",
    ),
    "intmeth": Expected(
        501,
        {
            "method": "!interesting-Method0123456789_*+`.%indeed'~",
            "parsed_uri.user": "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*",
            "parsed_uri.password": "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)",
            "from_.display": "token1~` token2'+_ token3*%!.-",
            "from_.tag": "_token~1'+`*%!-.",
            "max_forwards": 255,
            "call_id": "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{",
        },
    ),
    "esc01": Expected(
        200,
        {
            "parsed_uri.user": "sips%3Auser%40example.com",
            "parsed_uri.host": "example.net",
            "from_.parsed_uri.user": "I%20have%20spaces",
            "contacts.0.parsed_uri.user": "cal%6Cer",
        },
    ),
    "escnull": Expected(
        405,
        {"to.parsed_uri.user": "null-%00-null", "contacts.1.parsed_uri.user": "%00%00"},
        registrar=200,
        bound=["sip:%00%00@host5.example.com", "sip:%00@host5.example.com"],
    ),
    "esc02": Expected(
        501, {"method": "RE%47IST%45R", "to.display": "%Z%45"}, why="no escapes in a method: not REGISTER"
    ),
    "lwsdisp": Expected(200, {"from_.display": "caller", "from_.parsed_uri.user": "caller"}),
    "longreq": Expected(200, {"vias.33.host": "host.example.com", "to.parsed_uri.port": 6000, "cseq.number": 3882340}),
    "dblreq": Expected(
        405,
        {"method": "REGISTER", "call_id": "dblreq.0ha0isndaksdj99sdfafnl3lk233412", "body": b""},
        stream=400,
        why="behind a datagram's message nothing counts; the stream's second one has no SDP that can be read",
        registrar=200,
        bound=["sip:j.user@host.example.com"],
    ),
    "semiuri": Expected(200, {"parsed_uri.user": "user;par=u%40example.net", "parsed_uri.host": "example.com"}),
    "transports": Expected(200, {"vias.1.transport": "SCTP", "vias.3.transport": "UNKNOWN"}),
    "mpart01": Expected(405, {"method": "MESSAGE", "content_type": "multipart/mixed"}, why="no MESSAGE here"),
    "unreason": Expected(None, {"status": 200, "reason": "= 2**3 * 5**2 но сто девяносто девять - простое"}),
    "noreason": Expected(None, {"status": 100, "reason": ""}),
    # 3.1.2: invalid messages.
    "badinv01": Expected(400, refused(400, "Via")),
    "clerr": Expected(400, refused(400, "Content-Length"), stream=None, why="a stream waits for the rest of the body"),
    "ncl": Expected(400, refused(400, "Content-Length")),
    "scalar02": Expected(400, refused(400, "CSeq"), registrar=400),
    "scalarlg": Expected(None, refused(400, "CSeq")),
    "quotbal": Expected(400, refused(400, "To")),
    "ltgtruri": Expected(400, refused(400, "<sip:user@example.com>")),
    "lwsruri": Expected(400, refused(400, "sip:user@example.com; lr")),
    "lwsstart": Expected(200, {"uri": "sip:user@example.com"}, why="liberal: more than one space separates as well"),
    "trws": Expected(200, {"version": "SIP/2.0"}, why="liberal: spaces at the line's end mean nothing"),
    "escruri": Expected(
        200, {"parsed_uri.host": "example.com"}, why="liberal: header fields in a Request-URI are ignored"
    ),
    "baddate": Expected(200, {"cseq.number": 1392934}, why="liberal: nobody here reads Date"),
    "regbadct": Expected(405, {"method": "REGISTER"}, registrar=400),
    "badaspec": Expected(200, {"to.uri": "sip:t.watson@example.org"}, why="liberal: spaces inside angle brackets"),
    "baddn": Expected(400, refused(400, "From")),
    "badvers": Expected(505, refused(505, "SIP/7.0")),
    "mismatch01": Expected(400, refused(400, "CSeq")),
    "mismatch02": Expected(400, refused(400, "CSeq"), why="400 or 501: the mismatch is seen first"),
    "bigcode": Expected(None, refused(400, "4294967301"), stream=CLOSED),
    # 3.2 and 3.3: transactions and applications.
    "badbranch": Expected(200, {"via.branch": "z9hG4bK"}, why="the cookie alone is matched as RFC 2543 did"),
    "insuf": Expected(400, refused(400, "missing")),
    "unkscm": Expected(416, {"uri": "nobodyKnowsThisScheme:totallyopaquecontent"}),
    "novelsc": Expected(416, {"uri": "soap.beep://192.0.2.103:3002"}),
    "unksm2": Expected(405, {"to.uri": "isbn:2983792873", "contacts.0.uri": "name:John_Smith"}, registrar=400),
    "bext01": Expected(420, {"require": ["nothingsupportsthis", "nothingsupportsthiseither"]}),
    "invut": Expected(415, {"content_type": "application/unknownformat"}),
    "regaut01": Expected(405, {"method": "REGISTER"}, registrar=200),
    "multi01": Expected(400, refused(400, "From")),
    "mcl01": Expected(400, refused(400, "Content-Length")),
    "bcast": Expected(None, refused(400, "Via")),
    "zeromf": Expected(200, {"max_forwards": 0}, why="it isn't to be forwarded any more, and is not: it has arrived"),
    "cparam01": Expected(
        405,
        {"contacts.0.params.unknownparam": None, "contacts.0.uri": "sip:+19725552222@gw1.example.net"},
        registrar=200,
        bound=["sip:+19725552222@gw1.example.net"],
    ),
    "cparam02": Expected(
        405,
        {"contacts.0.uri": "sip:+19725552222@gw1.example.net;unknownparam"},
        registrar=200,
        bound=["sip:+19725552222@gw1.example.net;unknownparam"],
    ),
    "regescrt": Expected(
        405,
        {"contacts.0.uri": "sip:user@example.com?Route=%3Csip:sip.example.com%3E"},
        registrar=200,
        bound=["sip:user@example.com?Route=%3Csip:sip.example.com%3E"],
    ),
    "sdp01": Expected(406, {"method": "INVITE"}, why="our 200 would have the one kind of body that isn't accepted"),
    "inv2543": Expected(200, {"via.branch": None, "from_.tag": None}, stream=400, why="no Content-Length, no end"),
    # RFC 5118: IPv6.
    "ipv6-good": Expected(
        405,
        {"parsed_uri.host": "2001:db8::10", "via.host": "2001:db8::9:1"},
        registrar=200,
        bound=["sip:caller@[2001:db8::1]"],
    ),
    "ipv6-bad": Expected(400, refused(400, "sip:2001:db8::10"), registrar=400),
    "port-ambiguous": Expected(
        405,
        {"parsed_uri.host": "2001:db8::10:5070", "parsed_uri.port": None},
        registrar=200,
        bound=["sip:caller@[2001:db8::1]"],
    ),
    "port-unambiguous": Expected(
        405,
        {"parsed_uri.host": "2001:db8::10", "parsed_uri.port": 5070},
        registrar=200,
        bound=["sip:caller@[2001:db8::1]"],
    ),
    "via-received-param-with-delim": Expected(481, {"via.received": "2001:db8::9:255"}),
    "via-received-param-no-delim": Expected(200, {"via.received": "2001:db8::9:255"}),
    "ipv6-in-sdp": Expected(488, {"method": "INVITE"}, why="its one audio codec, G.726, isn't spoken here"),
    "mult-ip-in-header": Expected(481, {"vias.2.received": "192.0.2.200", "vias.1.host": "192.0.2.1"}),
    "mult-ip-in-sdp": Expected(200, {"method": "INVITE"}),
    "ipv4-mapped-ipv6": Expected(488, {"via.port": 19823}, why="its one audio codec, G.726, isn't spoken here"),
    "ipv6-correct-abnf-2-colons": Expected(200, {"parsed_uri.host": "2001:db8::192.0.2.1"}),
    "ipv6-bug-abnf-3-colons": Expected(200, {}, why="liberal: RFC 3261's grammar allowed three colons"),
}


#: The length of each message in octets, as the RFCs' own archive has them.
LENGTHS = {
    "wsinv": 1001,
    "intmeth": 641,
    "esc01": 543,
    "escnull": 359,
    "esc02": 439,
    "lwsdisp": 255,
    "longreq": 3515,
    "dblreq": 750,
    "semiuri": 380,
    "transports": 503,
    "mpart01": 1290,
    "unreason": 526,
    "noreason": 274,
    "badinv01": 472,
    "clerr": 498,
    "ncl": 486,
    "scalar02": 476,
    "scalarlg": 385,
    "quotbal": 485,
    "ltgtruri": 452,
    "lwsruri": 541,
    "lwsstart": 506,
    "trws": 327,
    "escruri": 550,
    "baddate": 532,
    "regbadct": 307,
    "badaspec": 346,
    "baddn": 333,
    "badvers": 291,
    "mismatch01": 236,
    "mismatch02": 449,
    "bigcode": 332,
    "badbranch": 262,
    "insuf": 304,
    "unkscm": 291,
    "novelsc": 277,
    "unksm2": 282,
    "bext01": 381,
    "invut": 391,
    "regaut01": 304,
    "multi01": 643,
    "mcl01": 382,
    "bcast": 516,
    "zeromf": 272,
    "cparam01": 321,
    "cparam02": 311,
    "regescrt": 302,
    "sdp01": 494,
    "inv2543": 445,
    "ipv6-good": 303,
    "ipv6-bad": 301,
    "port-ambiguous": 308,
    "port-unambiguous": 308,
    "via-received-param-no-delim": 317,
    "via-received-param-with-delim": 283,
    "ipv6-in-sdp": 590,
    "mult-ip-in-header": 397,
    "mult-ip-in-sdp": 530,
    "ipv4-mapped-ipv6": 657,
    "ipv6-correct-abnf-2-colons": 280,
    "ipv6-bug-abnf-3-colons": 282,
}


class ReadTests(SynchronousTestCase):
    """What is read in each message."""

    def read(self, name: str) -> None:
        """Read one message and compare what its row names."""
        wanted = EXPECTED[name].read
        try:
            message = parse_message(MESSAGES[name].data)
            assert isinstance(message, (Request, Response))
            message.check()
        except RemoteProtocolError as error:
            status, words = wanted.get("refused", (None, None))
            self.assertEqual(error.status, status, str(error))
            self.assertIn(words, str(error))
            return
        self.assertNotIn("refused", wanted)
        for path, value in wanted.items():
            self.assertEqual(found(message, path), value, path)


def found(message: Request | Response, path: str) -> Any:
    """Return what a dotted path leads to: attributes, places in a list, keys of a dictionary."""
    value: Any = message
    for step in path.split("."):
        if isinstance(value, list):
            value = value[int(step)]
        elif isinstance(value, dict):
            value = value[step]
        else:
            value = getattr(value, step)
    return value


class OutcomeTests(SynchronousTestCase):
    """What becomes of each message in a phone system whose application answers every call."""

    def setUp(self) -> None:
        """Make the phone system, and a peer."""
        self.network = SimulatedNetwork(seed=1)
        self.exchange = Exchange(self.network.host("192.0.2.1"))
        self.exchange.listen("udp:192.0.2.1:5060")
        self.exchange.listen("tcp:192.0.2.1:5060")
        self.exchange.on_call = self.answer
        self.peer = self.network.host("198.51.100.9")

    def answer(self, channel: CallChannel) -> None:
        """Do what an application does that answers."""
        channel.answer().addErrback(lambda _: None)  # the message tested may be no call worth answering

    def finals(self, said: bytes) -> list[int]:
        """Return the final statuses among responses, each once, and check that each response is one by our parser."""
        statuses = []
        for part in said.split(b"SIP/2.0 ")[1:]:
            status = int(part[:3])
            if status >= 200 and status not in statuses:
                statuses.append(status)
        return statuses

    def by_datagram(self, name: str) -> None:
        """Send it as one datagram; the answer goes where its Via and its source say (RFC 3261 18.2.2)."""
        said: list[bytes] = []

        def received(data: bytes, _source: Address) -> None:
            answer = parse_message(data)
            assert isinstance(answer, Response)
            said.append(data)

        ports = [self.peer.open_datagram_port(("198.51.100.9", port), received) for port in PORTS]
        ports[0].send(MESSAGES[name].data, ("192.0.2.1", 5060))
        self.network.advance(2)
        wanted = EXPECTED[name].datagram
        self.assertEqual(self.finals(b"".join(said)), [] if wanted is None else [wanted])

    def by_stream(self, name: str) -> None:
        """Send it over a connection, a few bytes at a time."""
        said: list[bytes] = []
        closed: list[bool] = []

        class Peer(Protocol):
            def connectionMade(self) -> None:
                assert self.transport is not None
                data = MESSAGES[name].data
                for start in range(0, len(data), 7):
                    self.transport.write(data[start : start + 7])

            def dataReceived(self, data: bytes) -> None:
                said.append(data)

            def connectionLost(self, reason: Any = None) -> None:
                closed.append(True)

        connected: Deferred[IProtocol] = self.peer.connect_stream(("192.0.2.1", 5060), Factory.forProtocol(Peer), 5.0)
        connected.addErrback(self.fail)
        self.network.advance(2)
        wanted = EXPECTED[name].over_stream
        statuses = self.finals(b"".join(said))
        if wanted == CLOSED:
            self.assertEqual((statuses, closed), ([], [True]))
        else:
            # The first message of two has an answer of its own.
            self.assertEqual(statuses[-1:], [] if wanted is None else [wanted])
        if name == "dblreq":
            self.assertEqual(statuses, [405, 400])

    def at_a_registrar(self, name: str) -> None:
        """Send a REGISTER to a registrar whose only user has been found to be the one it says it is."""
        registrar = Registrar(self.network.clock)
        agent = self.exchange.user_agent
        agent.on_register = lambda request, flow: registrar.register("user", request, flow)
        said: list[bytes] = []
        port = self.peer.open_datagram_port(("198.51.100.9", 5060), lambda data, _source: said.append(data))
        port.send(MESSAGES[name].data, ("192.0.2.1", 5060))
        self.network.advance(2)
        self.assertEqual(self.finals(b"".join(said)), [EXPECTED[name].registrar])
        self.assertEqual([str(one.uri) for one in registrar.bindings("user")], EXPECTED[name].bound)

    def the_next_call(self, name: str) -> None:
        """Whatever it was, the phone system goes on: an OPTIONS behind it is answered 200."""
        said: list[bytes] = []
        port = self.peer.open_datagram_port(("198.51.100.9", 5060), lambda data, _source: said.append(data))
        port.send(MESSAGES[name].data, ("192.0.2.1", 5060))
        self.network.advance(2)
        said.clear()
        port.send(MESSAGES["zeromf"].data.replace(b"zeromf", b"after"), ("192.0.2.1", 5060))
        self.network.advance(1)
        self.assertEqual(self.finals(b"".join(said)), [200])


def add(
    case: type[SynchronousTestCase],
    prefix: str,
    run: Callable[[Any, str], None],
    what: str,
    names: Iterable[str] = tuple(MESSAGES),
) -> None:
    """Give a class one test for each of some messages, all unless told."""
    for name in names:
        message = MESSAGES[name]

        def test(self: Any, name: str = name) -> None:
            run(self, name)

        test.__doc__ = f"RFC {message.rfc} section {message.section}, {name}: {what}."
        test.__name__ = f"test_{prefix}_{name.replace('-', '_')}"
        setattr(case, test.__name__, test)


add(ReadTests, "read", ReadTests.read, "what is read in it, or why it is refused")
add(OutcomeTests, "datagram", OutcomeTests.by_datagram, "what becomes of it over UDP")
add(OutcomeTests, "stream", OutcomeTests.by_stream, "what becomes of it over a stream")
add(
    OutcomeTests,
    "registrar",
    OutcomeTests.at_a_registrar,
    "what a registrar says to it, and what it binds",
    [name for name, row in EXPECTED.items() if row.registrar is not None],
)
add(OutcomeTests, "after", OutcomeTests.the_next_call, "the next request is answered")


class CompleteTests(SynchronousTestCase):
    """Nothing is left out."""

    def test_every_message_has_a_row(self) -> None:
        """RFC 4475 has 49 messages, RFC 5118 has 12; each has a row, and each row a message."""
        self.assertEqual(set(EXPECTED), set(MESSAGES))
        registers = {name for name, message in MESSAGES.items() if message.data.startswith(b"REGISTER ")}
        self.assertEqual({name for name, row in EXPECTED.items() if row.registrar is not None}, registers)
        self.assertEqual(
            [sum(message.rfc == rfc for message in MESSAGES.values()) for rfc in ("4475", "5118")], [49, 12]
        )

    def test_bytes(self) -> None:
        """Every message that is there as a file is, to the byte, what is built here; without files, its length is."""
        for name, message in MESSAGES.items():
            file = ORACLE / f"rfc{message.rfc}" / (f"{name}.dat" if message.rfc == "4475" else name)
            if ORACLE.is_dir():
                self.assertEqual(message.data, file.read_bytes(), name)
            self.assertEqual(len(message.data), LENGTHS[name], name)
