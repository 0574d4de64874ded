"""What the doctor has found: outcomes, sentences, and the whole of a visit.

Owns: the form of a finding, the verdict, and the exit status. Must not know how anything is found out or shown.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import Any

import attrs


class Outcome(StrEnum):
    """What a check came to."""

    GOOD = "good"
    ODD = "odd"
    """It works, but not as the RFC says, or there is something to know."""
    BAD = "bad"
    """Calls will suffer from it."""
    NOT_DONE = "not done"


@attrs.frozen(kw_only=True)
class Finding:
    """What one check has found, in one sentence.

    ``advice`` is a sentence that says what to do about it, with a key of ``telephony.toml`` where one helps. ``facts``
    are the numbers and names behind the sentence, for programs.
    """

    check: str
    outcome: Outcome
    text: str
    advice: str = ""
    facts: dict[str, Any] = attrs.field(factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**attrs.asdict(self), "outcome": self.outcome.value}


class NotDone(Exception):  # noqa: N818 - it says what became of a check
    """A check can't be done; the text says why."""


@attrs.define
class Report:
    """All findings of one visit, in order. ``interrupted`` says that somebody ended it before it was over."""

    target: str
    findings: list[Finding] = attrs.field(factory=list)
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def counts(self) -> Counter[Outcome]:
        """How many findings there are of each outcome."""
        return Counter(one.outcome for one in self.findings)

    @property
    def status(self) -> int:
        """The exit status: 0 when nothing is bad, 1 when something is, 130 when it was interrupted."""
        if self.interrupted:
            return 130
        return 1 if self.counts[Outcome.BAD] else 0

    @property
    def verdict(self) -> str:
        """One sentence about the whole."""
        counts = self.counts
        told = ", ".join(f"{counts[one]} {one.value}" for one in Outcome if counts[one]) or "nothing was looked at"
        if self.interrupted:
            return f"Interrupted after {self.seconds:.0f} s: {told}."
        return f"{told}, in {self.seconds:.0f} s."

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "target": self.target,
            "ok": self.status == 0,
            "interrupted": self.interrupted,
            "seconds": round(self.seconds, 1),
            "counts": {one.value: self.counts[one] for one in Outcome},
            "findings": [one.as_dict() for one in self.findings],
        }
