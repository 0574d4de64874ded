"""A phone's requests, sent again where the answer says how: with credentials, or with a longer interval.

Owns: what makes a request worth sending again, and its new branch and number (RFC 3261 8.1.3.5, 22.2). Must not know
what a request is about: whoever sends it may say how an answer amends it.
"""

from __future__ import annotations

from collections.abc import Callable

from telephony.sip.message import Request, Response
from telephony.testing.digest import Credentials
from telephony.testing.phone_dialog import PhoneDialog
from telephony.testing.wire import ClientTransaction, Way, Wire

Answered = Callable[[Response | None], None]
#: How often one request is sent again.
MOST_TRIES = 5


class Sending:
    """How a phone begins its requests. ``credentials`` is None for a phone that has none.

    ``eager`` signs each request by a realm's last challenge, whom it may concern, and counts its nonce on.
    """

    def __init__(self, wire: Wire, credentials: Credentials | None) -> None:
        self.wire = wire
        self.credentials = credentials
        self.eager = False

    def begin(
        self,
        request: Request,
        way: Way,
        answered: Answered,
        *,
        dialog: PhoneDialog | None = None,
        amend: Callable[[Request, Response], bool] = lambda request, response: False,
        wanted: Callable[[], bool] = lambda: True,
        began: Callable[[Request, ClientTransaction], None] = lambda request, client: None,
        tried: frozenset[str] = frozenset(),
        tries: int = MOST_TRIES,
    ) -> ClientTransaction:
        """Send a request, which has its Via, and again as its answers want; ``answered`` as of `Wire.begin`.

        ``amend`` may change the copy that is to be sent again, and says whether it did; ``wanted`` is asked before;
        ``began`` is told of each transaction but the first. ``tried`` and ``tries`` are this method's own.
        """
        realms = set(tried)

        def came(response: Response | None) -> None:
            again = None
            if response is not None and response.status >= 300 and tries > 1 and wanted():
                again = self._amended(request, response, amend, realms)
            if again is None:
                answered(response)
                return
            again.set("Via", self.wire.via(way.transport))
            number = request.cseq.number + 1
            if dialog is not None:
                number = dialog.sequence = dialog.sequence + 1
            again.set("CSeq", f"{number} {request.method}")
            client = self.begin(
                again,
                way,
                answered,
                dialog=dialog,
                amend=amend,
                wanted=wanted,
                began=began,
                tried=frozenset(realms),
                tries=tries - 1,
            )
            began(again, client)

        if self.eager and self.credentials is not None:
            self.credentials.sign(request)
        return self.wire.begin(request, way, came)

    def _amended(
        self, request: Request, response: Response, amend: Callable[[Request, Response], bool], tried: set[str]
    ) -> Request | None:
        again = request.copy()
        if response.status in (401, 407):
            signed = self.credentials is not None and self.credentials.answer(again, response, tried)
            return again if signed else None
        if not amend(again, response):
            return None
        if self.credentials is not None:
            self.credentials.sign(again, anew=True)
        return again
