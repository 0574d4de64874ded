"""Programmable phone system: call applications, blocking or asynchronous, over SIP and RTP.

Owns: the public names. They are looked up when first used (PEP 562), so that ``import telephony`` costs nothing and
leaves no reactor installed; `Telephony` starts one when it is made, the server is started by ``twistd``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from telephony.blocking import Telephony, UASCallChannel
    from telephony.call.channel import CallChannel
    from telephony.call.constants import CallFarEndType, Cause, LiveSpeakerDetectionSettings, State, TransferCause
    from telephony.call.details import SIPHeaderField
    from telephony.call.resources import TonePlayer
    from telephony.errors import Error, Hangup, TelephonyError
    from telephony.media.tones import PredefinedTones, ToneManager

__version__ = "0.1.0"

_HOME = {
    "CallChannel": "telephony.call.channel",
    "CallFarEndType": "telephony.call.constants",
    "Cause": "telephony.call.constants",
    "Error": "telephony.errors",
    "Hangup": "telephony.errors",
    "LiveSpeakerDetectionSettings": "telephony.call.constants",
    "PredefinedTones": "telephony.media.tones",
    "SIPHeaderField": "telephony.call.details",
    "State": "telephony.call.constants",
    "Telephony": "telephony.blocking",
    "TelephonyError": "telephony.errors",
    "ToneManager": "telephony.media.tones",
    "TonePlayer": "telephony.call.resources",
    "TransferCause": "telephony.call.constants",
    "UASCallChannel": "telephony.blocking",
}

__all__ = [
    "CallChannel",
    "CallFarEndType",
    "Cause",
    "Error",
    "Hangup",
    "LiveSpeakerDetectionSettings",
    "PredefinedTones",
    "SIPHeaderField",
    "State",
    "Telephony",
    "TelephonyError",
    "ToneManager",
    "TonePlayer",
    "TransferCause",
    "UASCallChannel",
]


def __getattr__(name: str) -> object:
    """Import what ``name`` stands for, once."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'telephony' has no attribute {name!r}; it has {', '.join(__all__)}")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
