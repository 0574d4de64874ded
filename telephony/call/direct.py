"""Direct media: after a transfer both far ends send their audio to each other, and no packet comes by here (RFC 3725).

Owns: when a transfer's media may go directly and what stands in the way (`Obstacle`), the order in which the two are
asked, and the way back to anchored media, as one table. Must not know how a leg's far end is asked
(`telephony.call.whereabouts`), nor what a description says of it (`telephony.sdp`).

The target is asked first. It has only just come, so if one of the two is to hear of a change for nothing, or may be
lost over it, it is the target; the caller hears nothing of a target that refuses. Until both have agreed whatever comes
is relayed as before. From then on anything that needs audio here, and anything that either end changes, brings both
back, and that transfer's media stay anchored.
"""

from __future__ import annotations

from enum import Enum
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, ClassVar

from telephony.call.constants import State
from telephony.call.whereabouts import Place, bring_back, place_of, send_away
from telephony.errors import Error
from telephony.interfaces import DelayedCall
from telephony.sdp.elsewhere import Elsewhere
from telephony.sdp.negotiation import EVENT, Agreed
from telephony.sip.nat import PRIVATE
from telephony.tables import Machine, Table, ignored

if TYPE_CHECKING:
    from telephony.call.core import ChannelCore
    from telephony.call.leg import Leg
    from telephony.call.transfer import Transfer

#: What a channel's ``media`` may be.
ANCHORED, DIRECT = CHOICES = ("anchored", "direct")
#: Seconds between two looks at whether media can go directly: the first packet of each end has to have come, from
#: where it was said to come from, and nobody is asked for anything in the moment of the answer.
SETTLE = 1.0
#: How many of those looks.
LOOKS = 10
#: Seconds in which the caller has to agree once the target has. They are apart so long: neither is sure to hear the
#: other. It is enough for a glare on a call that came in (RFC 3261 14.1: up to 2 s).
APART = 2.5


class Obstacle(Enum):
    """Why a transfer's media don't go directly, in words for people."""

    GONE = "one of the two is gone, or is being replaced"
    SECURED = "the audio of one of the two is secured (SRTP), and keys never cross"
    HELD = "one of the two is on hold, or holds"
    CODECS = "the two haven't got the same codec, payload types and length of packets"
    KEYS = "the two have no telephone events, and one of them takes no INFO either"
    USED = "audio is played, recorded or listened to here"
    NAT = "one of the two is behind a NAT"
    SILENT = "nothing has come yet from where one of the two said that it sends from"
    NETWORKS = "the two are in different networks"
    REFUSED = "one of the two has refused to send its audio to the other, or took too long"
    CHANGED = "it was direct, and one of the two has changed something"


class DirectState(Enum):
    """Where the media of two that talk are."""

    WAITING = "here; whether they can go directly isn't known yet"
    TARGET_ASKED = "here; the target has been asked to send to the caller"
    CALLER_ASKED = "the target sends to the caller, who has been asked to send to the target"
    DIRECT = "each sends to the other"
    ANCHORED = "here, or on their way back to here, for good"
    OVER = "the transfer is over"


class DirectInput(Enum):
    """What can happen to them."""

    FIT = "nothing stands in the way"
    UNFIT = "something stands in the way, and will; with the obstacle"
    TARGET_AWAY = "the target has agreed to send to the caller"
    TARGET_HERE = "the target has refused that, or its audio has come back by something it did itself"
    CALLER_AWAY = "the caller has agreed to send to the target"
    CALLER_HERE = "the caller has refused that, or its audio has come back by something it did itself"
    TIME_UP = "the caller takes too long to agree"
    PARTED = "the transfer is over: ended, or retrieved"


def _ask_target(direct: Direct, _value: object) -> None:
    """Output: have the target send to the caller."""
    _ask(direct, direct.target, direct.caller)


def _ask_caller(direct: Direct, _value: object) -> None:
    """Output: have the caller send to the target, if the target's answer has left everything as it was."""
    if direct.still_fit():
        direct.timer = direct.target.clock.callLater(APART, partial(direct.feed, DirectInput.TIME_UP))
        _ask(direct, direct.caller, direct.target)


def _ask(direct: Direct, channel: ChannelCore, other: ChannelCore) -> None:
    leg, agreed = channel.leg, None if other.leg is None else other.leg.agreed
    if leg is not None and agreed is not None and agreed.remote_rtp is not None:
        rtcp = agreed.remote_rtcp
        same = rtcp is not None and rtcp[0] == agreed.remote_rtp[0]
        place = Elsewhere(agreed.remote_rtp, rtcp[1] if rtcp is not None and same else None, agreed.ptime)
        send_away(leg, place, keep=channel is direct.caller)


def _rest(direct: Direct, _value: object) -> None:
    """Output: stop sending, listening and timing on both legs."""
    direct.since = direct.caller.clock.seconds()
    for channel in direct.both:
        if channel.leg is not None and channel.leg.endpoint is not None:
            channel.leg.endpoint.rest()
        channel.Details.media_reason = ""
        _say(channel, DIRECT)


def _count(direct: Direct, _value: object) -> None:
    """Output: write down how long it was direct."""
    since, direct.since = direct.since, None
    if since is not None:
        for channel in direct.both:
            channel.Details.direct_seconds += channel.clock.seconds() - since


def _stop_timer(direct: Direct, _value: object) -> None:
    """Output: wait for nothing any more."""
    if direct.timer is not None and direct.timer.active():
        direct.timer.cancel()
    direct.timer = None


def _give_reason(direct: Direct, obstacle: Obstacle | None) -> None:
    """Output: let people know what stood in the way."""
    for channel in direct.both:
        channel.Details.media_reason = (obstacle or Obstacle.CHANGED).value
        channel._note_codec()


def _refused(direct: Direct, _value: object) -> None:
    """Output: let people know that one of the two didn't want it."""
    _give_reason(direct, Obstacle.REFUSED)


def _return_both(direct: Direct, _value: object) -> None:
    """Output: bring both back; who hasn't been asked for anything isn't asked now."""
    for channel in direct.both:
        if channel.leg is not None:
            bring_back(channel.leg)


_S, _I = DirectState, DirectInput
_PARTED = (_S.OVER, (_stop_timer, _count))


class Direct(Machine[DirectState, DirectInput]):
    """The media of one transfer, from the join to its end."""

    __slots__ = ("caller", "looks", "since", "target", "timer")

    table: ClassVar[Table[DirectState, DirectInput]] = {
        _S.WAITING: {
            _I.FIT: (_S.TARGET_ASKED, (_stop_timer, _ask_target)),
            _I.UNFIT: (_S.ANCHORED, (_stop_timer, _give_reason)),
            _I.PARTED: _PARTED,
            **ignored(_S.WAITING, _I.TARGET_AWAY, _I.TARGET_HERE, _I.CALLER_AWAY, _I.CALLER_HERE, _I.TIME_UP),
        },
        _S.TARGET_ASKED: {
            _I.TARGET_AWAY: (_S.CALLER_ASKED, (_ask_caller,)),
            _I.TARGET_HERE: (_S.ANCHORED, (_refused,)),
            _I.UNFIT: (_S.ANCHORED, (_give_reason, _return_both)),
            _I.PARTED: _PARTED,
            # Somebody else has taken the caller's place.
            _I.CALLER_HERE: (_S.ANCHORED, (_give_reason, _return_both)),
            **ignored(_S.TARGET_ASKED, _I.FIT, _I.CALLER_AWAY, _I.TIME_UP),
        },
        _S.CALLER_ASKED: {
            _I.CALLER_AWAY: (_S.DIRECT, (_stop_timer, _rest)),
            _I.CALLER_HERE: (_S.ANCHORED, (_stop_timer, _refused, _return_both)),
            _I.TARGET_HERE: (_S.ANCHORED, (_stop_timer, _give_reason, _return_both)),
            _I.TIME_UP: (_S.ANCHORED, (_stop_timer, _refused, _return_both)),
            _I.UNFIT: (_S.ANCHORED, (_stop_timer, _give_reason, _return_both)),
            _I.PARTED: _PARTED,
            **ignored(_S.CALLER_ASKED, _I.FIT, _I.TARGET_AWAY),
        },
        _S.DIRECT: {
            _I.TARGET_HERE: (_S.ANCHORED, (_count, _give_reason, _return_both)),
            _I.CALLER_HERE: (_S.ANCHORED, (_count, _give_reason, _return_both)),
            _I.UNFIT: (_S.ANCHORED, (_count, _give_reason, _return_both)),
            _I.PARTED: _PARTED,
            **ignored(_S.DIRECT, _I.FIT, _I.TARGET_AWAY, _I.CALLER_AWAY, _I.TIME_UP),
        },
        _S.ANCHORED: {
            _I.PARTED: _PARTED,
            **ignored(_S.ANCHORED, _I.FIT, _I.UNFIT, _I.TARGET_AWAY, _I.TARGET_HERE, _I.CALLER_AWAY, _I.CALLER_HERE),
            **ignored(_S.ANCHORED, _I.TIME_UP),
        },
        _S.OVER: ignored(_S.OVER, *_I),
    }

    def __init__(self, caller: ChannelCore, target: ChannelCore) -> None:
        super().__init__(DirectState.WAITING)
        self.caller = caller
        self.target = target
        self.since: float | None = None
        self.looks = 0
        self.timer: DelayedCall | None = caller.clock.callLater(SETTLE, self.look)

    @property
    def both(self) -> tuple[ChannelCore, ChannelCore]:
        """The two whose media these are."""
        return self.caller, self.target

    @property
    def obstacle(self) -> Obstacle | None:
        """What stands in the way now."""
        return obstacle_between(self.caller, self.target)

    def look(self) -> None:
        """See whether media can go directly; if not yet, look again later."""
        self.looks += 1
        obstacle = self.obstacle
        if obstacle is None:
            self.feed(DirectInput.FIT)
        elif obstacle not in _PASSING or self.looks >= LOOKS:
            self.feed(DirectInput.UNFIT, obstacle)
        else:
            self.timer = self.caller.clock.callLater(SETTLE, self.look)

    def still_fit(self) -> bool:
        """Tell whether nothing stands in the way; what does is told as an input."""
        obstacle = self.obstacle
        if obstacle is not None:
            self.feed(DirectInput.UNFIT, obstacle)
        return obstacle is None


#: What may be over at the next look, so that one look more is worth it.
_PASSING = frozenset({Obstacle.GONE, Obstacle.HELD, Obstacle.USED, Obstacle.SILENT})


# -- what stands in the way ------------------------------------------------------------------------------------------


def obstacle_between(caller: ChannelCore, target: ChannelCore) -> Obstacle | None:
    """Return what keeps the audio of two channels' far ends from going directly, None for nothing."""
    one, other = caller.leg, target.leg
    if one is None or other is None or caller.succession is not None or target.succession is not None:
        return Obstacle.GONE
    a, b = one.agreed, other.agreed
    if a is None or b is None or one.endpoint is None or other.endpoint is None:
        return Obstacle.GONE
    if any((a.own_crypto, a.remote_crypto, b.own_crypto, b.remote_crypto)):
        return Obstacle.SECURED
    if not all((a.send, a.receive, b.send, b.receive)):
        return Obstacle.HELD
    if not _same_stream(a, b):
        return Obstacle.CODECS
    if a.event_payload_type is None and (one.endpoint.signal is None or other.endpoint.signal is None):
        return Obstacle.KEYS
    if any(_in_use(channel, leg) for channel, leg in ((caller, one), (target, other))):
        return Obstacle.USED
    if any(_behind_nat(leg) for leg in (one, other)):
        return Obstacle.NAT
    if not (one.endpoint.rtp.met and other.endpoint.rtp.met):
        return Obstacle.SILENT
    return None if _same_network(one, other, a, b) else Obstacle.NETWORKS


def _same_stream(a: Agreed, b: Agreed) -> bool:
    """Tell whether what one of them sends is, bit for bit, what the other wants."""
    if (a.codec, a.payload_type, a.ptime) != (b.codec, b.payload_type, b.ptime):
        return False
    event = a.event_payload_type
    if event != b.event_payload_type:
        return False
    return event is None or all(one.receive_payload_types.get(event) == EVENT for one in (a, b))


def _in_use(channel: ChannelCore, leg: Leg) -> bool:
    """Tell whether somebody here plays to a leg, listens to it, waits for its keys, or keeps its packets."""
    recorder = channel.exchange.recorder
    assert leg.endpoint is not None
    return (
        leg.endpoint.in_use
        or bool(channel._jobs)
        or channel.awaiting_digits
        or (channel.recording is not None and recorder is not None and recorder.media)
    )


def _behind_nat(leg: Leg) -> bool:
    """Tell whether a leg's messages or its audio come from elsewhere than it says."""
    dialog = None if leg.session is None else leg.session.dialog
    assert leg.endpoint is not None
    rtp = leg.endpoint.rtp
    agreed = rtp.agreed
    elsewhere = agreed is not None and rtp.remote != agreed.remote_rtp
    return elsewhere or (dialog is not None and dialog.behind_nat)


def _same_network(one: Leg, other: Leg, a: Agreed, b: Agreed) -> bool:
    """Tell whether the two can be expected to reach each other: what reaches both here, and the kind of address."""
    if a.remote_rtp is None or b.remote_rtp is None or one.media_addresses != other.media_addresses:
        return False
    return _kind(a.remote_rtp[0]) == _kind(b.remote_rtp[0])


def _kind(host: str) -> tuple[int, str]:
    address = ip_address(host.partition("%")[0])
    if address.is_loopback:
        return address.version, "loopback"
    return address.version, "private" if any(address in one for one in PRIVATE) else "public"


# -- what a channel tells --------------------------------------------------------------------------------------------


def begin(transfer: Transfer) -> Direct | None:
    """Return what sees to it that two who have just been joined talk directly, None where that isn't wanted."""
    return Direct(transfer.caller, transfer.target) if transfer.caller.media == DIRECT else None


def _of(channel: ChannelCore) -> Direct | None:
    transfer = channel.transfer or channel.claimed_by
    return None if transfer is None else transfer.direct


def look(channel: ChannelCore) -> None:
    """Look again: something has changed on a channel that may need its audio here."""
    direct = _of(channel)
    if direct is not None and direct.state in (
        DirectState.TARGET_ASKED,
        DirectState.CALLER_ASKED,
        DirectState.DIRECT,
    ):
        direct.still_fit()


def direct_seconds(channel: ChannelCore) -> float:
    """Return for how many seconds the audio of a channel's call has gone directly, until now."""
    direct = _of(channel)
    since = None if direct is None else direct.since
    return channel.Details.direct_seconds + (0.0 if since is None else channel.clock.seconds() - since)


_TOLD: dict[Place, tuple[DirectInput, DirectInput]] = {
    Place.AWAY: (DirectInput.CALLER_AWAY, DirectInput.TARGET_AWAY),
    Place.HERE: (DirectInput.CALLER_HERE, DirectInput.TARGET_HERE),
}


def moved(channel: ChannelCore) -> None:
    """Take that the audio of a channel's far end goes elsewhere now, comes here again, or never will.

    A target that refuses to come back goes on sending to the caller, whoever that talks to by then; so its leg is
    ended. A caller is kept: its audio is an error, and it is asked again when the call is retrieved.
    """
    place = place_of(channel.leg)
    if place is Place.LOST:
        assert channel.leg is not None and channel.leg.whereabouts is not None
        whereabouts = channel.leg.whereabouts
        channel.audio_lost(whereabouts.keep, *(whereabouts.refusal or (0, "")))
        return
    if place is Place.HERE:
        _say(channel, ANCHORED)
    direct = _of(channel)
    if direct is not None and place in _TOLD:
        direct.feed(_TOLD[place][channel is direct.target])
    if place is Place.HERE and channel.state() is State.RECONNECTING:
        channel.audio_back()


def lost(channel: ChannelCore, name: str) -> Error:
    """Return the `Error` for whoever wants the audio of a far end that refuses to send it here again."""
    leg = channel.leg
    status, reason = (leg.whereabouts.refusal if leg is not None and leg.whereabouts is not None else None) or (0, "")
    said = f"{status} {reason}".strip() if status else reason
    return Error(
        f"{name} can't have the far end's audio: that went directly to another, and the far end has refused to send it "
        f"here again ({said}); hang_up() ends the call"
    )


def _say(channel: ChannelCore, media: str) -> None:
    if channel.Details.media != media:
        channel.Details.media = media
        channel._note_codec()
