"""Rules of ``transfer.md``, each with the edit that takes it out.

Owns: which rules, and the text that holds each. Must not know how tests are run.
"""

from __future__ import annotations

import attrs


@attrs.frozen
class Rule:
    """A rule: its ``name``, its ``text``, and by which ``edits`` (old and new text) nobody keeps it any more."""

    name: str
    text: str
    path: str
    edits: tuple[tuple[str, str], ...]

    def taken_out(self, source: str) -> str:
        """Return the source without the rule. ValueError when a text that holds it isn't there exactly once."""
        for old, new in self.edits:
            if source.count(old) != 1:
                raise ValueError(
                    f"{self.name}: {self.path} has {source.count(old)} times what is to be taken out: {old!r}; "
                    f"{__name__} must say where the rule is now"
                )
            source = source.replace(old, new)
        return source


RULES = (
    Rule(
        "ACK of a late 200",
        "rule 1, R2: a 2xx that comes after we gave up is acknowledged and ended with BYE",
        "telephony/sip/outgoing.py",
        (
            (
                '        tag = response.to.tag or ""\n        if tag in self._acks:\n            flow, ack',
                '        tag = response.to.tag or ""\n        if self.state is not SessionState.CONFIRMED:\n'
                "            return\n        if tag in self._acks:\n            flow, ack",
            ),
        ),
    ),
    Rule(
        "CANCEL only after a 1xx",
        "rule 2, R1: before, it is remembered (RFC 3261 9.1)",
        "telephony/sip/outgoing.py",
        (
            (
                "            self._cancel_reason = reason\n        if self._heard:",
                "            self._cancel_reason = reason\n        if True:",
            ),
        ),
    ),
    Rule(
        "direction of a hold answer",
        "R24: sendonly is answered recvonly, inactive inactive (RFC 3264 6.1)",
        "telephony/sdp/negotiation.py",
        (("types, agreed.direction", "types, direction"),),
    ),
    Rule(
        "DTMF dedupe",
        "R27: each press is detected once, however many packets tell of it (RFC 4733 2.5.1.3)",
        "telephony/rtp/telephone_event.py",
        (("        if key in self._known:", "        if False:"),),
    ),
    Rule(
        "the owner rule",
        "rule 6: A's end cancels or ends B, whatever state B is in",
        "telephony/call/transfer.py",
        (
            ('    transfer.target.drop_target(Cause.NORMAL, 487, "Caller hung up")\n', ""),
            ('    transfer.target.drop_target(Cause.NORMAL, 0, "")\n', "    pass\n"),
        ),
    ),
    Rule(
        "BYE glare",
        "R9: both hang up at once: 200 to theirs",
        "telephony/sip/session.py",
        (
            (
                "            del self._dialogs[dialog.remote_tag]\n            self._reply(transaction, request, 200)",
                "            del self._dialogs[dialog.remote_tag]\n            self._reply(transaction, request, 481)",
            ),
        ),
    ),
    Rule(
        "forked 200s",
        "R16: the first wins, each other one gets its ACK and a BYE",
        "telephony/sip/outgoing.py",
        (("            self._send_bye(dialog, ())\n", "            pass\n"),),
    ),
    Rule(
        "ringback stops",
        "R33: the tone ends as the target answers, nothing plays over its voice",
        "telephony/call/transfer.py",
        (("_I.ANSWERED: (_S.TRANSFERRED, (_stop_tone, _join)),", "_I.ANSWERED: (_S.TRANSFERRED, (_join,)),"),),
    ),
    Rule(
        "2xx until its ACK",
        "R35: a 2xx of ours is sent again until its ACK comes (RFC 3261 13.3.1.4)",
        "telephony/sip/session.py",
        (("        self._transaction.send_again(self._data)\n", ""),),
    ),
    Rule(
        "Max-Forwards",
        "rule 8: towards B it is A's minus one",
        "telephony/call/channel.py",
        (("70 if arrived_with is None else arrived_with - 1", "70 if arrived_with is None else arrived_with"),),
    ),
    Rule(
        "one offer at a time",
        "rule 4: outgoing re-INVITE and UPDATE wait in the dialog's queue",
        "telephony/sip/offers.py",
        (("if self._wishes and self._running is None and", "if self._wishes and"),),
    ),
    Rule(
        "glare timer",
        "R10: on their 491 ours waits its turn (RFC 3261 14.1)",
        "telephony/sip/offers.py",
        (("        if status == 491:", "        if status == -1:"),),
    ),
    Rule(
        "491 to theirs",
        "R10, R11: an offer that meets one of ours (RFC 3261 14.2, RFC 3311 5.2)",
        "telephony/sip/session.py",
        (("        if self.offers is not None and self.offers.offering:\n            return 491\n", ""),),
    ),
    Rule(
        "unchanged refresh",
        "R23: a refresh has the description that holds, with its version (RFC 4028 7.4)",
        "telephony/call/leg.py",
        (("else self._negotiation.repeat()", 'else self._negotiation.offer("inactive")'),),
    ),
    Rule(
        "expired session",
        "R23: expiry is that leg's hang-up (RFC 4028 10)",
        "telephony/sip/session_timer.py",
        (("        self._expired()\n", "        pass\n"),),
    ),
    Rule(
        "media timer's pause",
        "R32: paused whenever that leg needn't send",
        "telephony/media/endpoint.py",
        (("        if not rtp.expecting:", "        if False:"),),
    ),
)
