"""What makes a method a verb of the application interface, and how a verb waits.

Owns: the `verb` mark (read by the blocking and asyncio facades), the rule that a second verb on one channel is an
`Error` (``api.md`` section 5), and `Wait`, a verb's Deferred with its condition and deadline. Must not know what any
verb does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail, maybeDeferred

from telephony.errors import Error
from telephony.interfaces import Clock, DelayedCall

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Busy(Protocol):
    """An object with verbs of which one may run at a time.

    It may set ``running_verb`` to None itself as soon as the verb's outcome is settled, before that is delivered.
    """

    running_verb: str | None


class _Running(str):
    """The name of a verb that runs: equal to others of its name, but told apart from them."""

    __slots__ = ()


B = TypeVar("B", bound=Busy)
A = TypeVar("A")


def verb(
    method: Callable[Concatenate[B, P], Deferred[R]],
) -> Callable[Concatenate[B, P], Deferred[R]]:
    """Mark a method as a verb that excludes others: it returns a Deferred, and while that runs a second one fails.

    Whatever the method raises comes out of the Deferred.
    """
    name = method.__name__

    def run(self: B, /, *args: P.args, **kwargs: P.kwargs) -> Deferred[R]:
        if self.running_verb is not None:
            return fail(
                Error(
                    f"{name}() can't start while {self.running_verb}() is running on the same channel; "
                    "wait for it to end, or end it with hang_up()"
                )
            )
        mark = self.running_verb = _Running(name)

        def over(result: Any) -> Any:
            # What runs by now may be another verb, of the same name even.
            if self.running_verb is mark:
                self.running_verb = None
            return result

        return _run(method, self, args, kwargs).addBoth(over)

    run.is_verb = True  # type: ignore[attr-defined]
    update_wrapper(run, method)
    return run


def open_verb(method: Callable[Concatenate[A, P], Deferred[R]]) -> Callable[Concatenate[A, P], Deferred[R]]:
    """Mark a method as a verb that may run beside others: `hang_up`, the ``wait_…`` verbs, receivers, ``stop``."""

    def run(self: A, /, *args: P.args, **kwargs: P.kwargs) -> Deferred[R]:
        return _run(method, self, args, kwargs)

    run.is_verb = True  # type: ignore[attr-defined]
    update_wrapper(run, method)
    return run


def _run(method: Callable[..., Deferred[Any]], subject: Any, args: Any, kwargs: Any) -> Deferred[Any]:
    # Whoever records the call runs the verb itself, so that a replay can let it wait for its turn.
    recording = getattr(subject, "recording", None)
    if recording is None:
        return maybeDeferred(method, subject, *args, **kwargs)
    recorded: Deferred[Any] = recording.verb(subject, method, args, kwargs)
    return recorded


def is_verb(member: object) -> bool:
    """Tell whether a class's member was marked by `verb` or `open_verb`."""
    return getattr(member, "is_verb", False) is True


class Wait(Generic[T]):
    """A verb's promise: fires once, with a value, when somebody says so, when its time is up, or when cancelled.

    ``expired`` and ``cancelled`` are called without arguments in place of firing; they end what the verb began and
    then call `end` themselves.
    """

    __slots__ = ("_cancelled", "_deferred", "_expired", "_timer")

    def __init__(
        self,
        clock: Clock,
        seconds: float | None,
        expired: Callable[[], None],
        cancelled: Callable[[], None],
    ) -> None:
        self._deferred: Deferred[T] | None = None
        self._expired: Callable[[], None] | None = expired
        self._cancelled: Callable[[], None] | None = cancelled
        self._timer: DelayedCall | None = None if seconds is None else clock.callLater(seconds, self._time_up)

    def promise(self) -> Deferred[T]:
        """Return the Deferred to hand out; call once."""
        self._deferred = Deferred(self._given_up)
        return self._deferred

    @property
    def over(self) -> bool:
        """Whether the verb has its outcome already, fired or about to be."""
        return self._expired is None

    def claim(self) -> Callable[[T | Exception], None]:
        """Decide the outcome now, deliver it later: returns the function that fires the Deferred with it.

        A verb's outcome is settled in the middle of signalling; application code runs only after that is done.
        """
        self._expired = self._cancelled = None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        return self._fire

    def _fire(self, outcome: T | Exception) -> None:
        deferred, self._deferred = self._deferred, None
        if deferred is None:
            return
        if isinstance(outcome, Exception):
            deferred.errback(outcome)
        else:
            deferred.callback(outcome)

    def _time_up(self) -> None:
        expired = self._expired
        if expired is not None:
            expired()

    def _given_up(self, _deferred: Deferred[T]) -> None:
        # The Deferred fails with CancelledError as soon as this returns; what was begun on the wire is undone here.
        self._deferred = None
        cancelled = self._cancelled
        if cancelled is not None:
            cancelled()


def check_seconds(name: str, seconds: float | None) -> None:
    """Refuse a time limit that is no number of seconds of 0 or more, or None."""
    wrong = isinstance(seconds, bool) or not isinstance(seconds, int | float | None)
    if wrong or (seconds is not None and not seconds >= 0):
        raise Error(f"{name}={seconds!r} is no time limit: give seconds as a number of 0 or more, or None for no limit")
