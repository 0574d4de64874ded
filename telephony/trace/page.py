"""A trace as a page of HTML: the ladder with states and media beside the messages, and each message in full.

Owns: the page, one text without scripts, fonts, images or anything else from elsewhere. Must not know parsers or calls:
it shows what `telephony.trace.ladder` and `telephony.trace.streams` make of a trace.

What peers write is shown, never obeyed: all of it is escaped, what can't be seen (control characters, directions of
writing) is spelled out, and the page's own policy forbids every script and every load. An arrow is a link to its
message, which a browser opens by itself; on paper all of them are open.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from html import escape

import attrs

from telephony.interfaces import Address
from telephony.trace.events import MediaPacket, Note, TraceEvent
from telephony.trace.ladder import Row, columns_of, party_at, rows
from telephony.trace.streams import Spell, in_words, payload_names, spells

#: More rows than this nobody reads and no browser likes: the middle is left out.
MOST_ROWS = 4000
#: Sizes in pixels: a row's height, how far the first rail is from the edge, a character's width, a column's limits.
_HEIGHT, _EDGE, _CHARACTER = 28, 70, 7.4
_NARROWEST, _WIDEST = 180, 330
#: A long note makes the drawing as wide as this at most.
_BROADEST = 1200
_STATUS = re.compile(rb"SIP/2\.0 ([1-6])[0-9][0-9]", re.IGNORECASE)


@attrs.frozen(slots=True)
class _Line:
    """One row of the drawing: ``what`` is a message, a spell of audio or, for a note, nothing."""

    time: float
    what: Row | Spell | None
    source: str
    destination: str
    words: str


def page(
    events: Iterable[TraceEvent],
    names: Mapping[Address, str],
    *,
    title: str,
    text: str = "",
    notes: Iterable[Note] = (),
    media: Iterable[MediaPacket] = (),
    call_ids: Iterable[str] | None = None,
    start: float | None = None,
) -> str:
    """Return an HTML page of a trace, to be written as UTF-8; arguments as those of `telephony.trace.ladder.ladder`.

    ``title`` is its heading, ``text`` (why a test failed, for example) stands above the ladder. ``media`` is drawn as
    one arrow for each spell of audio, where it begins.
    """
    kept = list(events)
    called = payload_names(kept)
    lines = [_Line(row.time, row, row.source, row.destination, row.words) for row in rows(kept, names, call_ids)]
    for spell in spells(media):
        words = f"{in_words(spell.payload_type, called)} {spell.end - spell.start:.2f} s, {spell.packets} packets"
        source, destination = party_at(spell.source, names), party_at(spell.destination, names)
        lines.append(_Line(spell.start, spell, source, destination, words))
    columns = columns_of([party for line in lines for party in (line.source, line.destination)], names)
    lines += [_Line(time, None, party, "", words) for time, party, words in notes]
    lines.sort(key=lambda line: line.time)
    first = start if start is not None else lines[0].time if lines else 0.0
    longest = max((len(visible(line.words)) for line in lines if line.what is not None), default=0)
    width = max(_NARROWEST, min(_WIDEST, round(longest * _CHARACTER) + 40))
    total = max([_EDGE * 2 + width * max(0, len(columns) - 1), *(_needed(line, columns, width) for line in lines)])
    drawing, full = [], []
    skipped = len(lines) - MOST_ROWS
    for number, line in enumerate(lines):
        if skipped > 0 and MOST_ROWS // 2 <= number < MOST_ROWS // 2 + skipped:
            if number == MOST_ROWS // 2:
                drawing.append(f'<li><span class="time">…</span><span>{skipped} more</span></li>')
            continue
        drawing.append(_row(number, line, line.time - first, columns, width, total))
        if isinstance(line.what, Row):
            full.append(_message(number, line.what, line.time - first))
    heads = "".join(
        f'<text x="{_rail(index, width)}" y="15">{_text(_short(party, width))}</text>'
        for index, party in enumerate(columns)
    )
    said = f'<pre class="said" tabindex="0">{_text(text.rstrip())}</pre>' if text.strip() else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{_text(title)}</title>
<style>{_STYLE.replace("TOTAL", str(total))}</style>
</head>
<body>
<header>
<h1>{_text(title)}</h1>
{said}
</header>
<main>
<section class="ladder" aria-label="Ladder" tabindex="0">
<p class="heads" aria-hidden="true"><span class="time">seconds</span>{_svg(total, 22, heads)}</p>
<ol>
{"".join(drawing) or "<li>(no messages)</li>"}
</ol>
</section>
<section class="messages" aria-label="Messages" tabindex="0">
{"".join(full)}
</section>
</main>
</body>
</html>
"""


def visible(text: str) -> str:
    """Return ``text`` with everything that can't be seen spelled out; ends of lines and tabs are kept."""
    plain = text.replace("\r\n", "\n")
    if plain.isascii() and plain.replace("\n", "").replace("\t", "").isprintable():
        return plain
    return "".join(
        one if one in "\n\t" or unicodedata.category(one) not in _UNSEEN else ascii(one)[1:-1] for one in plain
    )


def say(text: str) -> None:
    """Print ``text`` as `visible` makes it: nothing that peers wrote is obeyed by a terminal."""
    sys.stdout.write(visible(text) + "\n")


#: Controls, formats (directions among them), surrogates, private and unassigned ones, and foreign line ends.
_UNSEEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


def _text(text: str) -> str:
    return escape(visible(text))


def _short(words: str, width: int) -> str:
    words = visible(words)
    most = int((width - 24) / _CHARACTER)
    return words if len(words) <= most else words[: most - 1] + "…"


def _rail(index: int, width: int) -> int:
    return _EDGE + index * width


def _svg(total: int, height: int, inside: str) -> str:
    return f'<svg viewBox="0 0 {total} {height}" width="{total}" height="{height}" aria-hidden="true">{inside}</svg>'


def _row(number: int, line: _Line, time: float, columns: list[str], width: int, total: int) -> str:
    """Return a row of the ladder: its time, and its part of the drawing."""
    inside = "".join(f'<path class="rail" d="M{_rail(index, width)} 0V{_HEIGHT}"/>' for index in range(len(columns)))
    if line.what is None:
        label, kind = f"{line.source}: {line.words}" if line.source else line.words, "note"
        inside += _note(line, columns, width, total)
    else:
        label, kind = f"{line.words}, {line.source} to {line.destination}", _kind(line.what)
        inside += _arrow(line, columns, width)
    drawn, label = _svg(total, _HEIGHT, inside), _text(label)
    if isinstance(line.what, Row):
        drawn = f'<a href="#m{number}" aria-label="{label}" title="{label}">{drawn}</a>'
    else:
        drawn = f'<span role="img" aria-label="{label}" title="{label}">{drawn}</span>'
    return f'<li id="r{number}" class="{kind}"><span class="time">{time:.3f}</span>{drawn}</li>\n'


def _needed(line: _Line, columns: list[str], width: int) -> int:
    """Return how wide the drawing has to be for what a note says."""
    if line.what is not None or line.source == (columns or [""])[-1]:
        return 0
    begin = _rail(columns.index(line.source), width) + 12 if line.source in columns else 12
    return min(_BROADEST, begin + 20 + round(len(visible(line.words) + line.source) * _CHARACTER))


def _note(line: _Line, columns: list[str], width: int, total: int) -> str:
    """Draw a note beside its party's rail: to the right of it, of the last one to the left."""
    if line.source not in columns:
        words = f"{line.source}: {line.words}" if line.source else line.words
        return f'<text x="12" y="18" class="own">{_text(_short(words, total))}</text>'
    rail = _rail(columns.index(line.source), width)
    left = len(columns) > 1 and line.source == columns[-1]
    shown = _text(_short(line.words, rail if left else total - rail))
    place = f'x="{rail - 11}" y="18" class="own left"' if left else f'x="{rail + 11}" y="18" class="own"'
    return f'<circle cx="{rail}" cy="14" r="4"/><text {place}>{shown}</text>'


def _kind(what: Row | Spell) -> str:
    """Return the classes of an arrow."""
    if isinstance(what, Spell):
        return "audio"
    status = _STATUS.match(what.data)
    kind = "request" if status is None else ("", "ringing", "good")[int(status[1])] if status[1] in b"12" else "bad"
    return kind + (" again" if what.repeated else "") + (" noted" if what.event.note else "")


def _arrow(line: _Line, columns: list[str], width: int) -> str:
    begin, end = (_rail(columns.index(party), width) for party in (line.source, line.destination))
    shown = _text(_short(line.words, max(width, abs(end - begin))))
    if begin == end:
        path = f'<path class="line" d="M{begin} 14h24v8h-16"/>'
        head = f'<path class="head" d="M{begin + 2} 22l7 -4v8z"/>'
        return f'{path}{head}<text x="{begin + 30}" y="18" class="own">{shown}</text>'
    way = 1 if end > begin else -1
    return (
        f'<path class="line" d="M{begin} 20H{end - 8 * way}"/>'
        f'<path class="head" d="M{end} 20l{-9 * way} -4v8z"/>'
        f'<text x="{(begin + end) // 2}" y="14">{shown}</text>'
    )


def _message(number: int, row: Row, time: float) -> str:
    event = row.event
    ends = f"{event.source[0]}:{event.source[1]} → {event.destination[0]}:{event.destination[1]}"
    what = row.data.decode("utf-8", "backslashreplace")
    return (
        f'<details><summary><span class="time">{time:.3f}</span> <b>{_text(row.words)}</b> '
        f"<span>{_text(row.source)} → {_text(row.destination)}</span></summary>"
        f'<div id="m{number}"><p>{_text(event.transport)} {_text(ends)} <a href="#r{number}">in the ladder</a></p>'
        f"<pre>{_text(what.rstrip())}</pre></div></details>\n"
    )


_STYLE = """
:root { --paper: #fff; --ink: #1b1f24; --faint: #667; --rail: #b8bec6; --shade: #f3f5f7; --mark: #fff3c4;
  --request: #0b5cad; --ringing: #7a5b00; --good: #12703a; --bad: #b3261e; --audio: #7b3fa0; }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #14171a; --ink: #e6e8ea; --faint: #98a2ad;
  --rail: #454c55; --shade: #1f2429; --mark: #2c2a18; --request: #74b3f5; --ringing: #dfb94a; --good: #63cc8c;
  --bad: #ff8a80; --audio: #cf9bee; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 14px/1.45 system-ui, sans-serif; }
header { padding: 12px 16px; border-bottom: 1px solid var(--rail); }
h1 { margin: 0; font-size: 17px; overflow-wrap: anywhere; }
pre, .time, svg text { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: 12px; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.said { margin-top: 8px; max-height: 9.5em; overflow: auto; color: var(--bad); }
ol { list-style: none; margin: 0; padding: 0; }
li, .heads { display: grid; grid-template-columns: 5.5em TOTALpx; align-items: center; margin: 0; }
.heads { position: sticky; top: 0; background: var(--paper); border-bottom: 1px solid var(--rail); padding: 6px 0; }
svg { display: block; }
svg text { text-anchor: middle; fill: currentColor; }
svg .own { text-anchor: start; }
svg .left { text-anchor: end; }
.heads text { font-weight: bold; }
.time { color: var(--faint); text-align: right; padding-right: 10px; white-space: nowrap; }
.rail { stroke: var(--rail); fill: none; }
.line { stroke: currentColor; fill: none; stroke-width: 1.4; }
.head, circle { fill: currentColor; }
li a { color: inherit; display: block; text-decoration: none; }
li a:hover, li:target { background: var(--shade); }
.request { color: var(--request); } .ringing { color: var(--ringing); } .good { color: var(--good); }
.bad { color: var(--bad); } .audio { color: var(--audio); } .noted .line, .audio .line { stroke-dasharray: 5 4; }
.again .line, .again .head, .again text { opacity: .7; }
:focus-visible { outline: 2px solid var(--request); outline-offset: -2px; }
details { border-bottom: 1px solid var(--rail); }
summary { padding: 5px 12px; cursor: pointer; }
summary:hover, details[open] summary { background: var(--shade); }
details div { padding: 8px 12px 12px 24px; }
details div:target { background: var(--mark); }
details p { margin: 0 0 6px; color: var(--faint); font-size: 12.5px; }
details a { color: var(--request); }
summary span:last-child { color: var(--faint); }
@media screen { svg text { paint-order: stroke; stroke: var(--paper); stroke-width: 4px; } }
@media screen and (min-width: 1100px) {
  body { height: 100vh; display: flex; flex-direction: column; }
  main { flex: 1; min-height: 0; display: grid; grid-template-columns: minmax(0, 3fr) minmax(24em, 2fr); }
  .messages { border-left: 1px solid var(--rail); }
  .ladder, .messages { overflow: auto; }
}
@media screen and (max-width: 1099.9px) { .ladder { overflow-x: auto; } .messages { border-top: 1px solid; } }
@media print {
  body { font-size: 10px; }
  li, .heads { grid-template-columns: 5em minmax(0, TOTALpx); break-inside: avoid; }
  .heads { position: static; }
  svg { width: 100%; height: auto; }
  .said { max-height: none; }
  pre, .time { font-size: 9px; }
  summary { break-after: avoid; list-style: none; }
  details a { display: none; }
  details::details-content { content-visibility: visible; display: block; height: auto; }
}
"""
