"""The enumerations of the application interface and how SIP statuses become causes (``api.md`` section 3).

Owns: names and their mapping, as data. Must not know channels, sessions or media.
"""

from __future__ import annotations

from telephony.tables import Symbol


class Word(Symbol):
    """An enumeration of the application interface: prints as its bare name, compares by identity."""

    def __str__(self) -> str:
        return self.name


class State(Word):
    """Where a channel is in the life of its call."""

    WAITING = "waiting"
    CALL_INCOMING = "call_incoming"
    RING_INCOMING = "ring_incoming"
    ANSWERING = "answering"
    ANSWERED = "answered"
    CALL_OUTGOING = "call_outgoing"
    RING_OUTGOING = "ring_outgoing"
    HOLDING = "holding"
    ON_HOLD = "on_hold"
    TRANSFERRING = "transferring"
    TRANSFERRED = "transferred"
    RECONNECTING = "reconnecting"
    ERROR = "error"
    IDLE = "idle"


class Cause(Word):
    """Why a call ended; NORMAL while it has not."""

    TIMEOUT = "timeout"
    ERROR = "error"
    NORMAL = "normal"
    BUSY = "busy"
    NOANSWER = "noanswer"
    UNOBTAINABLE = "unobtainable"
    CHANGED = "changed"
    OUTOFORDER = "outoforder"
    BARRED = "barred"
    REJECTED = "rejected"
    NOCHANNELS = "nochannels"
    CONGESTION = "congestion"
    FAILED = "failed"
    OTHER = "other"


class TransferCause(Word):
    """How the last transfer verb of a channel ended."""

    NONE = "none"
    NORMAL = "normal"
    TIMEOUT = "timeout"
    HANGUP = "hangup"
    TARGETREJECT = "targetreject"
    TARGETHANGUP = "targethangup"
    FAIL = "fail"


class CallFarEndType(Word):
    """What live speaker detection took the far end for."""

    LIVE = "live"
    ANSWER_MACHINE = "answer_machine"
    FAX_MACHINE = "fax_machine"
    UNKNOWN = "unknown"


class LiveSpeakerDetectionSettings(Word):
    """From when the time limit of live speaker detection runs."""

    DEFAULT = "default"
    TIMEOUT_FROM_NETWORK_CONNECT = "timeout_from_network_connect"
    TIMEOUT_FROM_ANSWER_DETECT = "timeout_from_answer_detect"


class Enumerations:
    """The enumerations as they hang off a channel's class and its instances: ``channel.State.ANSWERED``."""

    __slots__ = ()

    State = State
    Cause = Cause
    TransferCause = TransferCause
    CallFarEndType = CallFarEndType
    LiveSpeakerDetectionSettings = LiveSpeakerDetectionSettings


_CAUSE_OF_STATUS = {
    403: Cause.BARRED,
    404: Cause.UNOBTAINABLE,
    408: Cause.NOANSWER,
    410: Cause.CHANGED,
    480: Cause.NOANSWER,
    484: Cause.UNOBTAINABLE,
    486: Cause.BUSY,
    487: Cause.NOANSWER,
    502: Cause.OUTOFORDER,
    503: Cause.CONGESTION,
    600: Cause.BUSY,
    603: Cause.REJECTED,
    604: Cause.UNOBTAINABLE,
    607: Cause.REJECTED,
}

#: The status that `reject` sends for a cause: one that maps back to it wherever there is one.
STATUS_OF_CAUSE = {
    Cause.TIMEOUT: 480,
    Cause.ERROR: 500,
    Cause.NORMAL: 603,
    Cause.BUSY: 486,
    Cause.NOANSWER: 480,
    Cause.UNOBTAINABLE: 404,
    Cause.CHANGED: 410,
    Cause.OUTOFORDER: 502,
    Cause.BARRED: 403,
    Cause.REJECTED: 603,
    Cause.NOCHANNELS: 503,
    Cause.CONGESTION: 503,
    Cause.FAILED: 500,
    Cause.OTHER: 488,
}

#: Refusals that say more about the path than about the target's will: a transfer they end has FAILed.
_NOT_THE_TARGETS_WORD = frozenset({401, 407, 482, 483})


def cause_of_status(status: int) -> Cause:
    """Return the cause for a final SIP status of 300 or more; 0 stands for no response at all."""
    if status == 0:
        return Cause.NOANSWER
    return _CAUSE_OF_STATUS.get(status, Cause.FAILED)


def transfer_cause_of_status(status: int) -> TransferCause:
    """Return how a transfer ended whose target answered with this status (0: with nothing)."""
    if status in _NOT_THE_TARGETS_WORD:
        return TransferCause.FAIL
    if 400 <= status < 500 or status >= 600:
        return TransferCause.TARGETREJECT
    return TransferCause.FAIL
