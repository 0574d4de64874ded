"""Retrievable transfer: the machine that ties a caller's channel to a target's, as one table (``transfer.md``).

Owns: when the caller hears ringback, early media or the target; who is ended when the other ends (rule 6); the
transfer's cause, written once (I8). Must not know SIP messages: both channels tell it in words, and it tells them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from telephony.call.constants import Cause, TransferCause
from telephony.call.direct import Direct, DirectInput, begin
from telephony.call.whereabouts import bring_back
from telephony.media.endpoint import Endpoint
from telephony.media.join import Join
from telephony.media.players import ToneSource
from telephony.media.tones import ToneCycle
from telephony.tables import Machine, Symbol, Table, Transition, ignored

if TYPE_CHECKING:
    from telephony.call.core import ChannelCore


class TransferState(Symbol):
    """Where a transfer is."""

    DIALLING = "the target has been called and nothing was heard of it"
    RINGING = "the target rings, the caller hears the ringback tone"
    EARLY_MEDIA = "the caller hears what the target sends before it answers"
    TRANSFERRED = "both hear each other"
    OVER = "failed, ended or retrieved"


class TransferInput(Symbol):
    """What can happen to a transfer."""

    RINGS = "180 to 183 from the target"
    MEDIA = "the target's first packet before its answer"
    REDIRECTED = "somebody else is called in the target's place (R6)"
    ANSWERED = "the target's 2xx, usable and acknowledged"
    TARGET_OVER = "the target refused, failed or hung up, or its channel was hung up; with the cause"
    CALLER_OVER = "the caller hung up, or its channel was hung up"
    TIME_UP = "seconds_timeout is over"
    GIVEN_UP = "the verb's Deferred was cancelled"
    RETRIEVE = "the application wants the caller back"


def _start_tone(transfer: Transfer, _value: object) -> None:
    endpoint = transfer.endpoint(transfer.caller)
    if endpoint is not None:
        endpoint.play(ToneSource(transfer.tone), _tone_over)


def _tone_over() -> None:
    """A ringback tone has no end of its own."""


def _stop_tone(transfer: Transfer, _value: object) -> None:
    endpoint = transfer.endpoint(transfer.caller)
    if endpoint is not None:
        endpoint.stop_source()


def _pass_early_media(transfer: Transfer, _value: object) -> None:
    caller, target = transfer.endpoint(transfer.caller), transfer.endpoint(transfer.target)
    if caller is not None and target is not None:
        transfer.join = Join(caller, target, both=False)


def _join(transfer: Transfer, _value: object) -> None:
    _cut(transfer, None)
    caller, target = transfer.endpoint(transfer.caller), transfer.endpoint(transfer.target)
    if caller is not None and target is not None:
        transfer.join = Join(caller, target)
    transfer.direct = begin(transfer)
    transfer.caller.set_transfer_cause(TransferCause.NORMAL)
    transfer.caller.transfer_joined()


def _cut(transfer: Transfer, _value: object) -> None:
    if transfer.join is not None:
        transfer.join.cut()
        transfer.join = None


def _let_go(transfer: Transfer, _value: object) -> None:
    transfer.caller.transfer = None
    transfer.target.claimed_by = None
    if transfer.direct is not None:
        transfer.direct.feed(DirectInput.PARTED)
        transfer.direct = None


def _fail(transfer: Transfer, cause: TransferCause) -> None:
    transfer.caller.set_transfer_cause(cause)
    transfer.caller.transfer_failed()


def _caller_hung_up(transfer: Transfer, _value: object) -> None:
    transfer.caller.set_transfer_cause(TransferCause.HANGUP)
    transfer.target.drop_target(Cause.NORMAL, 487, "Caller hung up")


def _end_target(transfer: Transfer, _value: object) -> None:
    transfer.target.drop_target(Cause.NORMAL, 0, "")


def _time_up(transfer: Transfer, _value: object) -> None:
    transfer.target.drop_target(Cause.TIMEOUT, 408, "Request Timeout")
    _fail(transfer, TransferCause.TIMEOUT)


def _given_up(transfer: Transfer, _value: object) -> None:
    transfer.target.drop_target(Cause.NORMAL, 487, "Given up")
    _fail(transfer, TransferCause.FAIL)


def _retrieve(transfer: Transfer, _value: object) -> None:
    transfer.caller.transfer_retrieving()
    if transfer.target.leg is not None:
        bring_back(transfer.target.leg)


_S, _I = TransferState, TransferInput


def _before_the_answer(state: TransferState) -> dict[TransferInput, Transition[TransferState]]:
    return {
        _I.ANSWERED: (_S.TRANSFERRED, (_stop_tone, _join)),
        _I.TARGET_OVER: (_S.OVER, (_stop_tone, _cut, _let_go, _fail)),
        _I.CALLER_OVER: (_S.OVER, (_stop_tone, _cut, _let_go, _caller_hung_up)),
        _I.TIME_UP: (_S.OVER, (_stop_tone, _cut, _let_go, _time_up)),
        _I.GIVEN_UP: (_S.OVER, (_stop_tone, _cut, _let_go, _given_up)),
        # The channel refuses retrieve_transferred_call() while TRANSFERRING.
        **ignored(state, _I.RETRIEVE),
    }


class Transfer(Machine[TransferState, TransferInput]):
    """One transfer of ``caller``'s call to whoever is called on ``target``, from INVITE to end or retrieval."""

    __slots__ = ("caller", "direct", "join", "target", "tone")

    table: ClassVar[Table[TransferState, TransferInput]] = {
        _S.DIALLING: {
            **_before_the_answer(_S.DIALLING),
            **ignored(_S.DIALLING, _I.REDIRECTED),
            _I.RINGS: (_S.RINGING, (_start_tone,)),
            _I.MEDIA: (_S.EARLY_MEDIA, (_pass_early_media,)),
        },
        _S.RINGING: {
            **_before_the_answer(_S.RINGING),
            # The caller goes on hearing that it rings.
            **ignored(_S.RINGING, _I.RINGS, _I.REDIRECTED),
            _I.MEDIA: (_S.EARLY_MEDIA, (_stop_tone, _pass_early_media)),
        },
        _S.EARLY_MEDIA: {
            **_before_the_answer(_S.EARLY_MEDIA),
            # R18: a 180 behind a 183 with SDP puts no tone over real audio.
            **ignored(_S.EARLY_MEDIA, _I.RINGS, _I.MEDIA),
            _I.REDIRECTED: (_S.DIALLING, (_cut,)),
        },
        _S.TRANSFERRED: {
            # R21: whatever provisional comes late finds nothing to restart.
            **ignored(_S.TRANSFERRED, _I.RINGS, _I.MEDIA, _I.REDIRECTED, _I.ANSWERED, _I.TIME_UP, _I.GIVEN_UP),
            _I.TARGET_OVER: (_S.OVER, (_cut, _let_go, _retrieve)),
            _I.CALLER_OVER: (_S.OVER, (_cut, _let_go, _end_target)),
            _I.RETRIEVE: (_S.OVER, (_cut, _let_go, _retrieve)),
        },
        _S.OVER: ignored(_S.OVER, *_I),
    }

    def __init__(self, caller: ChannelCore, target: ChannelCore, tone: ToneCycle) -> None:
        super().__init__(TransferState.DIALLING)
        self.caller = caller
        self.target = target
        self.tone = tone
        self.join: Join | None = None
        self.direct: Direct | None = None
        caller.transfer = self
        target.claimed_by = self

    def rejoin(self) -> None:
        """Let both hear each other as before, now that one of them is somebody else (R30, R31)."""
        if self.join is not None:
            self.join.cut()
            caller, target = self.endpoint(self.caller), self.endpoint(self.target)
            if caller is not None and target is not None:
                self.join = Join(caller, target, both=self.state is TransferState.TRANSFERRED)

    @staticmethod
    def endpoint(channel: ChannelCore) -> Endpoint | None:
        """Return a channel's media, None when its call is over."""
        return None if channel.leg is None else channel.leg.endpoint
