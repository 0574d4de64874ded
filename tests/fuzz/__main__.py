"""``python -m tests.fuzz``: one target for so long, from a seed."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["telephony"], enable_loader_override=False):
    from tests.fuzz.targets import TARGETS

from tests.fuzz.seeds import seeds


def main() -> None:
    """Fuzz until the time is up, or until something is found: then its input is kept, and the status is not 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz a parser or a live endpoint.")
    parser.add_argument("target", nargs="?", choices=TARGETS, help="without one, the targets are listed")
    parser.add_argument("--seconds", type=int, default=60, help="how long (60)")
    parser.add_argument("--seed", type=int, default=1, help="what everything is drawn from (1)")
    parser.add_argument("--corpus", type=Path, help="a folder of inputs to begin with, which grows")
    parser.add_argument("--found", type=Path, default=Path(), help="the folder for inputs that find something (here)")
    wanted = parser.parse_args()
    if wanted.target is None:
        for name, target in TARGETS.items():
            sys.stdout.write(f"{name:10} {(target.__doc__ or '').splitlines()[0]}\n")
        return
    with tempfile.TemporaryDirectory() as scratch:
        corpus = wanted.corpus or Path(scratch)
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds(wanted.target)):
            (corpus / f"seed-{number:03}").write_bytes(seed)
        options = [
            f"-max_total_time={wanted.seconds}",
            f"-seed={wanted.seed}",
            "-max_len=8192",
            "-timeout=20",
            "-rss_limit_mb=2000",
            "-print_final_stats=1",
            f"-artifact_prefix={wanted.found}/",
        ]
        atheris.Setup([sys.argv[0], *options, str(corpus)], TARGETS[wanted.target])
        atheris.Fuzz()


main()
