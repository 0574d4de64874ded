"""The tests of telephony; the folders mirror the package.

What hypothesis draws is the same in every run, on every machine: a failure that CI saw can be seen again by whoever
reads of it. ``TELEPHONY_RANDOM=1`` draws anew, which is how to look for what nobody has seen yet. How slow a machine
is decides nothing.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "telephony",
    derandomize=not os.environ.get("TELEPHONY_RANDOM"),
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("telephony")
