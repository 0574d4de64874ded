"""How many files this process may have open, and what of that is left for connections of SIP.

Owns: the arithmetic, and raising the limit as far as the system lets us. Must not know calls: it is told how many.
"""

from __future__ import annotations

import resource

#: What each leg of a call takes: RTP and RTCP.
PER_LEG = 2
#: What everything else takes: listeners, recordings, prompts, the log.
OTHERS = 128
#: Connections that are let in whatever the limit: a server without any is of no use.
FEWEST = 64


def raise_limit() -> int:
    """Raise the number of files this process may have open to what the system allows it; return that number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):
            return soft  # some systems have a limit of their own below the one they name
    return hard


def most_connections(files: int, legs: int) -> int:
    """Return how many connections fit beside so many legs; ``files`` below 0 is no limit.

    What calls leave open for the next ones takes its share too, as long as the files suffice for it.
    """
    if files < 0:
        return 1 << 20
    left = files - OTHERS - PER_LEG * legs
    return max(FEWEST, min(left, files - OTHERS - files // 2))


def too_few(files: int, legs: int) -> str:
    """Return a sentence when the files don't suffice for so many legs, "" when they do."""
    needed = PER_LEG * legs + OTHERS + FEWEST
    if files < 0 or files >= needed:
        return ""
    return f"limits.max_calls needs {needed} open files, and this process may have {files}; raise the limit (ulimit -n)"
