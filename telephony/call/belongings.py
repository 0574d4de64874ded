"""A channel's media resources, each made when somebody first asks for it: most calls use one of them, or none.

Owns: which resources a channel has by now. Must not know what they do (`telephony.call.resources`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from telephony.call import resources
from telephony.call.constants import Enumerations

if TYPE_CHECKING:
    from telephony.call.core import ChannelCore


class Belongings(Enumerations):
    """What ``channel.FilePlayer`` and its like are; `ChannelCore` is built upon this."""

    __slots__ = ("TonePlayer", "_detector", "_digits", "_files", "_recorder")

    def __init__(self) -> None:
        self._files: resources.FilePlayer | None = None
        self._recorder: resources.FileRecorder | None = None
        self._detector: resources.DTMFDetector | None = None
        self._digits: resources.DTMFPlayer | None = None
        self.TonePlayer: resources.TonePlayer | None = None
        """The tone player made with ``TonePlayer(channel)``, None before."""

    @property
    def FilePlayer(self) -> resources.FilePlayer:  # noqa: N802 - the interface's name
        """Plays files to the far end."""
        one = self._files
        if one is None:
            one = self._files = resources.FilePlayer(self._itself)
        return one

    @property
    def FileRecorder(self) -> resources.FileRecorder:  # noqa: N802 - the interface's name
        """Records what the far end says."""
        one = self._recorder
        if one is None:
            one = self._recorder = resources.FileRecorder(self._itself)
        return one

    @property
    def DTMFDetector(self) -> resources.DTMFDetector:  # noqa: N802 - the interface's name
        """Collects the keys that the far end presses."""
        one = self._detector
        if one is None:
            one = self._detector = resources.DTMFDetector(self._itself)
        return one

    @property
    def DTMFPlayer(self) -> resources.DTMFPlayer:  # noqa: N802 - the interface's name
        """Presses keys towards the far end."""
        one = self._digits
        if one is None:
            one = self._digits = resources.DTMFPlayer(self._itself)
        return one

    @property
    def awaiting_digits(self) -> bool:
        """Whether a ``get_digits`` waits for keys now."""
        return self._detector is not None and self._detector.waiting

    @property
    def _itself(self) -> ChannelCore:
        return cast("ChannelCore", self)  # nothing else is ever made of this
