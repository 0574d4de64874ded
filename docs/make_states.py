"""Writes docs/states.rst and its pictures from the state tables themselves: ``python docs/make_states.py``.

Owns: how a table is told and drawn. Must not know what any machine is for beyond a heading: states, inputs and their
meaning are read from the tables and enumerations. A test fails when what is committed is not what this writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import attrs

from telephony.call.constants import State
from telephony.call.direct import Direct, DirectState
from telephony.call.referring import Referring, ReferringState
from telephony.call.states import REFUSED, TABLE, VERBS, Input, legal_states
from telephony.call.succession import Succession, SuccessionState
from telephony.call.transfer import Transfer, TransferState
from telephony.call.whereabouts import Place, Whereabouts
from telephony.server.drain import Drain, Phase
from telephony.sip.incoming import IncomingSession
from telephony.sip.outgoing import OutgoingSession
from telephony.sip.refer import Referral, ReferralState
from telephony.sip.registration import Registration, RegistrationState
from telephony.sip.reliable import ReliableRinging, RingingState
from telephony.sip.session import SessionState
from telephony.sip.transaction import (
    ClientState,
    InviteClientTransaction,
    InviteServerTransaction,
    OtherClientTransaction,
    OtherServerTransaction,
    ServerState,
)
from telephony.tables import Machine

HERE = Path(__file__).resolve().parent
PAGE = "states.rst"
FOLDER = "states"

INTRODUCTION = """\
.. Written by docs/make_states.py from the tables in the code. Change those, then run: python docs/make_states.py

State machines
==============

Every machine here is a table in the code, and this page is those tables: ``docs/make_states.py`` writes it, and a test
fails when it is out of date. ``telephony/tables.py`` has the mechanism, ``architecture.rst`` the reasons.

Each picture has a state per box. A line leaves it at the input that it is labelled with, and all lines that lead to the
same state share one, which ends there in an arrow. The dot marks where a machine begins; a double frame, that nothing
leads out. Each table has what is drawn, and what is done on the way, in order; an output may itself give an input,
which is taken after it. A pair that is not in a table is decided as well: the input changes nothing there, on purpose.
"""


@attrs.frozen
class Step:
    """One transition: the input ``what`` leads from ``source`` to ``target``; ``done`` names the outputs, in order."""

    source: Enum
    what: Enum
    target: Enum
    done: tuple[str, ...] = ()


@attrs.frozen
class Drawn:
    """One machine, ready to be told; ``slug`` names its picture, ``after`` ends its section."""

    slug: str
    title: str
    text: str
    home: str
    begins: Enum
    inputs: type[Enum]
    steps: tuple[Step, ...]
    after: str = ""
    outputs: tuple[tuple[str, str], ...] = ()

    @property
    def states(self) -> list[Enum]:
        """The states that can be reached, in the order of their enumeration."""
        found: list[Enum] = [self.begins]
        for state in found:
            found += [one for one in dict.fromkeys(step.target for step in self.from_(state)) if one not in found]
        return [one for one in type(self.begins) if one in found]

    @property
    def unreached(self) -> list[Enum]:
        """The states that nothing leads to."""
        return [one for one in type(self.begins) if one not in self.states]

    def from_(self, state: Enum) -> list[Step]:
        """Return the steps that begin in a state."""
        return [one for one in self.steps if one.source is state]


# -- reading the tables ----------------------------------------------------------------------------------------------


def steps_of(table: Mapping[Any, Mapping[Any, tuple[Any, Sequence[Callable[..., Any]]]]]) -> tuple[Step, ...]:
    """Return what a machine's table does: the pairs that change nothing are left out."""
    return tuple(
        Step(state, one, target, tuple(map(name_of, outputs)))
        for state, row in table.items()
        for one, (target, outputs) in row.items()
        if target is not state or outputs
    )


def name_of(output: Callable[..., Any]) -> str:
    """Return what an output is called here: what to search the code for."""
    return output.__name__.strip("_")


def outputs_of(table: Mapping[Any, Mapping[Any, tuple[Any, Sequence[Callable[..., Any]]]]]) -> dict[str, str]:
    """Return the outputs of a table that say in a docstring what they do, by name: its first sentence."""
    found = {}
    for row in table.values():
        for _, outputs in row.values():
            for output in outputs:
                text = " ".join((output.__doc__ or "").partition("\n\n")[0].split())
                if text:
                    text = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", text.removeprefix("Output: "))
                    found[name_of(output)] = text.rstrip(".")
    return found


def channel_steps() -> tuple[Step, ...]:
    """Return the steps of a channel: verbs that are legal, and events that lead somewhere else."""
    return tuple(
        Step(state, one, target)
        for state, row in TABLE.items()
        for one, target in row.items()
        if target is not REFUSED and (target is not state or one in VERBS)
    )


def machine(slug: str, title: str, kind: type[Machine[Any, Any]], begins: Enum, text: str, home: str) -> Drawn:
    """Read one machine's table."""
    inputs = type(next(iter(kind.table[begins])))
    return Drawn(
        slug, title, text, home, begins, inputs, steps_of(kind.table), "", tuple(outputs_of(kind.table).items())
    )


def legal_in() -> str:
    """Return the table of where each verb of a channel is legal."""
    rows = []
    for one in Input:
        if one in VERBS:
            states = legal_states(one)
            told = "any" if len(states) == len(State) else ", ".join(state.name for state in states)
            rows.append((one.name, told))
    return "Where a verb is legal; elsewhere it raises:\n\n" + table(("verb", "legal in"), rows)


def every_machine() -> list[Drawn]:
    """Return all machines of this page, from an application's own down to a transaction's."""
    return [
        Drawn(
            "channel",
            "A channel",
            "What ``channel.state()`` returns. The table has no outputs: a verb or an event does what it does first,\n"
            "and gives the input then.",
            "telephony/call/states.py",
            State.IDLE,
            Input,
            channel_steps(),
            legal_in(),
        ),
        machine(
            "transfer",
            "A retrievable transfer",
            Transfer,
            TransferState.DIALLING,
            "Between the caller's channel and the target's, from the INVITE to the end or the retrieval.",
            "telephony/call/transfer.py",
        ),
        machine(
            "direct",
            "The media of a transfer that may be direct",
            Direct,
            DirectState.WAITING,
            'From the join to the end of the transfer, where a service has ``media = "direct"``: RFC 3725.',
            "telephony/call/direct.py",
        ),
        machine(
            "whereabouts",
            "Where one leg's audio goes",
            Whereabouts,
            Place.HERE,
            "The re-INVITEs of direct media, on each leg: RFC 3261 14.",
            "telephony/call/whereabouts.py",
        ),
        machine(
            "outgoing",
            "A session: INVITE of ours",
            OutgoingSession,
            SessionState.PROCEEDING,
            "RFC 3261 13.2, 9.1 and 15.",
            "telephony/sip/outgoing.py",
        ),
        machine(
            "incoming",
            "A session: INVITE of theirs",
            IncomingSession,
            SessionState.PROCEEDING,
            "RFC 3261 13.3, 9.2 and 15.",
            "telephony/sip/incoming.py",
        ),
        machine(
            "reliable",
            "Reliable provisional responses to an INVITE of theirs",
            ReliableRinging,
            RingingState.CLEAR,
            "RFC 3262 3 and 5.",
            "telephony/sip/reliable.py",
        ),
        machine(
            "referring",
            "A transfer by REFER",
            Referring,
            ReferringState.ASKED,
            "``blind_transfer`` and ``attended_transfer``: RFC 5589 6 and 7.",
            "telephony/call/referring.py",
        ),
        machine(
            "referral",
            "A REFER of ours",
            Referral,
            ReferralState.ASKED,
            "RFC 3515 2.4, RFC 6665 4.1.",
            "telephony/sip/refer.py",
        ),
        machine(
            "succession",
            "Somebody else in the far end's place",
            Succession,
            SuccessionState.BESIDE,
            "R30 and R31 of ``transfer.md``: who a REFER leads to, and who comes with Replaces (RFC 3891 3).",
            "telephony/call/succession.py",
        ),
        machine(
            "registration",
            "A registration of ours at a trunk's registrar",
            Registration,
            RegistrationState.OFF,
            "RFC 3261 10.2.",
            "telephony/sip/registration.py",
        ),
        machine(
            "invite-client",
            "INVITE client transaction",
            InviteClientTransaction,
            ClientState.CALLING,
            "RFC 3261 17.1.1, RFC 6026 7.2 and 8.4.",
            "telephony/sip/transaction.py",
        ),
        machine(
            "other-client",
            "Client transaction of any other request",
            OtherClientTransaction,
            ClientState.CALLING,
            "RFC 3261 17.1.2; what is called Trying there is CALLING here.",
            "telephony/sip/transaction.py",
        ),
        machine(
            "invite-server",
            "INVITE server transaction",
            InviteServerTransaction,
            ServerState.PROCEEDING,
            "RFC 3261 17.2.1, RFC 6026 7.1.",
            "telephony/sip/transaction.py",
        ),
        machine(
            "other-server",
            "Server transaction of any other request",
            OtherServerTransaction,
            ServerState.PROCEEDING,
            "RFC 3261 17.2.2; Trying and Proceeding are one state here.",
            "telephony/sip/transaction.py",
        ),
        machine(
            "drain",
            "The end of a server",
            Drain,
            Phase.OPEN,
            "What SIGTERM sets off.",
            "telephony/server/drain.py",
        ),
    ]


# -- telling them ----------------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a simple table of reStructuredText; no cell may be empty but in the last column."""
    lines = [tuple(head), *(tuple(cell or "-" for cell in row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    rule = "  ".join("=" * width for width in widths)
    told = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([rule, told[0], rule, *told[1:], rule]) + "\n"


def meanings(kind: str, members: Sequence[Enum]) -> str:
    """Return the table of what names mean; nothing where the enumeration only repeats the names."""
    rows = [(one.name, str(one.value)) for one in members]
    if all(name.lower() == text for name, text in rows):
        return ""
    return table((kind, "meaning"), rows) + "\n"


def section(drawn: Drawn) -> str:
    """Return one machine's part of the page."""
    steps = [step for step in drawn.steps if step.source in drawn.states]
    used = {step.what for step in steps}
    rows = [(step.source.name, step.what.name, step.target.name, ", ".join(step.done)) for step in steps]
    bare = not any(step.done for step in steps)
    head = ("in", "input", "leads to") if bare else ("in", "input", "leads to", "and does")
    parts = [
        f"{drawn.title}\n{'-' * len(drawn.title)}\n\n{drawn.text} The table is in ``{drawn.home}``.\n\n",
        f".. image:: {FOLDER}/{drawn.slug}.svg\n   :alt: the states below, and what leads from one to another\n\n",
        meanings("state", drawn.states),
        meanings("input", [one for one in drawn.inputs if one in used]),
        table(head, [row[: len(head)] for row in rows]) + "\n",
    ]
    if drawn.outputs:
        parts.append(table(("output", "what it does"), drawn.outputs) + "\n")
    unused = ", ".join(one.name for one in drawn.inputs if one not in used)
    if drawn.unreached:
        parts.append(f"Nothing leads to {' or '.join(one.name for one in drawn.unreached)} here.\n\n")
    if unused:
        parts.append(f"These inputs mean nothing here: {unused}.\n\n")
    return "".join(parts) + (f"{drawn.after}\n" if drawn.after else "")


# -- drawing them ----------------------------------------------------------------------------------------------------

ROW = 20
GAP = 16
LANE = 16
MARGIN = 16
#: Widths of a character in the two sizes of writing.
BOLD, PLAIN = 9.2, 7.0
COLOURS = ("#1b6ca8", "#b0413e", "#3c7a3f", "#8a5a00", "#6b4c9a", "#2f7f86", "#a0456e", "#555555")


@attrs.define
class Box:
    """One state in a picture: its ``rows`` are what leaves it, a label each, to the target or (None) to itself."""

    state: Enum
    top: float
    rows: list[tuple[str, Enum | None]]

    @property
    def height(self) -> float:
        """How high it is: a row for its name, and for the line that leads to it."""
        return ROW * (1 + len(self.rows))

    def row(self, number: int) -> float:
        """Return where the line of a row is; 0 is that of the name."""
        return self.top + ROW * number + ROW / 2 + 4


def boxes_of(drawn: Drawn) -> list[Box]:
    """Put the states below one another."""
    boxes: list[Box] = []
    top = float(MARGIN)
    for state in drawn.states:
        named: dict[Enum, list[str]] = {}
        for step in drawn.from_(state):
            named.setdefault(step.target, []).append(step.what.name)
        stays = named.pop(state, [])
        rows: list[tuple[str, Enum | None]] = [(", ".join(names), target) for target, names in named.items()]
        if stays:
            rows.insert(0, (f"stays: {', '.join(stays)}", None))
        boxes.append(Box(state, top, rows))
        top += boxes[-1].height + GAP
    return boxes


def lanes_of(boxes: Sequence[Box]) -> list[tuple[Enum, float, float]]:
    """Return each state that lines lead to, with its lane's upper and lower end; the shortest first."""
    lanes = []
    for box in boxes:
        ends = [one.row(number) for one in boxes for number, (_, to) in enumerate(one.rows, 1) if to is box.state]
        if ends:
            ends.append(box.row(0))
            lanes.append((box.state, min(ends), max(ends)))
    return sorted(lanes, key=lambda lane: lane[2] - lane[1])


def picture(drawn: Drawn) -> str:
    """Return a machine as SVG."""
    boxes = boxes_of(drawn)
    lanes = lanes_of(boxes)
    left = MARGIN + 24
    right = left + max(len(box.state.name) for box in boxes) * BOLD + 24
    labels = max(len(label) for box in boxes for label, _ in box.rows) * PLAIN + 20
    at = {state: right + labels + LANE * number for number, (state, _, _) in enumerate(lanes)}
    colour = {state: COLOURS[number % len(COLOURS)] for number, (state, _, _) in enumerate(lanes)}
    width = right + labels + LANE * len(lanes) + MARGIN
    height = boxes[-1].top + boxes[-1].height + MARGIN
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        'font-family="DejaVu Sans, Verdana, sans-serif" font-size="11">',
        f"<title>{escape(drawn.title)}</title>",
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
    ]
    for state, upper, lower in lanes:
        x = at[state]
        out.append(line(x, upper, x, lower, colour[state]))
    for box in boxes:
        out += box_drawn(box, left, right, ends=all(to is None for _, to in box.rows))
        y = box.row(0)
        if box.state is drawn.begins:
            out.append(f'<circle cx="{MARGIN}" cy="{y:.0f}" r="5" fill="#222222"/>')
            out.append(line(MARGIN, y, left - 6, y, "#222222") + arrow(left, y, 1, "#222222"))
        if box.state in at:
            out.append(line(right + 6, y, at[box.state], y, colour[box.state]) + arrow(right, y, -1, colour[box.state]))
        for number, (label, target) in enumerate(box.rows, 1):
            y = box.row(number)
            out.append(written(label, right + 10, y - 4, "#777777" if target is None else "#222222"))
            if target is not None:
                out.append(line(right, y, at[target], y, colour[target]))
                out.append(f'<circle cx="{at[target]:.0f}" cy="{y:.0f}" r="3" fill="{colour[target]}"/>')
    return "\n".join([*out, "</svg>"]) + "\n"


def box_drawn(box: Box, left: float, right: float, *, ends: bool) -> list[str]:
    """Return a state's box and name; with ``ends`` the frame is double."""
    frames = [0.0, 3.0] if ends else [0.0]
    drawn = [
        f'<rect x="{left + inset:.0f}" y="{box.top + inset:.0f}" width="{right - left - 2 * inset:.0f}" '
        f'height="{box.height - 2 * inset + 4:.0f}" rx="5" fill="#f2f5f9" stroke="#222222"/>'
        for inset in frames
    ]
    return [*drawn, written(box.state.name, left + 12, box.row(0) + 4, "#222222", ' font-weight="bold" font-size="13"')]


def line(x: float, y: float, to_x: float, to_y: float, colour: str) -> str:
    """Return a line."""
    return f'<path d="M{x:.0f} {y:.0f}L{to_x:.0f} {to_y:.0f}" stroke="{colour}" stroke-width="1.5" fill="none"/>'


def arrow(x: float, y: float, towards: int, colour: str) -> str:
    """Return the head of an arrow whose tip is at a place, pointing right (1) or left (-1)."""
    back = x - 8 * towards
    return f'<path d="M{x:.0f} {y:.0f}L{back:.0f} {y - 4:.0f}L{back:.0f} {y + 4:.0f}Z" fill="{colour}"/>'


def written(text: str, x: float, y: float, colour: str, more: str = "") -> str:
    """Return some writing."""
    return f'<text x="{x:.0f}" y="{y:.0f}" fill="{colour}"{more}>{escape(text)}</text>'


# -- all of it -------------------------------------------------------------------------------------------------------


def files() -> dict[str, str]:
    """Return everything this writes: text by file name under docs/."""
    machines = every_machine()
    page = INTRODUCTION + "\n" + "\n".join(section(one) for one in machines)
    return {PAGE: page.rstrip("\n") + "\n", **{f"{FOLDER}/{one.slug}.svg": picture(one) for one in machines}}


def main() -> None:
    """Write all files beside this one."""
    (HERE / FOLDER).mkdir(exist_ok=True)
    for name, text in files().items():
        (HERE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
