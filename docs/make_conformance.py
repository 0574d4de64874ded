"""Writes docs/conformance.rst from what the code and its tests say of RFCs: ``python docs/make_conformance.py``.

Owns: how a citation is read (``RFC 3261 18.2.1, 18.2.2``), and the page. Must not know what is conformed to: sections,
modules and tests are read from the sources, so that the page can't say more than they do. By hand there are only the
titles, and what is left out on purpose. A test fails when what is committed is not what this writes, when an RFC that
the project promises has no test, and when a section that a test names is named by no module.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import attrs

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PAGE = "conformance.rst"

#: The RFCs that the page is about, by number: title, and what of it is not done here, on purpose or not yet.
RFCS: dict[str, tuple[str, str]] = {
    "3261": ("SIP", "No multicast, no forking proxy: this is a user agent and registrar. ``maddr`` is not followed."),
    "3262": ("Reliable provisional responses (100rel, PRACK)", "No offer of ours in a PRACK."),
    "3263": ("Locating SIP servers", ""),
    "3264": ("Offer and answer", "Audio alone is negotiated; every other stream is answered with port 0."),
    "3311": ("UPDATE", ""),
    "3323": ("Privacy", "Honoured where an identity is told (P-Asserted-Identity); nothing is anonymised for others."),
    "3325": ("Asserted identity", ""),
    "3326": ("Reason", ""),
    "3515": ("REFER", ""),
    "3550": ("RTP and RTCP", ""),
    "3551": ("RTP audio profile", "PCMU and PCMA."),
    "3581": ("Symmetric response routing (rport)", ""),
    "3605": ("RTCP attribute in SDP", ""),
    "3711": ("SRTP", "By pylibsrtp."),
    "3891": ("Replaces", ""),
    "3892": ("Referred-By", "Read and written; its signed form (AIB) is not."),
    "3960": ("Early media and ringback", ""),
    "4028": ("Session timers", ""),
    "4475": ("Torture tests", "All 49 messages: ``tests/sip/test_torture.py`` has the table."),
    "4566": ("SDP (replaced by RFC 8866)", ""),
    "4568": ("SDES keys in SDP", "Suites with AES-128, or AES-GCM where the library has it; no session parameters."),
    "4733": ("Telephone events", "Events 0 to 15."),
    "5118": ("Torture tests for IPv6", "All 12 messages: ``tests/sip/test_torture.py`` has the table."),
    "5389": ("STUN", "Binding requests and responses, as RFC 5626 needs them."),
    "5626": ("Keep-alives (of outbound connections)", "Keep-alives only: no ``reg-id``, no Path."),
    "5806": ("Diversion", "Read, not written."),
    "5922": ("Domain certificates", ""),
    "6026": ("Correct transactions for 2xx", ""),
    "6086": ("INFO", "DTMF only."),
    "6337": ("Offer and answer in SIP", ""),
    "6665": ("Events (what REFER uses)", "Subscriptions made by REFER, no SUBSCRIBE."),
    "7044": ("History-Info", "Read, not written."),
    "7616": ("Digest authentication", "No ``auth-int``, no ``-sess``, no ``userhash``."),
    "8760": ("Digest algorithms for SIP", ""),
    "8866": ("SDP", ""),
}

#: What the project promises (a test holds it to each).
PROMISED = [
    "3261",
    "3262",
    "3263",
    "3264",
    "3311",
    "3323",
    "3325",
    "3326",
    "3515",
    "3581",
    "3891",
    "3892",
    "4028",
    "4475",
    "4566",
    "8866",
    "4733",
    "5118",
    "5626",
    "5806",
    "6026",
    "6665",
    "7044",
    "8760",
    "3550",
    "3551",
    "3605",
]

#: Where messages of the torture tests are dealt with: no module is written for them alone.
BY_PARSER = {"4475": ["telephony/sip/parser.py"], "5118": ["telephony/sip/parser.py", "telephony/sip/uri.py"]}

INTRODUCTION = """\
.. Written by docs/make_conformance.py from the sources. Change those, then run: python docs/make_conformance.py

Conformance
===========

What this project does of each RFC: the section, the modules that name it, and the tests that do. The page is written
from the docstrings and comments of the code and the docstrings of the tests, and a test fails when it is out of date:
a line here that has no test, or no module, can't be.

Where a module has no line of its own for a section, the modules are those that name the nearest section around it.
"""

#: ``RFC 3261 18.2.1``, ``RFC 3264 section 8.4``, ``RFC 4475 3.1.1.1, 3.1.1.2 and 3.3.1``; numbers with four digits are
#: RFCs again.
CITATION = re.compile(
    r"RFCs? ?(\d{4})((?:(?:,| and|;|/|,? sections?|,? appendix)? (?:[A-Z]\.)?\d{1,2}(?:\.\d+)*(?![\d%]))*)"
)
SECTION = re.compile(r"(?<![\w.])((?:[A-Z]\.)?\d{1,2}(?:\.\d+)*)(?![\d%])")
#: A whole number above this is no section but a status, a time or a size.
MOST_SECTIONS = 30


@attrs.define
class Section:
    """Who speaks of one section: modules of ours and tests, by path and name."""

    modules: set[str] = attrs.field(factory=set)
    tests: set[tuple[str, str]] = attrs.field(factory=set)


def citations(text: str) -> Iterator[tuple[str, str]]:
    """Yield each RFC and section ("" for the RFC as a whole) that a text names."""
    text = " ".join(line.strip().lstrip("#:").strip() for line in text.splitlines())
    for found in CITATION.finditer(text):
        rfc, rest = found.groups()
        sections = [one for one in SECTION.findall(rest) if "." in one or int(one) <= MOST_SECTIONS]
        for section in sections or [""]:
            yield rfc, section


def docstrings_of_tests(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the name and docstring of each test in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            named = node.name.startswith("test") or any("race" in ast.dump(one) for one in node.decorator_list)
            if named:
                yield node.name, ast.get_docstring(node) or ""


def survey() -> dict[str, dict[str, Section]]:
    """Return, by RFC and section, who names it."""
    found: dict[str, dict[str, Section]] = defaultdict(lambda: defaultdict(Section))
    for path in sorted((ROOT / "telephony").rglob("*.py")):
        where = path.relative_to(ROOT).as_posix()
        if not where.startswith("telephony/testing/"):  # the kit's phones follow RFCs for themselves
            for rfc, section in citations(path.read_text()):
                found[rfc][section].modules.add(where)
    for path in sorted((ROOT / "tests").rglob("*.py")):
        where = path.relative_to(ROOT).as_posix()
        if where.startswith(("tests/testing/", "tests/mutation/")):
            continue
        for name, doc in docstrings_of_tests(ast.parse(path.read_text())):
            for rfc, section in citations(doc):
                found[rfc][section].tests.add((where, name))
    for rfc, section, name in torture():
        found[rfc][section].tests.add(("tests/sip/test_torture.py", name))
    return found


def torture() -> Iterator[tuple[str, str, str]]:
    """Yield RFC, section and test of each torture message: their tests are made from the table of messages."""
    text = (ROOT / "tests" / "sip" / "torture.py").read_text()
    for rfc, name, section in re.findall(r'message\(\s*"(\d+)",\s*"([^"]+)",\s*"([\d.]+)"', text):
        yield rfc, section, f"test_datagram_{name.replace('-', '_')}"


def modules_for(rfc: str, section: str, sections: dict[str, Section]) -> list[str]:
    """Return the modules that name a section, or the nearest one around or within it, or the RFC."""
    if rfc in BY_PARSER:
        return BY_PARSER[rfc]
    parts = section.split(".") if section else []
    for size in range(len(parts), 0, -1):
        prefix = ".".join(parts[:size])
        around = set(sections[prefix].modules) if prefix in sections else set()
        if not around:
            around = {
                module for other, who in sections.items() if other.startswith(f"{prefix}.") for module in who.modules
            }
        if around:
            return sorted(around)
    if "" in sections and sections[""].modules:
        return sorted(sections[""].modules)
    return sorted({module for who in sections.values() for module in who.modules})


def key(section: str) -> tuple[tuple[int, str], ...]:
    """Return what sections are sorted by: by number, appendices behind."""
    return tuple((int(part), "") if part.isdigit() else (999, part) for part in section.split(".") if part)


def named(paths: list[str]) -> str:
    """Return modules as they are shown: without the first folder and the ending."""
    return ", ".join(f"``{path.removeprefix('telephony/').removesuffix('.py')}``" for path in paths)


def tests_shown(tests: set[tuple[str, str]]) -> str:
    """Return tests as they are shown, by file."""
    by_file: dict[str, list[str]] = defaultdict(list)
    for where, name in sorted(tests):
        by_file[where].append(name.removeprefix("test_"))
    return "; ".join(
        f"``{where.removeprefix('tests/').removesuffix('.py')}``: {', '.join(names)}"
        for where, names in by_file.items()
    )


def page() -> dict[str, str]:
    """Return what is to be written: the page's text by its name."""
    found = survey()
    out = [INTRODUCTION]
    for rfc, (title, left_out) in RFCS.items():
        sections = found.get(rfc, {})
        heading = f"RFC {rfc}: {title}"
        out += ["", heading, "-" * len(heading), ""]
        if left_out:
            out += [left_out, ""]
        rows = [(section, who) for section, who in sections.items() if who.tests]
        if not rows:
            out += ["No test names it yet.", ""]
            continue
        out += [".. list-table::", "   :header-rows: 1", "   :widths: 10 35 55", ""]
        out += ["   * - Section", "     - Modules", "     - Tests"]
        for section, who in sorted(rows, key=lambda row: key(row[0])):
            out.append(f"   * - {section or 'as a whole'}")
            out.append(f"     - {named(modules_for(rfc, section, sections))}")
            out.append(f"     - {tests_shown(who.tests)}")
    return {PAGE: "\n".join(out).rstrip() + "\n"}


def gaps() -> list[str]:
    """Return what is promised and missing: an RFC without a test, a tested section that no module accounts for."""
    found = survey()
    missing = [f"RFC {rfc} has no test" for rfc in PROMISED if not any(s.tests for s in found.get(rfc, {}).values())]
    missing += [f"RFC {rfc} is not on the page" for rfc in PROMISED if rfc not in RFCS]
    for rfc in RFCS:
        sections = found.get(rfc, {})
        missing += [
            f"RFC {rfc} {section}: tested by {sorted(who.tests)[0][1]}, and no module names it"
            for section, who in sorted(sections.items())
            if who.tests and not modules_for(rfc, section, sections)
        ]
    return missing


if __name__ == "__main__":
    for name, text in page().items():
        (HERE / name).write_text(text)
    missing = gaps()
    if missing:
        raise SystemExit("\n".join(missing))
