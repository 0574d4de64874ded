"""What a failed test leaves behind on request: the call as a capture for Wireshark or tshark, and as an HTML page.

Owns: where the files go, how they are called, and writing them. Must not know how they are made, nor what failed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from telephony.interfaces import Address
from telephony.testing.network import SimulatedNetwork
from telephony.trace.events import Note
from telephony.trace.page import page
from telephony.trace.pcap import capture

#: The environment variable that names the directory.
VARIABLE = "TELEPHONY_CALL_ARTIFACTS"
_LONGEST_NAME = 180


def artifacts_directory() -> Path | None:
    """Return the directory that TELEPHONY_CALL_ARTIFACTS names, made by the first test that fails; None without it."""
    named = os.environ.get(VARIABLE, "")
    return Path(named).expanduser() if named else None


def write_artifacts(
    directory: Path,
    name: str,
    network: SimulatedNetwork,
    names: Mapping[Address, str],
    *,
    text: str = "",
    notes: Iterable[Note] = (),
    start: float | None = None,
) -> list[Path]:
    """Write ``name.pcapng`` and ``name.html`` of what a network remembers; files of that name are replaced.

    ``text`` says on the page why; the rest is as for `telephony.trace.ladder.ladder`. Returns the two paths. Raises
    OSError when they can't be written.
    """
    kept = list(notes)
    stem = re.sub(r"[^\w.\-]+", "_", name)[-_LONGEST_NAME:].lstrip(".") or "call"
    directory.mkdir(parents=True, exist_ok=True)
    wire, shown = directory / f"{stem}.pcapng", directory / f"{stem}.html"
    wire.write_bytes(capture(network.events, network.media, names=names, notes=kept))
    drawn = page(network.events, names, title=name, text=text, notes=kept, media=network.media, start=start)
    shown.write_text(drawn, encoding="utf-8")
    return [wire, shown]
