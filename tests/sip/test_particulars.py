"""Diversion, History-Info, P-Asserted-Identity and Reason, read (RFC 5806, 7044, 7544, 3325, 5876, 3326)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.sip.message import Request
from telephony.sip.particulars import LONGEST, asserted_identity, diversion_of, reason_of


def message(*fields: tuple[str, str]) -> Request:
    """Return a message with these fields."""
    request = Request("INVITE", "sip:a@x")
    for name, value in fields:
        request.add(name, value)
    return request


class DiversionTests(SynchronousTestCase):
    """``Details.diversion``."""

    def told(self, *history: str) -> str:
        return diversion_of(message(*(("History-Info", one) for one in history)))

    def test_diversion(self) -> None:
        """RFC 5806 4: as it came, the latest first, in one field or several."""
        one, two = "<sip:boss@x>;reason=no-answer;counter=1", '"Desk" <tel:+1555>;reason=user-busy'
        self.assertEqual(diversion_of(message(("Diversion", one))), one)
        self.assertEqual(diversion_of(message(("Diversion", one), ("Diversion", two))), f"{one}, {two}")
        self.assertEqual(diversion_of(message()), "")

    def test_it_goes_before_history(self) -> None:
        """RFC 7544 3: where both came, the Diversion is what is told."""
        request = message(
            ("History-Info", "<sip:a@x>;index=1, <sip:b@x;cause=302>;index=1.1"), ("Diversion", "<sip:c@x>")
        )
        self.assertEqual(diversion_of(request), "<sip:c@x>")

    def test_causes(self) -> None:
        """RFC 7544 table 1, RFC 4458 2: who was asked before, and the cause's word."""
        for cause, word in (
            *((302, "unconditional"), (486, "user-busy"), (408, "no-answer"), (480, "deflection")),
            *((487, "deflection"), (503, "unavailable"), (404, "unknown"), (999, "unknown")),
        ):
            told = self.told(f"<sip:boss@x>;index=1, <sip:desk@x;cause={cause}>;index=1.1")
            self.assertEqual(told, f"<sip:boss@x>;reason={word}")

    def test_several(self) -> None:
        """RFC 7044 10.3: over several entries and fields, by mp where it is said; the latest comes first."""
        told = self.told(
            '"Boss" <sip:boss@x>;index=1',
            "<sip:desk@x;cause=302>;index=1.1;mp=1",
            "<sip:mobile@x;cause=408?Subject=x>;index=1.2;mp=1.1, <sip:mobile@gw>;index=1.2.1",
        )
        self.assertEqual(told, '<sip:desk@x;cause=302>;reason=no-answer, "Boss" <sip:boss@x>;reason=unconditional')

    def test_reason_in_the_entry(self) -> None:
        """RFC 7044 7.1: an entry that says itself what became of it."""
        told = self.told("<sip:boss@x?Reason=SIP%3Bcause%3D486>;index=1, <sip:desk@x>;index=1.1")
        self.assertEqual(told, "<sip:boss@x>;reason=user-busy")
        self.assertEqual(self.told("<sip:a@x?Reason=SIP%3Bcause%3D200>;index=1, <sip:b@x>;index=1.1"), "")
        self.assertEqual(self.told("<sip:a@x?Reason=SIP%3Bcause%3D486>;index=1"), "", "nobody was called in its place")

    def test_privacy(self) -> None:
        """RFC 7044 10.1.2: an entry that asks for privacy is told to nobody."""
        self.assertEqual(self.told("<sip:boss@x?Privacy=history>;index=1, <sip:desk@x;cause=302>;index=1.1"), "")

    def test_no_diversion(self) -> None:
        """RFC 7044: a history in which nobody diverted anything; one that can't be read; what is no SIP address."""
        for history in (
            "<sip:a@x>;index=1",
            "<sip:a@x>;index=1, <sip:b@x>;index=1.1",
            "<sip:a@x",
            "<tel:1>, <sip:b@x;cause=302>",
        ):
            self.assertEqual(self.told(history), "")
        self.assertEqual(self.told("<sip:a@x;cause=302>;index=1"), "", "the first was diverted by nobody known")

    @given(st.text(alphabet='<>sip:@x;?=&%,"index.1cause302mp \ud800\u00e9', max_size=80))
    def test_garbage(self, text: str) -> None:
        """A peer can't make us raise, nor fill a page."""
        request = Request("INVITE", "sip:a@x")
        try:
            request.add("History-Info", text)
        except (ValueError, UnicodeError):
            return
        self.assertLessEqual(len(diversion_of(request)), LONGEST)


class IdentityTests(SynchronousTestCase):
    """``Details.connected_id``, of a peer that is trusted."""

    def asserted(self, *fields: tuple[str, str]) -> str | None:
        found = asserted_identity(message(*fields))
        return None if found is None else str(found)

    def test_one_and_two(self) -> None:
        """RFC 3325 9.1: one value, or a SIP and a tel one: the SIP one counts."""
        name = "P-Asserted-Identity"
        self.assertEqual(self.asserted((name, '"Al" <sip:a@x>')), '"Al" <sip:a@x>')
        self.assertEqual(self.asserted((name, "<tel:+1555>")), "<tel:+1555>")
        self.assertEqual(self.asserted((name, "<tel:+1555>, <sip:a@x>")), "<sip:a@x>")
        self.assertEqual(self.asserted((name, "<tel:+1555>"), (name, "<sips:a@x>")), "<sips:a@x>")
        self.assertIsNone(self.asserted())

    def test_unreadable(self) -> None:
        """Garbage says nothing."""
        for value in ("<sip:a@x", "<sip:>", "<mailto:a@x>", ","):
            self.assertIsNone(self.asserted(("P-Asserted-Identity", value)))

    def test_privacy(self) -> None:
        """RFC 3325 9.3: with Privacy: id it is told to nobody; other kinds of privacy don't touch it."""
        for privacy, told in (("id", False), ("header; ID ;critical", False), ("none", True), ("header", True)):
            found = self.asserted(("P-Asserted-Identity", "<sip:a@x>"), ("Privacy", privacy))
            self.assertEqual(found is not None, told)


class ReasonTests(SynchronousTestCase):
    """``Details.raw_reason`` of a BYE or CANCEL."""

    def test_reason(self) -> None:
        """RFC 3326 2: as it came; several values side by side; nothing that can't be shown."""
        self.assertEqual(reason_of(None), "")
        self.assertEqual(reason_of(message()), "")
        self.assertEqual(reason_of(message(("Reason", 'Q.850;cause=16;text="bye"'))), 'Q.850;cause=16;text="bye"')
        self.assertEqual(
            reason_of(message(("Reason", "SIP;cause=200"), ("Reason", "Q.850;cause=26"))),
            "SIP;cause=200, Q.850;cause=26",
        )
        self.assertEqual(reason_of(message(("Reason", "caf\udce9"))), "caf\ufffd")
        self.assertEqual(len(reason_of(message(("Reason", "x" * 5000)))), LONGEST)
