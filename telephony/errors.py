"""The exceptions of this project, in one place so that every layer can raise and catch them.

Owns: what an application catches (`TelephonyError`, `Error`, `Hangup`: ``api.md`` section 3) and what ends a peer's
garbage at the door (`RemoteProtocolError`). Must not know anything about calls, messages or media.
"""

from __future__ import annotations


class TelephonyError(Exception):
    """Base of what a verb of the application interface may raise."""


class Error(TelephonyError):
    """A verb was used wrongly: wrong state, busy resource, bad argument.

    The text says what was wrong, names the value, and says what would be right. Nothing has been sent.
    """


class Hangup(TelephonyError):  # noqa: N818 - the name is fixed by the interface
    """A verb was used on a channel that is IDLE: the call is gone."""


class RemoteProtocolError(ValueError):
    """What a peer sent can't be used.

    ``status`` is the SIP status that answers it best (400, 481, 488 …), for whoever has to answer. Parsers raise it
    for text of any origin; where the text came from an application, layer 4 turns it into an `Error`.
    """

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status
