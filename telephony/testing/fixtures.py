"""A `CallTestCase` for test runners that have fixtures in the place of classes: made, performed on, ended.

Owns: what trial's ``run`` does for a `CallTestCase` otherwise. Must not know which runner it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from twisted.logger import ILogObserver, globalLogPublisher
from twisted.python.failure import Failure

from telephony.testing.case import CallTestCase
from telephony.testing.threads import PATIENCE


class FixtureCase(CallTestCase):
    """One test's simulation; ``name`` is the test's, ``places`` are where application files are looked for."""

    def __init__(
        self,
        name: str,
        places: Sequence[Path],
        *,
        seed: int = 1,
        strict: bool = True,
        patience: float | None = PATIENCE,
        network: dict[str, Any] | None = None,
        exchange: dict[str, Any] | None = None,
    ) -> None:
        super().__init__("perform")  # type: ignore[no-untyped-call]
        self._name = name
        self._own_places = list(places)
        self.seed, self.strict, self.patience = seed, strict, patience
        # The class attributes are for subclasses; here each test says its own.
        self.__dict__.update(network_settings=network or {}, exchange_settings=exchange or {})
        self._logged: list[Failure] = []
        self.setUp()
        globalLogPublisher.addObserver(cast("ILogObserver", self._observe))

    def perform(self, function: Callable[[], Any]) -> None:
        """Call ``function``, let time pass while its coroutine awaits, and judge what is left; raises with a ladder."""
        self._shown(function)()

    def end(self) -> None:
        """End what still runs. Raises for threads that can't be ended, and for what was logged as a failure."""
        try:
            if self._hosting is not None:
                self._end_applications()
            elif self._logged:
                self._logged[0].raiseException()
        finally:
            globalLogPublisher.removeObserver(cast("ILogObserver", self._observe))

    def id(self) -> str:
        """Return the test's name."""
        return self._name

    def flushLoggedErrors(self, *kinds: type[BaseException]) -> list[Failure]:  # noqa: N802 - trial's name
        """Return the failures logged so far, of these kinds or of any, and forget them: the test was made for them."""
        found = [one for one in self._logged if not kinds or one.check(*kinds)]  # type: ignore[no-untyped-call]
        self._logged = [one for one in self._logged if one not in found]
        return found

    def _places(self) -> list[Path]:
        return self._own_places

    def _observe(self, event: Any) -> None:
        failure = event.get("log_failure")
        if failure is not None:
            self._logged.append(failure)
