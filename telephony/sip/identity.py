"""Who a caller is found to be: a trunk, or a phone that has signed in (RFC 3261 22, 26.1; RFC 3325 for trunks).

Owns: the words between whoever judges callers and the session that a call becomes. Must not know how they are told
apart, nor what they may do.
"""

from __future__ import annotations

from enum import Enum

import attrs

from telephony.sip.auth import Account
from telephony.sip.headers import NameAddr


class Kind(Enum):
    """What sort of caller it is."""

    TRUNK = "trunk"
    PHONE = "phone"


@attrs.frozen
class Identity:
    """A caller that is known.

    ``name`` is the trunk's or the phone's own. ``caller`` stands in place of the INVITE's From, because the trunk
    asserts it or we do; None leaves From as it is. ``account`` answers challenges to our requests within the call.
    ``near`` is for who is reached over the flow that its INVITE came by, wherever its Contact leads (RFC 5626 4.3).
    """

    kind: Kind
    name: str
    caller: NameAddr | None = None
    account: Account | None = None
    near: bool = False
