"""A virtual phone: real SIP and RTP bytes from a peer that knows the RFCs and nothing of our own session classes.

Owns: what a person does with a phone, waiting for what happens, the log, and the list of faults found in the peer. Must
not know whether its host is simulated: it runs on real sockets as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed

from telephony.codecs.g711 import Pcm
from telephony.interfaces import Address, DelayedCall, Host
from telephony.sip.message import Message, Request, Response, respond
from telephony.sip.transport.tls import TlsIdentity
from telephony.sip.uri import SipUri, format_host, parse_uri
from telephony.testing.clock import NeverHappened
from telephony.testing.digest import Challenger, Credentials
from telephony.testing.phone_call import ALLOW, CallState, Headers, PhoneCall
from telephony.testing.phone_refer import Replaced, answer_replaces
from telephony.testing.phone_registration import Registration
from telephony.testing.phone_sending import Sending
from telephony.testing.phone_timer import TimerWish
from telephony.testing.quirks import Quirks
from telephony.testing.sounds import keys
from telephony.testing.wire import ServerTransaction, Wire

#: Messages a phone remembers.
MOST_MESSAGES = 2_000
#: How often a condition that no message announces is looked at, and one about audio, which costs more (seconds).
LOOK_EVERY = 0.02
LISTEN_EVERY = 0.1

#: What `Phone.until` knows by name.
WORDS: dict[str, Callable[[PhoneCall], bool]] = {
    "incoming": lambda call: not call.outgoing and call.state is not CallState.ENDED,
    "ringing": lambda call: call.rang,
    "answered": lambda call: call.answered,
    "ended": lambda call: call.state is CallState.ENDED,
    "held": lambda call: call.media.held,
    "resumed": lambda call: call.answered and not call.media.held,
}


@attrs.frozen(slots=True)
class Logged:
    """One message of a phone's log: when, which way, and with whom."""

    time: float
    sent: bool
    remote: Address
    message: Message

    def __str__(self) -> str:
        arrow = "->" if self.sent else "<-"
        return f"{self.time:10.3f} {arrow} {self.remote[0]}:{self.remote[1]} {self.message.start_line}"


@attrs.define(slots=True)
class _Wait:
    what: object
    happened: Callable[[], object]
    deferred: Deferred[Any]
    limit: DelayedCall
    every: float | None


class Phone:
    """A phone at ``address`` of ``host`` (port 0: any), on UDP and TCP; ``name`` is its user part.

    ``transport`` is what it dials over where the URI doesn't say; ``codecs`` and ``ptime`` (ms) what it offers and
    sends; ``media=False`` sends no RTP at all, for models of signalling. ``auto_answer`` answers each call after so
    many seconds, ``auto_ring`` sends 180 at once. ``t1`` is RFC 3261's T1. `quirks` make it misbehave.
    With ``tls`` it speaks TLS on the port above; ``srtp`` is the suite (RFC 4568) of the SRTP that it insists on.

    ``reliable`` says 100rel and rings reliably where the caller says it too; ``session_timer`` (None: it knows nothing
    of timers) is what it wants of RFC 4028: seconds, or a `TimerWish`. ``refer`` is what it answers to REFER: 202 and
    it follows it, or a refusal. ``password``, and ``username`` where that is not its name, answer challenges.

    The verbs below act on `call`, the latest one; each of `calls` has the same ones.
    """

    def __init__(
        self,
        host: Host,
        address: Address,
        name: str,
        *,
        transport: str = "udp",
        codecs: Sequence[str] = ("PCMA", "PCMU"),
        ptime: int = 20,
        media: bool = True,
        auto_ring: bool = False,
        auto_answer: float | None = None,
        t1: float = 0.5,
        reliable: bool = False,
        session_timer: int | TimerWish | None = None,
        refer: int = 202,
        username: str | None = None,
        password: str | None = None,
        quirks: Quirks | None = None,
        tls: TlsIdentity | None = None,
        srtp: str | None = None,
    ) -> None:
        self.host = host
        self.name = name
        self.transport = transport
        self.codecs = codecs
        self.ptime = ptime
        self.media = media
        self.auto_ring = auto_ring
        self.auto_answer = auto_answer
        self.reliable = reliable
        self.session_timer = TimerWish(session_timer) if isinstance(session_timer, int) else session_timer
        self.refer = refer
        self.registration: Registration | None = None
        self.quirks = quirks or Quirks()
        self.challenger: Challenger | None = None
        """Who challenges what comes, but for ACK and CANCEL; None for nobody. See `demand`."""
        self.calls: list[PhoneCall] = []
        self.complaints: list[str] = []
        """What the peer did that an RFC forbids, in words; a strict test wants it empty."""
        self.unacknowledged = 0
        """How many 2xx of ours were never acknowledged."""
        self.unpracked = 0
        """How many reliable responses of ours were never acknowledged."""
        self.log: deque[Logged] = deque(maxlen=MOST_MESSAGES)
        self.on_call: Callable[[PhoneCall], None] = lambda call: None
        """Called with each incoming call."""
        self.on_change: Callable[[], None] = lambda: None
        """Called after everything that happens to this phone."""
        self._waits: list[_Wait] = []
        self._look: DelayedCall | None = None
        self._looking = False
        self._says: tuple[Pcm | None, bool] = (None, True)
        self._timers: list[DelayedCall] = []
        self.srtp = srtp
        self.wire = Wire(host, address, self, t1, tls)
        self.sending = Sending(
            self.wire, None if password is None else Credentials(username or name, password, host.random)
        )

    # Who it is

    @property
    def address(self) -> Address:
        """Where it listens."""
        return self.wire.address

    @property
    def uri(self) -> str:
        """Its address as a SIP URI, to be dialled."""
        return self.contact(self.transport)

    def contact(self, transport: str) -> str:
        """Return its Contact for a transport."""
        host, port = self.address
        if transport.upper() == "TLS":
            return f"sips:{self.name}@{format_host(host)}:{port + 1}"
        parameter = ";transport=tcp" if transport.upper() == "TCP" else ""
        return f"sip:{self.name}@{format_host(host)}:{port}{parameter}"

    @property
    def supports(self) -> list[str]:
        """The option tags that it says in Supported."""
        return ["replaces"] + ["100rel"] * self.reliable + ["timer"] * (self.session_timer is not None)

    def token(self) -> str:
        """Return a new random token, for a tag or a Call-ID."""
        return f"{self.host.random.getrandbits(64):016x}"

    @property
    def call(self) -> PhoneCall:
        """The latest call. AssertionError when there was none yet."""
        if not self.calls:
            raise AssertionError(f"{self.name} has had no call yet")
        return self.calls[-1]

    # Verbs

    def dial(
        self,
        uri: str,
        *,
        headers: Headers = (),
        from_uri: str | None = None,
        replaces: PhoneCall | Replaced | str | None = None,
    ) -> PhoneCall:
        """Call a SIP URI; returns at once, with the INVITE on its way.

        ``replaces`` is a call, of this phone's or another's, in whose place this one is to be at its peer (RFC 3891).
        """
        target = parse_uri(uri)
        if not isinstance(target, SipUri):
            raise ValueError(f"a phone dials SIP URIs, not {uri!r}")
        transport = "TLS" if target.scheme == "sips" else (target.transport or self.transport).upper()
        invite = Request("INVITE", uri)
        invite.add("Via", self.wire.via(transport))
        invite.add("Max-Forwards", "70")
        host, port = self.address
        registered = None if self.registration is None else self.registration.aor
        own = from_uri or registered or f"sip:{self.name}@{format_host(host)}:{port}"
        invite.add("From", f'"{self.name}" <{own}>;tag={self.token()}')
        invite.add("To", f"<{uri}>")
        invite.add("Call-ID", f"{self.token()}@{format_host(host)}")
        invite.add("CSeq", f"{self.host.random.randint(1, 9999)} INVITE")
        invite.add("Contact", f"<{self.contact(transport)}>")
        invite.add("Allow", ALLOW)
        if self.supports:
            invite.add("Supported", ", ".join(self.supports))
        for name, value in headers:
            invite.add(name, value)
        if replaces is not None:
            invite.add("Replaces", str(replaces.replaces if isinstance(replaces, PhoneCall) else replaces))
            invite.add("Require", "replaces")
        call = PhoneCall(self, invite, outgoing=True)
        call.timer.ask(invite)
        if not self.quirks.offerless:
            call._attach(invite, call.media.offer())
        self._enter(call)
        self.wire.ways(target, transport, call.begin)
        return call

    def ring(self, status: int = 180, **details: Any) -> None:
        """Let the incoming call ring; see `PhoneCall.ring`."""
        self.call.ring(status, **details)

    def answer(self, **details: Any) -> None:
        """Answer the incoming call; see `PhoneCall.answer`."""
        self.call.answer(**details)

    def reject(self, status: int = 603, headers: Headers = (), *, retry_after: int | None = None) -> None:
        """Refuse the incoming call; see `PhoneCall.reject`."""
        self.call.reject(status, headers, retry_after=retry_after)

    def redirect(self, *uris: str, status: int = 302, headers: Headers = ()) -> None:
        """Send the incoming call elsewhere; see `PhoneCall.redirect`."""
        self.call.redirect(*uris, status=status, headers=headers)

    def cancel(self) -> None:
        """Give up the call we dialled."""
        self.call.cancel()

    def hang_up(self) -> Deferred[int]:
        """End the call; see `PhoneCall.hang_up`."""
        return self.call.hang_up()

    def hold(self, direction: str = "sendonly") -> Deferred[int]:
        """Hold the peer; see `PhoneCall.hold`."""
        return self.call.hold(direction)

    def resume(self) -> Deferred[int]:
        """End our hold."""
        return self.call.resume()

    def reinvite(self, direction: str | None = None, **details: Any) -> Deferred[int]:
        """Send a re-INVITE; see `PhoneCall.reinvite`."""
        return self.call.reinvite(direction, **details)

    def update(self, direction: str | None = None, **details: Any) -> Deferred[int]:
        """Send an UPDATE; see `PhoneCall.update`."""
        return self.call.update(direction, **details)

    def transfer(
        self, to: str | None = None, *, replaces: PhoneCall | None = None, headers: Headers = ()
    ) -> Deferred[int]:
        """Transfer the call: to a URI, or into the place of another one; see `PhoneCall.transfer`.

        With ``replaces`` it is the latest other call that is transferred.
        """
        others = [call for call in self.calls if call is not replaces and call.alive]
        return (others[-1] if others else self.call).transfer(to, replaces=replaces, headers=headers)

    def register(
        self,
        server: str,
        password: str | None = None,
        *,
        username: str | None = None,
        expires: int = 3600,
        keep: bool = True,
        keep_alive: float = 0.0,
        aor: str | None = None,
    ) -> Deferred[int]:
        """Register at a SIP URI, and keep it up; fires with the final status of the first REGISTER, 0 for none.

        From then on its calls come From the address that is registered. ``password`` (and ``username``) answer
        challenges, in calls too. ``keep=False`` lets the binding run out; ``keep_alive`` sends CRLFs to the registrar
        so often, in seconds. ``aor`` is the address to register for, usually its name at the registrar.
        """
        if password is not None:
            self.sending.credentials = Credentials(username or self.name, password, self.host.random)
        if self.registration is not None:
            self.registration.stop()
        self.registration = Registration(self, server, expires, keep=keep, keep_alive=keep_alive)
        self.registration.aor = aor or self.registration.aor
        return self.registration.send()

    def unregister(self) -> Deferred[int]:
        """End the registration; fires with the final status. AssertionError when there was none."""
        if self.registration is None:
            raise AssertionError(f"{self.name} has never registered")
        return self.registration.send(0)

    def demand(self, users: Mapping[str, str], **details: Any) -> Challenger:
        """Challenge whatever comes from now on but ACK and CANCEL; ``users`` are passwords by name.

        The ``details`` are `Challenger`'s: ``status`` (401 or 407), ``algorithms``, ``qop``, ``lifetime``, ``realm``.
        """
        self.challenger = Challenger(self.host.random, self.host.clock.seconds, users, **details)
        return self.challenger

    def says(self, sound: Pcm | None, *, loop: bool = True) -> Deferred[None]:
        """Say this in the present call and in those to come: 16-bit samples at 8 kHz, None for silence.

        Once (``loop=False``) it fires when spoken, or when the call ends; over and over it fires at once.
        """
        sound = getattr(sound, "pcm", sound)
        self._says = (sound, True) if loop else (None, True)
        if self.calls and self.call.state is not CallState.ENDED:
            return self.call.media.audio.mouth.says(sound, loop)
        if not loop:
            raise AssertionError(f"{self.name} has no call to say this in")
        return succeed(None)

    def press(self, digits: str, *, by: str = "rtp", milliseconds: int = 100, pause: int = 60) -> Deferred[None]:
        """Press keys; fires when all are sent.

        By ``"rtp"`` (RFC 4733), ``"info"`` (INFO with application/dtmf-relay), ``"dtmf"`` (INFO with the key alone,
        application/dtmf) or ``"tones"`` in the band.
        """
        call = self.call
        if by == "rtp":
            return call.media.audio.mouth.press(digits, milliseconds, pause)
        if by == "tones":
            return call.media.audio.mouth.says(keys(digits, on=milliseconds / 1000, off=pause / 1000), False)
        if by not in ("info", "dtmf"):
            raise ValueError(f"keys are pressed by rtp, info, dtmf or tones, not {by!r}")
        done: Deferred[None] = Deferred()

        def press_next(status: int, rest: str) -> None:
            if not rest:
                done.callback(None)
            else:
                body = rest[0] if by == "dtmf" else f"Signal={rest[0]}\r\nDuration={milliseconds}\r\n"
                kind = "application/dtmf" if by == "dtmf" else "application/dtmf-relay"
                call.send_info(body.encode(), kind).addCallback(press_next, rest[1:])

        press_next(200, digits)
        return done

    # What it noticed

    def until(
        self, what: str | Callable[[], object], within: float = 60.0, *, every: float = LOOK_EVERY
    ) -> Deferred[Any]:
        """Wait for one of `WORDS` to be true of the latest call, or for a function to return something true.

        Fires with that value; fails with `NeverHappened`, which shows the log, after ``within`` seconds. A function is
        asked after every message and ``every`` so many seconds.
        """
        if isinstance(what, str):
            test = WORDS[what]
            happened: Callable[[], object] = lambda: bool(self.calls) and test(self.call)  # noqa: E731
        else:
            happened = what
        value = happened()
        if value:
            return succeed(value)
        deferred: Deferred[Any] = Deferred(lambda _: self._given_up(wait))
        limit = self.host.clock.callLater(within, self._too_late, deferred, what, within)
        wait = _Wait(what, happened, deferred, limit, None if isinstance(what, str) else every)
        self._waits.append(wait)
        self._look_soon()
        return deferred

    def until_hears(self, *frequencies: float, within: float = 10.0, since: float | None = None) -> Deferred[Any]:
        """Wait until a tone of just these frequencies has been heard in the latest call; fires with the intervals.

        ``since`` is a moment of the clock, now by default.
        """
        start = self.host.clock.seconds() if since is None else since
        return self.until(
            lambda: bool(self.calls) and self.heard(*frequencies, since=start), within, every=LISTEN_EVERY
        )

    def heard(self, *frequencies: float, since: float | None = None, until: float | None = None) -> list[Any]:
        """Return when a tone of just these frequencies was heard in the latest call; see `Ear.heard`."""
        return self.call.media.audio.ear.heard(*frequencies, since=since, until=until)

    def sound(self, since: float | None = None, until: float | None = None) -> Pcm:
        """Return what was to be heard in the latest call; see `Ear.sound`."""
        return self.call.media.audio.ear.sound(since, until)

    @property
    def digits(self) -> str:
        """The keys the far end pressed in the latest call, by RFC 4733 or INFO, in the order they came."""
        call = self.call
        signals = ""
        for request in call.info:
            text = request.body.decode("utf-8", "replace")
            if request.content_type == "application/dtmf":
                signals += text.strip()
                continue
            told = [line.partition("=") for line in text.splitlines()]
            signals += "".join(value.strip() for name, _, value in told if name.strip().lower() == "signal")
        return call.media.audio.ear.digits + signals

    def sent(self, what: str | int) -> list[Message]:
        """Return what was sent: requests of a method, or responses of a status; repetitions count once."""
        return self._logged(what, True)

    def got(self, what: str | int) -> list[Message]:
        """Return what came: requests of a method, or responses of a status; repetitions count once."""
        return self._logged(what, False)

    def _logged(self, what: str | int, sent: bool) -> list[Message]:
        found: dict[tuple[str, ...], Message] = {}
        for entry in self.log:
            message = entry.message
            own = message.method if isinstance(message, Request) else getattr(message, "status", 0)
            if entry.sent is sent and own == what:
                key = (message.via.branch or "", message.get("CSeq") or "", message.get("To") or "")
                found.setdefault(key, message)
        return list(found.values())

    def faults(self) -> list[str]:
        """Return every complaint, and what was wrong with the media of its calls."""
        found = list(self.complaints)
        for call in self.calls:
            ear = call.media.audio.ear
            found += [f"{self.name}: {fault}" for fault in ear.faults()]
            if ear.unwanted:
                found.append(f"{self.name}: {ear.unwanted} RTP packets on hold or after the end")
        return found

    def complain(self, text: str) -> None:
        """Note a fault of the peer."""
        if len(self.complaints) < 100:
            self.complaints.append(f"{self.name} at {self.host.clock.seconds():.3f}: {text}")

    # For its wire and its calls

    def logged(self, message: Message, remote: Address, sent: bool) -> None:
        """Keep a message in the log."""
        self.log.append(Logged(self.host.clock.seconds(), sent, remote, message))

    def changed(self) -> None:
        """Look, in a turn of its own, whether what somebody waits for has happened."""
        self.on_change()
        if self._waits and not self._looking:
            self._looking = True
            self._timers = [timer for timer in self._timers if timer.active()]
            self._timers.append(self.host.clock.callLater(0, self._look_now))

    def _look_now(self) -> None:
        self._looking = False
        for wait in list(self._waits):
            if wait in self._waits:
                value = wait.happened()
                if value:
                    self._given_up(wait)
                    wait.deferred.callback(value)

    def _look_again(self) -> None:
        self._look = None
        self._look_now()
        self._look_soon()

    def _look_soon(self) -> None:
        periods = [wait.every for wait in self._waits if wait.every is not None]
        if self._look is None and periods:
            self._look = self.host.clock.callLater(min(periods), self._look_again)

    def _given_up(self, wait: _Wait) -> None:
        if wait in self._waits:
            self._waits.remove(wait)
        if wait.limit.active():
            wait.limit.cancel()

    def _too_late(self, deferred: Deferred[Any], what: object, within: float) -> None:
        self._waits = [wait for wait in self._waits if wait.deferred is not deferred]
        shown = what if isinstance(what, str) else "what was waited for"
        lines = "\n".join(str(entry) for entry in list(self.log)[-30:])
        state = repr(self.calls[-1]) if self.calls else "no call"
        text = f"{self.name} ({state}): {shown} did not happen within {within:g} s\n{lines}"
        deferred.errback(NeverHappened(text))

    def _enter(self, call: PhoneCall) -> None:
        self.calls.append(call)
        sound, loop = self._says
        if sound is not None:
            call.media.audio.mouth.says(sound, loop)
        self.changed()

    def request_came(self, transaction: ServerTransaction) -> None:
        """Answer a request: see `telephony.testing.wire.WireUser`."""
        request = transaction.request
        challenge = None if self.challenger is None else self.challenger.refusal(request, self.token())
        if challenge is not None:
            transaction.respond(challenge)
        elif request.method == "CANCEL":
            self._cancel_came(transaction)
        elif request.to.tag is not None:
            for call in reversed(self.calls):
                dialog = call.dialog_of(request) if call.call_id == request.call_id else None
                if dialog is not None:
                    call.request_came(transaction, dialog)
                    return
            self.complain(f"{request.method}: of no dialog of this phone's")
            transaction.reply(481)
        elif request.method == "INVITE":
            self._invite_came(transaction)
        elif request.method == "OPTIONS":
            response = respond(request, 200, to_tag=self.token())
            response.add("Allow", ALLOW)
            response.add("Accept", "application/sdp")
            transaction.respond(response)
        elif request.method in ("BYE", "UPDATE", "INFO", "PRACK", "NOTIFY"):
            self.complain(f"{request.method}: outside of a dialog")
            transaction.reply(481, to_tag=self.token())
        else:
            response = respond(request, 405, to_tag=self.token())
            response.add("Allow", ALLOW)
            transaction.respond(response)

    def _invite_came(self, transaction: ServerTransaction) -> None:
        request = transaction.request
        unknown = [tag for tag in request.require if tag not in ("100rel", "timer", "replaces")]
        if unknown:
            response = respond(request, 420, to_tag=self.token())
            response.add("Unsupported", ", ".join(unknown))
            transaction.respond(response)
            return
        if len(request.contacts) != 1:
            transaction.reply(400, "One Contact Is Needed", to_tag=self.token())
            return
        old = answer_replaces(self.calls, request, self.token())
        if isinstance(old, Response):
            transaction.respond(old)
            return
        call = PhoneCall(self, request, outgoing=False)
        short = call.timer.too_short(request)
        if short is not None:
            call.forget()
            transaction.respond(short)
            return
        self._enter(call)
        call.arrived(transaction)
        if old is not None:  # RFC 3891 3: it is answered at once, and the other one is over
            call.replaced = old
            call.answer()
            old.hang_up()
            self.on_call(call)
            return
        if self.auto_ring:
            call.ring()
        if self.auto_answer is not None:
            call._later(self.auto_answer, self._auto_answer, call)
        self.on_call(call)

    @staticmethod
    def _auto_answer(call: PhoneCall) -> None:
        if call.state in (CallState.INCOMING, CallState.RINGING):
            call.answer()

    def _cancel_came(self, transaction: ServerTransaction) -> None:
        request = transaction.request
        invite = self.wire.invite_of(request)
        if invite is None:
            self.complain("CANCEL: of no INVITE of this phone's (9.2)")
            transaction.reply(481, to_tag=self.token())
            return
        meant = invite.request
        for name in ("From", "To", "Call-ID"):
            if request.get(name) != meant.get(name):
                self.complain(f"CANCEL: {name} is not the INVITE's (9.1)")
        if request.uri != meant.uri or request.cseq.number != meant.cseq.number:
            self.complain("CANCEL: Request-URI or CSeq number is not the INVITE's (9.1)")
        if len(request.vias) not in (1, len(meant.vias)):
            self.complain("CANCEL: it has exactly one Via, and those of stateless proxies (9.1, 16.11)")
        if invite.status == 0:
            self.complain("CANCEL: before any provisional response (9.1)")
        for call in self.calls:
            if call._server is invite:
                transaction.reply(200, to_tag=call.local_tag)
                call.cancelled()
                return
        transaction.reply(200, to_tag=self.token())

    def ack_came(self, ack: Request) -> None:
        """Take the ACK of a 2xx: see `telephony.testing.wire.WireUser`."""
        for call in reversed(self.calls):
            if call.call_id == ack.call_id and call.dialog_of(ack) is not None:
                call.acknowledged(ack)
                return
        self.complain("ACK: of no dialog of this phone's")

    def stray_2xx_came(self, response: Response) -> None:
        """Take a 2xx again, or a fork's: see `telephony.testing.wire.WireUser`."""
        for call in reversed(self.calls):
            if call.call_id == response.call_id:
                call.stray_2xx(response)
                return
        self.complain(f"{response.status}: to no INVITE of this phone's")

    # The end

    def close(self) -> Deferred[None]:
        """Drop everything at once, saying nothing to anybody; fires when its ports are free."""
        for call in self.calls:
            call.forget()
        if self.registration is not None:
            self.registration.stop()
        for wait in list(self._waits):
            self._given_up(wait)
        for timer in [*self._timers, *([self._look] if self._look else [])]:
            if timer.active():
                timer.cancel()
        self._look = None
        return self.wire.close()

    def __repr__(self) -> str:
        return f"<phone {self.name} at {self.address[0]}:{self.address[1]}>"
