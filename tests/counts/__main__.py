"""``python -m tests.counts``: instructions per unit of each workload, beside the record; ``--record`` writes it."""

from __future__ import annotations

import argparse
import sys

from tests.counts.counting import RECORD, CannotCount, count, differences, write


def main() -> int:
    """Count, and show or record."""
    parser = argparse.ArgumentParser(prog="python -m tests.counts", description="Count instructions of the hot paths.")
    parser.add_argument("--record", action="store_true", help="keep the counts as what is to be held from now on")
    wanted = parser.parse_args()
    try:
        counts = count()
    except CannotCount as error:
        sys.stderr.write(f"{error}\n")
        return 1
    apart = differences(counts) if RECORD.exists() else {}
    for name, value in counts.items():
        off, _ = apart.get(name, (float("nan"), 0.0))
        sys.stdout.write(f"{name:10} {value:12,.0f} instructions a unit {off:+8.1%} of the record\n")
    if wanted.record:
        write(counts)
        return 0
    return int(any(abs(off) > allowed for off, allowed in apart.values()) or not apart)


sys.exit(main())
