"""Verbs and resources of the interface that are not built yet (``api.md`` sections 4 and 6).

Owns: their names and signatures, so that an application that uses one hears what exists in its place instead of an
AttributeError, and the facades know them already. Must not know channels: whoever builds one of them moves it to
`telephony.call.channel`.
"""

from __future__ import annotations

from typing import NoReturn

from twisted.internet.defer import Deferred

from telephony.call.constants import State
from telephony.call.verbs import open_verb
from telephony.errors import Error

_ROOMS = "conference rooms are not built yet; connect() lets two calls hear each other"


def _refuse(name: str, instead: str) -> NoReturn:
    raise Error(f"{name}: {instead}")


class UnbuiltResources:
    """Each fails with an `Error` that names what exists, when it is read; for channels of every style."""

    __slots__ = ()

    @property
    def WholeCallRecorder(self) -> NoReturn:  # noqa: N802 - the interface's name
        """Not built yet: always an `Error`."""
        _refuse("WholeCallRecorder", "recording both sides is not built yet; FileRecorder records the far end")

    @property
    def SpeechDetector(self) -> NoReturn:  # noqa: N802 - the interface's name
        """Not built yet: always an `Error`."""
        _refuse("SpeechDetector", "speech recognition is not built yet; DTMFDetector.get_digits() collects keys")

    @property
    def FaxSender(self) -> NoReturn:  # noqa: N802 - the interface's name
        """Not built yet: always an `Error`."""
        _refuse("FaxSender", "fax is not built yet; a call carries audio and digits")

    @property
    def FaxReceiver(self) -> NoReturn:  # noqa: N802 - the interface's name
        """Not built yet: always an `Error`."""
        _refuse("FaxReceiver", "fax is not built yet; a call carries audio and digits")

    def audio(self) -> NoReturn:
        """Not built yet: always an `Error`."""
        _refuse("audio()", "streams of audio are not built yet; FilePlayer plays and FileRecorder records files")


class UnbuiltVerbs:
    """Each fails with an `Error` that names what exists, in every state of the channel; nothing is sent."""

    __slots__ = ()

    @open_verb
    def call_conference_room(
        self,
        conference_room_name: str,
        talker_and_listener: bool = True,
        conference_lifetime_control: object = None,
        conference_party_media_settings: object = None,
        seconds_timeout: float | None = 120,
    ) -> Deferred[State]:
        """Not built yet: always an `Error`."""
        _refuse("call_conference_room()", _ROOMS)

    @open_verb
    def start_call_conference_room(
        self,
        conference_room_name: str,
        talker_and_listener: bool = True,
        conference_lifetime_control: object = None,
        conference_party_media_settings: object = None,
    ) -> Deferred[State]:
        """Not built yet: always an `Error`."""
        _refuse("start_call_conference_room()", _ROOMS)

    @open_verb
    def transfer_to_inbound_service(
        self,
        other_call: object,
        call_to: str,
        call_from: str = "",
        ringback_tone: object = None,
        seconds_timeout: float | None = 120,
    ) -> Deferred[State]:
        """Not built yet: always an `Error`."""
        _refuse(
            "transfer_to_inbound_service()",
            "transfers to this server's own services are not built yet; retrievable_transfer() takes a SIP address",
        )

    @open_verb
    def transfer_to_conference_room(
        self,
        other_call: object,
        conference_room_name: str,
        talker_and_listener: bool = True,
        conference_lifetime_control: object = None,
        conference_party_media_settings: object = None,
        seconds_timeout: float | None = 120,
    ) -> Deferred[State]:
        """Not built yet: always an `Error`."""
        _refuse("transfer_to_conference_room()", _ROOMS)

    @open_verb
    def wait_for_answer_machine(
        self,
        milliseconds_min_beep_duration: int = 180,
        milliseconds_post_beep_silence: int = 1000,
        milliseconds_no_beep_silence: int = 4000,
        seconds_timeout: float | None = 10,
    ) -> Deferred[bool]:
        """Not built yet: always an `Error`."""
        _refuse(
            "wait_for_answer_machine()",
            "answering machines are not detected yet; FileRecorder.record() with milliseconds_max_silence ends when "
            "the far end has stopped talking",
        )
