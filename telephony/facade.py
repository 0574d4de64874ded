"""What the blocking and the asyncio form of a channel share: an object that stands for one of the loop's.

Owns: the identity of such an object, how it is taken off an argument list, and methods that only read. Must not know
how either form waits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")


class Facade(Generic[S]):
    """An object of the loop, seen from elsewhere. Two facades of one object are equal."""

    __slots__ = ("_subject",)

    def __init__(self, subject: S) -> None:
        self._subject = subject

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Facade) and other._subject is self._subject

    def __hash__(self) -> int:
        return hash(id(self._subject))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._subject!r}>"


def bare(value: object) -> Any:
    """Return what a facade stands for, and anything else as it is."""
    return value._subject if isinstance(value, Facade) else value


def reading(reader: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
    """Derive the form of a method that only reads: it asks at once, from any thread, and never waits."""

    @functools.wraps(reader)
    def read(self: Facade[Any], *args: Any, **kwargs: Any) -> T:
        return reader(self._subject, *args, **kwargs)

    return cast("Callable[Concatenate[Any, P], T]", read)
