"""Messages: their fields as text and typed, what is checked, and the response that answers a request."""

from __future__ import annotations

import gc

from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import RemoteProtocolError
from telephony.sip.headers import CSeq, NameAddr, Via
from telephony.sip.message import REASONS, Message, Request, Response, reason_phrase, respond
from telephony.sip.parser import parse_message
from telephony.sip.uri import OtherUri, SipUri


def invite() -> Request:
    """Return an INVITE with what every request needs."""
    request = Request("INVITE", "sip:bob@biloxi.example.com")
    request.add("Via", "SIP/2.0/UDP pc33.atlanta.example.com;branch=z9hG4bK776asdhds")
    request.add("Max-Forwards", "70")
    request.add("To", "Bob <sip:bob@biloxi.example.com>")
    request.add("From", "Alice <sip:alice@atlanta.example.com>;tag=1928301774")
    request.add("Call-ID", "a84b4c76e66710@pc33.atlanta.example.com")
    request.add("CSeq", "314159 INVITE")
    request.add("Contact", "<sip:alice@pc33.atlanta.example.com>")
    return request


class FieldTests(SynchronousTestCase):
    def test_any_spelling(self) -> None:
        """RFC 3261 7.3.1, 7.3.3: a field is found in any spelling, and by its compact form."""
        request = invite()
        for name in ("Call-ID", "call-id", "CALL-ID", "i", "I", "cALL-iD"):
            self.assertEqual(request.get(name), "a84b4c76e66710@pc33.atlanta.example.com")
            self.assertTrue(request.has(name))
        self.assertIsNone(request.get("Subject"))
        self.assertEqual(request.get_all("s"), [])
        self.assertFalse(request.has("s"))

    def test_order(self) -> None:
        """RFC 3261 7.3.1: values of one name keep their order, and are written one a line."""
        message = Request("OPTIONS", "sip:a")
        message.add("Route", "<sip:1>")
        message.add("X-Mine", "x")
        message.add("route", "<sip:2>, <sip:3>")
        message.add("ROUTE", "<sip:4>")
        message.add_first("Route", "<sip:0>")
        self.assertEqual(message.get("Route"), "<sip:0>")
        self.assertEqual(message.get_all("Route"), ["<sip:0>", "<sip:1>", "<sip:2>, <sip:3>", "<sip:4>"])
        self.assertEqual(message.get_list("Route"), ["<sip:0>", "<sip:1>", "<sip:2>", "<sip:3>", "<sip:4>"])
        self.assertEqual([route.uri for route in message.routes], ["sip:0", "sip:1", "sip:2", "sip:3", "sip:4"])
        self.assertEqual(
            message.to_bytes(),
            b"OPTIONS sip:a SIP/2.0\r\nRoute: <sip:0>\r\nRoute: <sip:1>\r\nRoute: <sip:2>, <sip:3>\r\n"
            b"Route: <sip:4>\r\nX-Mine: x\r\nContent-Length: 0\r\n\r\n",
        )
        message.remove("Route")
        message.remove("Route")
        self.assertEqual(message.fields, [("X-Mine", "x")])
        message.add_first("Route", "<sip:9>")
        self.assertEqual(message.fields, [("X-Mine", "x"), ("Route", "<sip:9>")])

    def test_set(self) -> None:
        """Setting a field replaces all of that name, in the place of the first."""
        message = Response(200)
        message.add("m", "<sip:a>")
        message.add("Server", "x")
        message.add("Contact", "<sip:b>")
        message.set("contact", " <sip:c> ")
        self.assertEqual(message.fields, [("Contact", "<sip:c>"), ("Server", "x")])

    def test_unknown_names_stay_as_written(self) -> None:
        """RFC 3261 7.3.1 makes case meaningless, but people compare: an unknown name is written as it was given."""
        message = Response(200)
        message.add("X-Call-ID-2", "1")
        message.add("x-call-id-2", "2")
        message.add("plain", "3")
        self.assertEqual(message.fields, [("X-Call-ID-2", "1"), ("X-Call-ID-2", "2"), ("plain", "3")])
        self.assertIn(b"\r\nX-Call-ID-2: 2\r\n", message.to_bytes())

    def test_no_way_onto_the_next_line(self) -> None:
        """architecture.md rule 13: CR, LF and NUL are refused wherever text enters a message that we write."""
        for text in ("a\r\nX: y", "a\n", "\ra", "a\0"):
            for change in (Message.add, Message.set, Message.add_first):
                message = Response(200)
                self.assertRaises(ValueError, change, message, "Subject", text)
                self.assertRaises(ValueError, change, message, text, "x")
                self.assertEqual(message.fields, [])
            self.assertRaises(ValueError, Response, 200, text)
            self.assertRaises(ValueError, Request, "INVITE", text)
            self.assertRaises(ValueError, Request, text, "sip:a")
        request = Request("INVITE", "sip:a")
        for uri in ("", "sip:a b", "sip:a\tb", "sip:\x7f"):
            self.assertRaises(ValueError, setattr, request, "uri", uri)
        for name in ("", "a b", "a:", "ü"):
            self.assertRaises(ValueError, request.add, name, "x")
        self.assertRaises(ValueError, Request, "IN VITE", "sip:a")
        for status in (0, 99, 700):
            self.assertRaises(ValueError, Response, status)

    def test_content_length_is_ours(self) -> None:
        """RFC 3261 20.14: what is written is the length of the body, whatever a field says."""
        message = Response(200, body=b"12345")
        message.add("Content-Length", "77")
        self.assertEqual(message.to_bytes(), b"SIP/2.0 200 OK\r\nContent-Length: 5\r\n\r\n12345")

    def test_utf_8(self) -> None:
        """RFC 3261 7: fields are UTF-8; bytes that aren't go out as they came in."""
        data = b"SIP/2.0 200 \xc3\xbc \xff\r\nSubject: M\xfcller\r\nContent-Length: 0\r\n\r\n"
        message = parse_message(data)
        assert message is not None
        self.assertEqual(message.to_bytes(), data)

    def test_little_for_the_garbage_collector(self) -> None:
        """architecture.md, Learned: few objects a transaction; the fields of a message are text and tuples of it."""
        message = parse_message(invite().to_bytes())
        assert message is not None
        self.assertFalse(gc.is_tracked(message._fields))


class TypedTests(SynchronousTestCase):
    def test_typed(self) -> None:
        """RFC 3261 20: the fields a call reads."""
        request = invite()
        request.add("Via", "SIP/2.0/TCP 192.0.2.2;branch=2, SIP/2.0/TLS 192.0.2.3")
        request.add("Record-Route", "<sip:p1;lr>, <sip:p2;lr>")
        request.add("Require", "100rel, Timer")
        request.add("Supported", "")
        request.add("Content-Type", "Application / SDP ; charset=utf-8")
        self.assertEqual(request.via.host, "pc33.atlanta.example.com")
        self.assertEqual([via.transport for via in request.vias], ["UDP", "TCP", "TLS"])
        self.assertEqual(request.from_.tag, "1928301774")
        self.assertIsNone(request.to.tag)
        self.assertEqual(request.cseq, CSeq(314159, "INVITE"))
        self.assertEqual(request.call_id, "a84b4c76e66710@pc33.atlanta.example.com")
        self.assertEqual(request.contacts, [NameAddr(None, "sip:alice@pc33.atlanta.example.com")])
        self.assertEqual(request.max_forwards, 70)
        self.assertEqual([route.uri for route in request.record_routes], ["sip:p1;lr", "sip:p2;lr"])
        self.assertEqual(request.routes, [])
        self.assertEqual(request.require, ["100rel", "timer"])
        self.assertEqual(request.supported, [])
        self.assertEqual(request.content_type, "application/sdp")
        self.assertEqual(request.parsed_uri, SipUri("sip", "bob", None, "biloxi.example.com"))
        request.check()

    def test_missing(self) -> None:
        """What may be missing is None or empty."""
        message = Response(200)
        self.assertIsNone(message.max_forwards)
        self.assertIsNone(message.content_type)
        self.assertEqual((message.contacts, message.vias, message.require), ([], [], []))

    def test_star(self) -> None:
        """RFC 3261 10.2.2: Contact ``*`` is no address."""
        request = invite()
        request.set("Contact", "*")
        self.assertTrue(request.contact_star)
        self.assertEqual(request.contacts, [])
        self.assertFalse(invite().contact_star)

    def test_remembered_until_changed(self) -> None:
        """A typed value is parsed once, and again after its field has changed."""
        request = invite()
        for name, value, read in (
            ("To", "<sip:carol@x>", lambda: request.to),
            ("CSeq", "5 INVITE", lambda: request.cseq),
            ("Via", "SIP/2.0/TCP z", lambda: request.via),
            ("Via", "SIP/2.0/TCP y", lambda: request.vias),
            ("Contact", "<sip:q>", lambda: request.contacts),
            ("Max-Forwards", "3", lambda: request.max_forwards),
        ):
            before = read()
            self.assertIs(read(), before)
            request.set(name, value)
            self.assertNotEqual(read(), before)
        before_uri = request.parsed_uri
        self.assertIs(request.parsed_uri, before_uri)
        request.uri = "tel:1"
        self.assertNotEqual(request.parsed_uri, before_uri)
        request.contacts  # noqa: B018
        request.add("Contact", "<sip:r>")
        self.assertEqual(len(request.contacts), 2)
        request.remove("Contact")
        self.assertEqual(request.contacts, [])
        request.via  # noqa: B018
        request.add_first("Via", "SIP/2.0/UDP top")
        self.assertEqual(request.via.host, "top")

    def test_errors_name_the_field(self) -> None:
        """A field that is missing, there twice or garbage raises 400 with its name when it is read."""
        for name, read in (
            ("Via", lambda message: message.via),
            ("From", lambda message: message.from_),
            ("To", lambda message: message.to),
            ("CSeq", lambda message: message.cseq),
            ("Call-ID", lambda message: message.call_id),
        ):
            error = self.assertRaises(RemoteProtocolError, read, Response(200))
            self.assertEqual((error.status, str(error).startswith(name)), (400, True))
            garbled = invite()
            garbled.set(name, '"')
            if name != "Call-ID":
                error = self.assertRaises(RemoteProtocolError, read, garbled)
                self.assertEqual((error.status, str(error).startswith(name)), (400, True))
            if name != "Via":
                doubled = invite()
                doubled.add(name, doubled.get(name) or "")
                self.assertRaises(RemoteProtocolError, read, doubled)
        for name, read in (
            ("Contact", lambda message: message.contacts),
            ("Route", lambda message: message.routes),
            ("Record-Route", lambda message: message.record_routes),
            ("Via", lambda message: message.vias),
        ):
            garbled = Response(200)
            garbled.add(name, "<sip:a>, <sip:b")
            error = self.assertRaises(RemoteProtocolError, read, garbled)
            self.assertTrue(str(error).startswith(name))

    def test_only_the_topmost_via_is_read(self) -> None:
        """architecture.md: nothing is parsed that nobody reads."""
        request = invite()
        request.add("Via", "garbage")
        self.assertEqual(request.via.transport, "UDP")
        request.check()
        self.assertRaises(RemoteProtocolError, lambda: request.vias)

    def test_replace_via(self) -> None:
        """RFC 3261 18.2.1, RFC 3581 4: received and rport are noted in the topmost Via, the others stay."""
        request = Request("OPTIONS", "sip:a")
        request.add("Via", "SIP/2.0/UDP a;rport, SIP/2.0/UDP b")
        request.add("Via", "SIP/2.0/UDP c")
        request.replace_via(Via("UDP", "a", None, {"rport": "7", "received": "192.0.2.1"}))
        self.assertEqual(
            request.get_all("Via"),
            ["SIP/2.0/UDP a;rport=7;received=192.0.2.1", "SIP/2.0/UDP b", "SIP/2.0/UDP c"],
        )
        self.assertEqual((request.via.rport, len(request.vias)), (7, 3))
        request = invite()
        request.replace_via(Via("UDP", "::1", 5060))
        self.assertEqual(request.get_all("Via"), ["SIP/2.0/UDP [::1]:5060"])
        self.assertRaises(ValueError, Response(200).replace_via, request.via)


class CheckTests(SynchronousTestCase):
    def refused(self, name: str, value: str | None, status: int = 400) -> None:
        """Assert that an INVITE with this field, or without it, is refused."""
        request = invite()
        if value is None:
            request.remove(name)
        else:
            request.set(name, value)
        self.assertEqual(self.assertRaises(RemoteProtocolError, request.check).status, status)

    def test_requests(self) -> None:
        """RFC 3261 8.1.1, 8.2: what every request must hold."""
        for name in ("Via", "From", "To", "Call-ID", "CSeq"):
            self.refused(name, None)
            self.refused(name, "")
        self.refused("CSeq", "1 BYE")
        self.refused("CSeq", "1 invite")
        self.refused("Max-Forwards", "256")
        self.refused("Max-Forwards", "many")
        self.refused("Contact", "<sip:a")
        self.refused("Call-ID", "a b")
        request = invite()
        request.uri = "<sip:a>"
        self.assertEqual(self.assertRaises(RemoteProtocolError, request.check).status, 400)

    def test_version(self) -> None:
        """RFC 3261 21.5.6: another version is 505, whatever else is wrong."""
        request = Request("INVITE", "<>", version="SIP/7.0")
        self.assertEqual(self.assertRaises(RemoteProtocolError, request.check).status, 505)

    def test_not_refused(self) -> None:
        """RFC 4475 3.3.2, 3.3.11, 3.4.1: unknown schemes are 416 elsewhere, Max-Forwards may be 0 or missing."""
        request = invite()
        request.uri = "nobody:knows"
        request.set("Max-Forwards", "0")
        request.set("From", "<sip:a>")
        request.set("Via", "SIP/2.0/UDP a")
        request.check()
        self.assertEqual(request.parsed_uri, OtherUri("nobody", "knows"))
        request.remove("Max-Forwards")
        request.remove("Contact")
        request.check()

    def test_responses(self) -> None:
        """RFC 3261 8.1.3.3: a response with two Vias was not meant for us."""
        respond(invite(), 200).check()
        for change in (
            lambda response: response.add("Via", "SIP/2.0/UDP a"),
            lambda response: response.set("Via", "SIP/2.0/UDP a, SIP/2.0/UDP b"),
            lambda response: response.remove("CSeq"),
        ):
            response = respond(invite(), 200)
            change(response)
            self.assertEqual(self.assertRaises(RemoteProtocolError, response.check).status, 400)


class RespondTests(SynchronousTestCase):
    def test_copied(self) -> None:
        """RFC 3261 8.2.6.2: Via, From, To, Call-ID and CSeq are copied, To gets our tag."""
        request = invite()
        request.add("Via", "SIP/2.0/UDP b")
        request.add("Record-Route", "<sip:p;lr>")
        request.add("Timestamp", "54")
        request.add("Subject", "x")
        response = respond(request, 486, to_tag="77")
        self.assertEqual(
            response.fields,
            [
                ("Via", "SIP/2.0/UDP pc33.atlanta.example.com;branch=z9hG4bK776asdhds"),
                ("Via", "SIP/2.0/UDP b"),
                ("From", "Alice <sip:alice@atlanta.example.com>;tag=1928301774"),
                ("To", "Bob <sip:bob@biloxi.example.com>;tag=77"),
                ("Call-ID", "a84b4c76e66710@pc33.atlanta.example.com"),
                ("CSeq", "314159 INVITE"),
            ],
        )
        self.assertEqual(response.start_line, "SIP/2.0 486 Busy Here")
        self.assertEqual(respond(request, 486, "Not Now").reason, "Not Now")

    def test_trying(self) -> None:
        """RFC 3261 8.2.6.1: a 100 copies Timestamp and puts no tag."""
        request = invite()
        request.add("Timestamp", "54")
        response = respond(request, 100, to_tag="77")
        self.assertEqual(response.get("Timestamp"), "54")
        self.assertIsNone(response.to.tag)

    def test_record_route(self) -> None:
        """RFC 3261 12.1.1: Record-Route goes into what makes a dialog."""
        request = invite()
        request.add("Record-Route", "<sip:p;lr>")
        request.add("Record-Route", "<sip:q;lr>")
        for status, there in ((100, False), (180, True), (183, True), (200, True), (302, False), (486, False)):
            self.assertEqual(respond(request, status).get_all("Record-Route"), ["<sip:p;lr>", "<sip:q;lr>"] * there)

    def test_tag(self) -> None:
        """RFC 3261 8.2.6.2: a To that has a tag keeps it; a tag of ours must be one."""
        request = invite()
        request.set("To", "sip:a@b;user=phone ; ")
        self.assertEqual(respond(request, 200, to_tag="1").get("To"), "sip:a@b;user=phone;tag=1")
        request.set("To", "<sip:a@b;tag=uri>;x")
        self.assertEqual(respond(request, 200, to_tag="1").to.params, {"x": None, "tag": "1"})
        request.set("To", "<sip:a@b>;TAG=0")
        self.assertEqual(respond(request, 200, to_tag="1").get("To"), "<sip:a@b>;TAG=0")
        self.assertRaises(ValueError, respond, invite(), 200, None, "a\r\n")

    def test_answer_to_garbage(self) -> None:
        """architecture.md rule 3: a request that can't be used can be answered all the same."""
        request = invite()
        request.set("To", '"Mr. J. User <sip:j.user@example.com>')
        request.remove("CSeq")
        response = respond(request, 400, to_tag="1")
        self.assertEqual(response.get("To"), '"Mr. J. User <sip:j.user@example.com>')
        self.assertEqual(respond(Request("X", "sip:a"), 400).fields, [])

    def test_the_request_stays_as_it_was(self) -> None:
        """What is copied is not shared: a change of the response does not show in the request."""
        request = invite()
        response = respond(request, 200, to_tag="1")
        response.add("Via", "SIP/2.0/UDP b")
        self.assertEqual(len(request.vias), 1)
        self.assertIsNone(request.to.tag)


class ReasonTests(SynchronousTestCase):
    def test_phrases(self) -> None:
        """RFC 3261 21: the usual phrases; a status without one has its class's."""
        self.assertEqual(REASONS[486], "Busy Here")
        self.assertEqual(reason_phrase(487), "Request Terminated")
        self.assertEqual(reason_phrase(499), "Request Failure")
        self.assertEqual(reason_phrase(699), "Global Failure")
        self.assertEqual(Response(200, "").start_line, "SIP/2.0 200 ")


class CopyTests(SynchronousTestCase):
    def test_copies(self) -> None:
        """A copy is equal and changes by itself."""
        request = invite()
        request.add("X-Mine", "1")
        request.body = b"x"
        copy = request.copy()
        self.assertEqual(copy.to_bytes(), request.to_bytes())
        copy.set("To", "<sip:z>")
        copy.add("X-Other", "1")
        copy.uri = "sip:q"
        self.assertEqual((request.to.uri, request.uri), ("sip:bob@biloxi.example.com", "sip:bob@biloxi.example.com"))
        self.assertFalse(request.has("X-Other"))
        response = respond(request, 180)
        self.assertEqual(response.copy().to_bytes(), response.to_bytes())
        self.assertIn("180", repr(response))
