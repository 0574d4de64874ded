"""Who is measured beside the project, and the project itself: one module each.

Each has a context manager that starts it on a core and gives a `Running`, and ``absent()``, which tells why it can't be
here ("" if it can).
"""

from __future__ import annotations

import attrs

from bench.processes import Process


@attrs.define
class Running:
    """Somebody who runs. ``port`` is where calls go."""

    process: Process
    port: int

    def cpu_seconds(self) -> float:
        """Return the processor time so far."""
        return self.process.cpu_seconds()
