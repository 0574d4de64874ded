"""``channel.SIP`` and ``channel.Details``: header fields to send and to read, and what is known about a call."""

from __future__ import annotations

from telephony import SIPHeaderField
from telephony.call.channel import CallChannel
from telephony.call.constants import State
from telephony.errors import Error
from tests.call.scene import Scene


class HeaderFieldTests(Scene):
    """``channel.SIP`` and ``channel.Details`` (section 4 and 6)."""

    def test_fields_to_send_and_read(self) -> None:
        """Section 6: HeaderFieldsToSend goes out with `call` and `answer`; both sides' fields can be read."""
        field = SIPHeaderField("X-Account", "4711")
        field.add_value("4712")
        self.assertEqual((field.get_name(), field.get_values()), ("X-Account", ["4711", "4712"]))
        out = self.extra_channel()
        out.SIP.HeaderFieldsToSend = [field, SIPHeaderField("Subject", "tea")]
        verb = out.call(self.bob.uri)
        self.run_until(self.bob.until("incoming"))
        [invite] = self.requests(self.bob, "INVITE")
        self.assertEqual(invite.get_all("X-Account"), ["4711", "4712"])
        self.assertEqual(invite.get("Subject"), "tea")
        self.bob.answer(headers=[("X-Agent", "bob"), ("X-Agent", "desk 3")])
        self.run_until(verb, 5)
        found = out.SIP.response_header_field("x-agent")
        assert found is not None
        self.assertEqual(found.get_values(), ["bob", "desk 3"])
        self.assertIsNone(out.SIP.response_header_field("X-Other"))
        self.assertIsNone(out.SIP.request_header_field("X-Agent"))
        self.assertEqual(out.Details.headers["x-agent"], ["bob", "desk 3"])

    def test_fields_of_an_incoming_call(self) -> None:
        """Section 4: the caller's fields, before and after the call; `answer` sends ours."""

        async def application(channel: CallChannel) -> None:
            found = channel.SIP.request_header_field("X-Queue")
            assert found is not None
            self.assertEqual(found.get_values(), ["sales"])
            channel.SIP.HeaderFieldsToSend.append(SIPHeaderField("X-Agent", "7"))
            await channel.answer()

        self.run_application(application)
        self.alice.dial(
            self.uri("3300"), headers=[("X-Queue", "sales"), ("Diversion", "<sip:boss@example.com>;reason=no-answer")]
        )
        self.run_until(self.alice.until("answered"))
        self.run_until(self.outcome)
        [answer] = [one for one in self.responses(self.alice, 200) if one.cseq.method == "INVITE"]
        self.assertEqual(answer.get_all("X-Agent"), ["7"])
        details = self.channel.Details
        self.assertEqual(details.diversion, "<sip:boss@example.com>;reason=no-answer")
        self.assertEqual(details.call_id, self.alice.call.call_id)
        self.assertEqual(details.call_target, self.uri("3300"))
        self.assertEqual(details.call_to, self.uri("3300"))
        self.assertEqual(details.display_name, "alice")
        self.assertEqual(details.call_from, "sip:alice@10.0.1.1:5060")
        self.assertEqual(details.codecs, ["g711a"])
        self.assertEqual(details.headers["x-queue"], ["sales"])
        self.alice.hang_up()
        self.advance(1)
        self.assertEqual(self.channel.Details.headers["x-queue"], ["sales"], "readable after the call")

    def test_line_breaks(self) -> None:
        """Section 6: a CR or LF in a value is an Error; nor can they come in by any other argument of a call."""
        for value in ("a\r\nX-Evil: 1", "a\n b", "a\r", "\n", "a\0b"):
            with self.assertRaisesRegex(Error, "line break"):
                SIPHeaderField("X-Account", value)
            with self.assertRaises(Error):
                SIPHeaderField("X-Account", "fine").add_value(value)
        for name in ("", "X Account", "X:Account", "X-Account\r\n", "Ü"):
            with self.assertRaises(Error):
                SIPHeaderField(name, "1")

    def test_fields_of_the_call_itself(self) -> None:
        """Section 6: a field that the dialog lives by can't be set; nothing is sent and the sentence names it."""
        out = self.extra_channel()
        for name in ("Via", "From", "f", "Call-ID", "CSeq", "Contact", "Route", "Content-Length", "Max-Forwards"):
            out.SIP.HeaderFieldsToSend = [SIPHeaderField(name, "1")]
            self.assertIn(name, str(self.failureResultOf(out.call(self.bob.uri), Error).value))
        out.SIP.HeaderFieldsToSend = ["X-Account: 1"]  # type: ignore[list-item]
        self.failureResultOf(out.call(self.bob.uri), Error)
        self.advance(1)
        self.assertEqual(self.all_requests(self.bob), [])
        self.assertIs(out.state(), State.IDLE)

    def test_details_of_an_outgoing_call(self) -> None:
        """Section 4: Details of a call that was answered, and that had early media."""
        out = self.extra_channel()
        self.bob.quirks.early_rtp = True
        verb = out.call(self.bob.uri + ";user=phone", "1234")
        self.run_until(self.bob.until("incoming"))
        self.assertFalse(out.Details.early_media)
        self.assertEqual(out.Details.call_id, self.bob.call.call_id)
        self.assertEqual(out.Details.call_to, "sip:bob@10.0.1.2:5060;user=phone")
        self.assertEqual(out.Details.call_from, "sip:1234@10.0.0.1:5060")
        self.bob.ring(183, sdp=True)
        self.advance(0.5)
        self.assertTrue(out.Details.early_media)
        self.bob.answer()
        self.run_until(verb, 5)
        self.assertEqual(out.Details.connected_id, "sip:bob@10.0.1.2:5060")
        self.assertEqual(out.Details.codecs, ["g711a"])
        self.assertIsNone(out.Details.far_end_type)
        [invite] = self.requests(self.bob, "INVITE")
        self.assertEqual(invite.uri, "sip:bob@10.0.1.2:5060;user=phone")
        self.assertEqual(invite.from_.uri, "sip:1234@10.0.0.1:5060")

    def test_fields_of_the_call_before_are_gone(self) -> None:
        """Section 4: what the far end sent is that of the present call."""
        out = self.extra_channel()
        verb = out.call(self.bob.uri)
        self.run_until(self.bob.until("incoming"))
        self.bob.reject(486, headers=[("X-Why", "lunch")])
        self.run_until(verb, 5)
        found = out.SIP.response_header_field("X-Why")
        assert found is not None
        self.assertEqual(found.get_values(), ["lunch"])
        self.assertEqual(out.Details.headers["x-why"], ["lunch"])
        out.start_call(self.alice.uri)
        self.assertIsNone(out.SIP.response_header_field("X-Why"))
        self.assertEqual(out.Details.headers, {})
