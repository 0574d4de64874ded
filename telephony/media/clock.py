"""The media clock: one timer for the audio of all calls, on a fixed grid of 5 ms.

Owns: when each stream's turn is. Must not know what a stream does in its turn. A stream with frames of 20 ms has its
turn in every fourth slot of the grid; streams are spread over the slots, since a burst of all calls' packets at once
loses some of them at any receiver. What must be done for every stream of a slot (levels, in-band digits) is left to a
`Bank`, which does it for all of them in one numpy operation when the slot's streams have had their turn.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from twisted.logger import Logger

from telephony.interfaces import Clock, DelayedCall

#: Seconds and milliseconds between two slots of the grid.
SLOT = 0.005
SLOT_MS = 5
#: Slots that are made up for when the timer comes late (60 ms); what is older is skipped.
CATCH_UP = 12
#: A timer may come so much of a slot early, by the rounding of floating point.
_EARLY = 1e-3


class MediaStream(Protocol):
    """What has a turn once in its frame's length."""

    def tick(self, now: float) -> None:
        """Do what is due for one frame; must not raise."""

    def missed(self, frames: int) -> None:
        """Hear that so many turns were skipped, because the process was late: time has gone on."""


class Bank(Protocol):
    """Work on the frames of all streams of a slot at once."""

    def flush(self) -> None:
        """Do the work that the streams of this slot left; must not raise."""


B = TypeVar("B", bound=Bank)


class MediaClock:
    """The grid, driven by one timer on ``clock`` that exists only while there are streams.

    ``caught_up`` counts slots that were worked off late, ``skipped`` the turns that streams lost because the process
    was later than `CATCH_UP` slots.
    """

    log = Logger()

    __slots__ = (
        "_banks",
        "_clock",
        "_groups",
        "_origin",
        "_slot",
        "_timer",
        "_timer_slot",
        "_where",
        "caught_up",
        "skipped",
    )

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._origin = clock.seconds()
        self._slot = 0  # the last slot that was worked off
        # For each length of frame in slots: that many places, each the streams that have their turn in the same slot.
        self._groups: dict[int, list[dict[MediaStream, None]]] = {}
        self._where: dict[MediaStream, dict[MediaStream, None]] = {}
        self._banks: dict[type[Bank], Bank] = {}
        self._timer: DelayedCall | None = None
        self._timer_slot = 0
        self.caught_up = 0
        self.skipped = 0

    def __len__(self) -> int:
        """Return how many streams there are."""
        return len(self._where)

    def add(self, stream: MediaStream, ptime: int) -> None:
        """Give a stream its turn every ``ptime`` ms (a multiple of 5), from the soonest of the least busy slots on.

        A stream that has its turns already gets new ones.
        """
        if ptime < SLOT_MS or ptime % SLOT_MS:
            raise ValueError(f"a frame of {ptime} ms does not fit a grid of {SLOT_MS} ms")
        self.remove(stream)
        now = self._now_slot()
        if not self._where or (self._timer is not None and now < self._timer_slot):
            self._slot = now  # nobody had a turn in the slots since the last one
        slots = ptime // SLOT_MS
        group = self._groups.get(slots)
        if group is None:
            group = self._groups[slots] = [{} for _ in range(slots)]
        soonest = self._slot + 1
        turn = min(range(soonest, soonest + slots), key=lambda one: len(group[one % slots]))
        place = group[turn % slots]
        place[stream] = None
        self._where[stream] = place
        self._set_timer(turn)

    def remove(self, stream: MediaStream) -> None:
        """Take a stream's turns away, at once; harmless when it has none."""
        place = self._where.pop(stream, None)
        if place is None:
            return
        del place[stream]
        if not self._where and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def bank(self, kind: type[B]) -> B:
        """Return the one bank of this kind, made at the first asking."""
        bank = self._banks.get(kind)
        if bank is None:
            bank = self._banks[kind] = kind()
        assert isinstance(bank, kind)
        return bank

    def _now_slot(self) -> int:
        return int((self._clock.seconds() - self._origin) / SLOT + _EARLY)

    def _set_timer(self, slot: int) -> None:
        if self._timer is not None:
            if self._timer_slot <= slot:
                return
            self._timer.cancel()
        self._timer_slot = slot
        delay = self._origin + slot * SLOT - self._clock.seconds()
        self._timer = self._clock.callLater(delay if delay > 0.0 else 0.0, self._run)

    def _run(self) -> None:
        self._timer = None
        reached = self._now_slot()
        behind = reached - CATCH_UP
        if self._slot < behind:
            self._skip(self._slot, behind)
            self._slot = behind
        while self._slot < reached:
            self._slot += 1
            if self._slot < reached and self._turns_in(self._slot):
                self.caught_up += 1
            self._work(self._slot)
        if self._where:
            slot = reached + 1
            while not self._turns_in(slot):
                slot += 1
            self._set_timer(slot)

    def _turns_in(self, slot: int) -> bool:
        return any(group[slot % slots] for slots, group in self._groups.items())

    def _work(self, slot: int) -> None:
        now = self._clock.seconds()
        worked = False
        # Copies, since a turn may add and take away streams.
        for slots, group in tuple(self._groups.items()):
            place = group[slot % slots]
            if place:
                worked = True
                for stream in tuple(place):
                    if stream in place:  # not taken away by one before it
                        try:
                            stream.tick(now)
                        except Exception:
                            # A fault of ours must cost one turn of one call, not the audio of all.
                            self.log.failure("A turn of {stream} raised", stream=stream)
        if worked:
            for bank in tuple(self._banks.values()):
                bank.flush()

    def _skip(self, after: int, last: int) -> None:
        """Tell each stream how many of its turns lie in the slots ``after`` < slot <= ``last``."""
        for slots, group in self._groups.items():
            for turn, place in enumerate(group):
                frames = (last - turn) // slots - (after - turn) // slots
                if frames:
                    for stream in tuple(place):
                        self.skipped += frames
                        stream.missed(frames)
