"""A phone's registration: REGISTER, refreshed before it runs out (RFC 3261 10.2).

Owns: one binding at one registrar, when it is refreshed, and the keep-alives that hold the way to it open (RFC 5626
3.5.1, and its CRLFs over UDP as phones send them). Must not know calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from telephony.interfaces import DelayedCall
from telephony.sip.message import Request, Response
from telephony.sip.uri import SipUri, format_host, parse_uri
from telephony.testing.wire import Way

if TYPE_CHECKING:
    from telephony.testing.phone import Phone

#: A binding is refreshed when so much of its time is over.
REFRESH_AT = 0.9


class Registration:
    """A phone's binding at ``server``, a SIP URI without a user.

    ``status`` is that of the last answer, 0 for none; ``expires`` what was granted, in seconds, 0 when it is not
    registered; ``refreshed`` how often it was refreshed; ``aor`` the address that it is registered for.
    """

    def __init__(self, phone: Phone, server: str, expires: int, *, keep: bool, keep_alive: float) -> None:
        parsed = parse_uri(server)
        if not isinstance(parsed, SipUri):
            raise ValueError(f"a registrar is a SIP URI, not {server!r}")
        self._phone = phone
        self._server = parsed
        self._uri = server
        port = "" if parsed.port is None else f":{parsed.port}"
        self.aor = f"sip:{phone.name}@{format_host(parsed.host)}{port}"
        self._wanted = expires
        self._keep = keep
        self._keep_alive = keep_alive
        self._call_id = phone.token()
        self._tag = phone.token()
        self._number = 0
        self._way: Way | None = None
        self._refresh: DelayedCall | None = None
        self._ping: DelayedCall | None = None
        self.status = 0
        self.expires = 0
        self.refreshed = 0

    def send(self, expires: int | None = None) -> Deferred[int]:
        """Send a REGISTER, with ``expires`` of 0 to end the binding; fires with the final status, 0 for none."""
        done: Deferred[int] = Deferred()
        phone = self._phone
        seconds = self._wanted if expires is None else expires
        transport = (self._server.transport or phone.transport).upper()

        def found(way: Way | None) -> None:
            if way is None:
                self._answered(seconds, done, None)
                return
            self._way = way
            request = Request("REGISTER", self._uri)
            request.add("Via", phone.wire.via(transport))
            request.add("Max-Forwards", "70")
            request.add("From", f"<{self.aor}>;tag={self._tag}")
            request.add("To", f"<{self.aor}>")
            request.add("Call-ID", self._call_id)
            self._number += 1
            request.add("CSeq", f"{self._number} REGISTER")
            request.add("Contact", f"<{phone.contact(transport)}>;expires={seconds}")

            def came(response: Response | None) -> None:
                if response is None or response.status >= 200:
                    self._answered(seconds, done, response)

            phone.sending.begin(request, way, came, amend=self._amend, began=self._begun_again)

        phone.wire.ways(self._server, transport, found)
        return done

    def _begun_again(self, request: Request, client: object) -> None:
        self._number = request.cseq.number

    def _amend(self, request: Request, response: Response) -> bool:
        """Take a 423: the registrar wants to be asked for longer (10.2.8)."""
        least = (response.get("Min-Expires") or "").strip()
        if response.status != 423 or not least.isdigit():
            return False
        self._wanted = max(self._wanted, int(least))
        request.set("Contact", f"<{self._phone.contact(request.via.transport)}>;expires={self._wanted}")
        return True

    def _answered(self, wanted: int, done: Deferred[int], response: Response | None) -> None:
        self.stop()
        phone = self._phone
        self.status = 0 if response is None else response.status
        self.expires = 0
        if response is not None and self.status < 300 and wanted:
            self.expires = self._granted(response)
            if self.expires:
                if self._keep:
                    self._refresh = phone.host.clock.callLater(REFRESH_AT * self.expires, self._refresh_now)
                if self._keep_alive:
                    self._ping = phone.host.clock.callLater(self._keep_alive, self._keep_open)
        phone.changed()
        done.callback(self.status)

    def _granted(self, response: Response) -> int:
        """Return how long our Contact is bound (10.2.4), 0 and a complaint where it is not among them."""
        phone = self._phone
        own = [parse_uri(phone.contact(transport)) for transport in ("UDP", "TCP")]
        for contact in response.contacts:
            parsed = contact.parsed_uri
            if any(isinstance(one, SipUri) and one.equals(parsed) for one in own):
                text = contact.params.get("expires") or response.get("Expires") or ""
                if text.isdigit():
                    return int(text)
                phone.complain("REGISTER: a 2xx whose Contact has no expires (10.3 8)")
                return 0
        phone.complain("REGISTER: a 2xx without the Contact that was registered (10.3 8)")
        return 0

    def _refresh_now(self) -> None:
        self._refresh = None
        self.refreshed += 1
        self.send()

    def _keep_open(self) -> None:
        if self._way is not None:
            self._phone.wire.keep_open(self._way)
        self._ping = self._phone.host.clock.callLater(self._keep_alive, self._keep_open)

    def stop(self) -> None:
        """Refresh no more, and let the way close; say nothing to anybody."""
        for timer in (self._refresh, self._ping):
            if timer is not None and timer.active():
                timer.cancel()
        self._refresh = self._ping = None
