"""An exchange: everything that calls of one phone system share, and the door through which they come in.

Owns: the user agent, the port pool, the media clock, the prompts, the limits, and the set of channels in use. Must not
know applications, services or threads: `on_call` gets each inbound call, whoever hosts applications sets it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from telephony.call.arguments import DEFAULT_CODECS
from telephony.call.channel import CallChannel
from telephony.call.core import ChannelCore
from telephony.call.destination import Lines
from telephony.call.direct import CHOICES
from telephony.call.prompts import Prompts
from telephony.call.replacing import Replacing
from telephony.errors import Error, RemoteProtocolError
from telephony.interfaces import Address, Host
from telephony.media.clock import MediaClock
from telephony.media.tones import ToneManager
from telephony.rtp.ports import NoPorts, PortPool
from telephony.sdp.negotiation import Securing
from telephony.sip.defence import Limits
from telephony.sip.flow import Flow
from telephony.sip.identity import Identity
from telephony.sip.incoming import IncomingSession
from telephony.sip.message import Message, Request
from telephony.sip.session import Session
from telephony.sip.session_timer import SHORTEST
from telephony.sip.timers import Timers
from telephony.sip.transport.tls import TlsIdentity
from telephony.sip.uri import SipUri, format_host
from telephony.sip.user_agent import UserAgent
from telephony.trace.events import TraceEvent

if TYPE_CHECKING:
    from telephony.call.recorder import Recorder

#: What `Exchange.screen` answers in place of a call: a status and header fields, or None to let it in.
Screen = tuple[int, list[tuple[str, str]]]
#: Seconds after which a caller refused for want of capacity may try again (RFC 3261 20.33).
RETRY_AFTER = "5"


class Exchange:
    """A phone system on one host. ``host`` is a ReactorHost, or a simulated one under test.

    ``call_seconds`` limits the length of a connected call (None: no limit), ``max_calls`` the channels in use at once.
    ``media_timeout`` is for how many seconds a call may be without RTP and RTCP (R32; None: for ever).
    ``session_expires`` and ``min_se`` are the session timer that is asked for (0: none) and the shortest that is taken
    (RFC 4028).
    ``reliable_early_media``: early media goes to callers that can do it with a description they have to acknowledge
    (RFC 3262); to those that require it, everything does.
    ``media``: with ``"direct"`` the audio of a transferred call doesn't come by here, where that can be (RFC 3725).

    ``tls`` is what ``tls:`` listeners and ``sips:`` calls need. ``srtp`` says what becomes of SRTP (RFC 4568): with
    ``"secure"`` it is offered where the signalling is TLS, and taken wherever it is offered; ``"always"`` refuses plain
    RTP, ``"never"`` SRTP. ``most_connections`` limits the connections of each TCP or TLS listener,
    ``limits`` what strangers may send.
    """

    log = Logger()

    def __init__(
        self,
        host: Host,
        *,
        advertise: str | None = None,
        rtp_ports: tuple[int, int] = (20000, 49999),
        timers: Timers | None = None,
        media_directory: Path = Path("media"),
        max_calls: int = 1000,
        call_seconds: float | None = 14400,
        media_timeout: float | None = 30.0,
        session_expires: int = 1800,
        min_se: int = SHORTEST,
        default_from: str = "",
        reliable_early_media: bool = True,
        media: Literal["anchored", "direct"] = "anchored",
        tls: TlsIdentity | None = None,
        srtp: Literal["never", "secure", "always"] = "secure",
        most_connections: int | None = None,
        limits: Limits | None = None,
    ) -> None:
        if media not in CHOICES:
            raise Error(
                f"media={media!r} is no way for the audio of transferred calls; allowed are {' and '.join(CHOICES)}"
            )
        self.host = host
        self.srtp = srtp
        self.media = media
        self.codecs: tuple[str, ...] = DEFAULT_CODECS
        self.media_directory = media_directory
        self.max_calls = max_calls
        self.call_seconds = call_seconds
        self.media_timeout = media_timeout
        self.reliable_early_media = reliable_early_media
        self.tone_manager = ToneManager()
        self.timers = timers or Timers()
        self.media_clock = MediaClock(host.clock)
        self.ports = PortPool(host, *rtp_ports)
        self.prompts = Prompts(host)
        self.user_agent = UserAgent(
            host,
            timers=self.timers,
            advertise=advertise,
            tls=tls,
            most_connections=most_connections,
            session_expires=session_expires,
            min_se=min_se,
        )
        #: The host's clock, with all timers of calls on one; what is for the next turn asks the host's itself.
        self.clock = self.user_agent.clock
        if limits is not None:
            self.user_agent.limit(limits)
        self.user_agent.on_invite = self._arrived
        self.user_agent.screen = self._screened
        self.on_call: Callable[[CallChannel], None] | None = None
        """Called with a channel in CALL_INCOMING for each inbound call; without it they get 480."""
        self.screen: Callable[[Request, Flow], Screen | Identity | None] | None = None
        """Asked about each INVITE before a channel is made for it; may say who the caller is."""
        self.lines: Lines | None = None
        """Who has trunks and phones to call, where there are any."""
        self.channels: dict[ChannelCore, None] = {}
        """The channels that have a call now, in the order in which they got it (I9: no set is iterated)."""
        self.may_dial: Callable[[ChannelCore, SipUri], bool] | None = None
        """Asked about each contact that a 3xx sends a call of a channel's to (R6); without it any that `call` takes."""
        self.trusts: Callable[[Session, Message], bool] | None = None
        """Asked whether what a session's peer asserts of itself in a message is to be believed (RFC 3325): nobody is
        trusted without it."""
        self.replacing = Replacing(self)
        """Who may take over a call by Replaces (R31)."""
        self.draining = False
        """Whether new calls from outside are refused; those from applications still go out."""
        self.closing = False
        self.recorder: Recorder | None = None
        """Who keeps what goes into each call; a `telephony.call.recorder.Recorder` sets itself."""
        self._trace: Callable[[TraceEvent], None] | None = None
        self._rtp_ports = rtp_ports
        self._advertise = advertise
        self._default_from = default_from
        self._listeners: list[tuple[str, Address]] = []
        self._channel_number = 0
        self._later: deque[Callable[[], None]] = deque()
        self._closed: Deferred[None] | None = None

    # -- listening -----------------------------------------------------------------------------------------------

    def listen(self, where: str) -> Address:
        """Listen at an address like ``udp:127.0.0.1:5060`` or ``tcp:[::1]:0`` and return it with its real port.

        Raises `Error` for a text that is no such address, OSError when it can't be had.
        """
        transport, address = parse_listener(where)
        got = self.user_agent.listen(transport, address)
        self._listeners.append((transport, got))
        return got

    @property
    def listeners(self) -> tuple[tuple[str, Address], ...]:
        """The transports and addresses that it listens at."""
        return tuple(self._listeners)

    def is_ours(self, address: str) -> bool:
        """Tell whether an IP address is one that this exchange is reached at."""
        if address == self._advertise or any(host == address for _transport, (host, _port) in self._listeners):
            return True
        same = [host for _transport, (host, _port) in self._listeners if (":" in host) == (":" in address)]
        if not any(ip_address(host).is_unspecified for host in same):
            return False
        try:
            # A packet to an address of one's own leaves from that address.
            return self.host.source_address((address, 9)) == address
        except OSError:
            return False

    @property
    def default_from(self) -> str:
        """The caller's address of calls that name none: as configured, else this server's own."""
        if self._default_from:
            return self._default_from
        host, port = self._listeners[0][1] if self._listeners else ("127.0.0.1", 5060)
        if ip_address(host).is_unspecified:
            host = "::1" if ":" in host else "127.0.0.1"
        return f"sip:telephony@{self._advertise or format_host(host)}:{port}"

    @property
    def trace(self) -> Callable[[TraceEvent], None] | None:
        """Called with every SIP message in and out, when set."""
        return self._trace

    @trace.setter
    def trace(self, trace: Callable[[TraceEvent], None] | None) -> None:
        self._trace = trace
        self._watch_messages()

    def _watch_messages(self) -> None:
        recorder, trace = self.recorder, self._trace
        if recorder is None or trace is None:
            self.user_agent.trace = trace if recorder is None else recorder.traced
            return
        both = (recorder.traced, trace)

        def traced(event: TraceEvent) -> None:
            for one in both:
                one(event)

        self.user_agent.trace = traced

    def record_by(self, recorder: Recorder) -> None:
        """Tell ``recorder`` of every message and every call from now on."""
        self.recorder = recorder
        self._watch_messages()

    def settings(self) -> dict[str, Any]:
        """Return what this exchange is made from, for a recording's head."""
        return {
            "listen": [f"{transport}:{format_host(host)}:{port}" for transport, (host, port) in self._listeners],
            "advertise": self._advertise,
            "rtp": list(self._rtp_ports),
            "media": str(self.media_directory.absolute()),
            "max_calls": self.max_calls,
            "call_seconds": self.call_seconds,
            "media_timeout": self.media_timeout,
            "session_expires": self.user_agent.session_expires,
            "min_se": self.user_agent.min_se,
            "reliable_early_media": self.reliable_early_media,
            "srtp": self.srtp,
            "media_mode": self.media,
            "codecs": list(self.codecs),
            "default_from": self._default_from,
        }

    # -- calls ---------------------------------------------------------------------------------------------------

    def channel(self, default_from: str | None = None) -> CallChannel:
        """Make an IDLE channel for outbound calls; ``default_from`` is what its ``call_from=''`` stands for."""
        return CallChannel(self, default_from)

    def _screened(self, request: Request, flow: Flow) -> Screen | Identity | None:
        if request.has("Replaces") and not self.closing:
            return self.replacing.screen(request, flow)  # no new call, but another leg of one
        if self.closing or self.draining or len(self.channels) >= self.max_calls:
            return 503, [("Retry-After", RETRY_AFTER)]
        if self.on_call is None:
            return 480, []
        return None if self.screen is None else self.screen(request, flow)

    def _arrived(self, session: IncomingSession) -> None:
        if session.request.has("Replaces"):
            self.replacing.arrived(session)
            return
        channel = CallChannel(self)
        try:
            channel.arrive(session)
        except RemoteProtocolError as error:
            session.reject(error.status, headers=[("Warning", f'304 telephony "{_quotable(str(error))}"')])
            return
        except NoPorts:
            session.reject(503, headers=[("Retry-After", RETRY_AFTER)])
            return
        if self.on_call is not None:
            self.soon(partial(self._hand_over, channel))

    def _hand_over(self, channel: CallChannel) -> None:
        # A caller that has gone by now is handed over all the same: the record of its call is to be written.
        if self.on_call is None:
            return
        try:
            self.on_call(channel)
        except Exception:
            # Nobody has the call, so nobody would ever answer or refuse it.
            self.log.failure("An incoming call could not be handed over")
            if channel.unanswered:
                channel.reject(raw_cause="500")

    # -- for channels and legs -----------------------------------------------------------------------------------

    def next_channel_id(self) -> str:
        """Return a name for a new channel, unique in this exchange."""
        self._channel_number += 1
        return f"c{self._channel_number}"

    def entered(self, channel: ChannelCore) -> None:
        """Note that a channel has a call from now on."""
        self.channels[channel] = None
        if self.recorder is not None:
            self.recorder.entered(channel)

    def left(self, channel: ChannelCore) -> None:
        """Note that a channel's call is over."""
        if channel in self.channels:
            del self.channels[channel]
            if self.recorder is not None:
                self.recorder.left(channel)

    def soon(self, call: Callable[[], None]) -> None:
        """Call after the present message, timer or verb has been dealt with, in the order of asking.

        Application code runs from here only, never in the middle of signalling.
        """
        if not self._later:
            self.host.clock.callLater(0, self._run_later)
        self._later.append(call)

    def _run_later(self) -> None:
        # What is asked for meanwhile gets a turn of its own, so that applications that answer each other can't
        # keep the sockets waiting.
        for _ in range(len(self._later)):
            call = self._later[0]
            try:
                call()
            except Exception:
                self.log.failure("an observer of a call raised")
            finally:
                self._later.popleft()
        if self._later:
            self.host.clock.callLater(0, self._run_later)

    def media_address(self, towards: Address) -> str:
        """Return the IP address of ours that media to or from a peer uses."""
        for _transport, (host, _port) in self._listeners:
            if not ip_address(host).is_unspecified and (":" in host) == (":" in towards[0]):
                return host
        return self.host.source_address(towards)

    def advertised(self, address: str, remote: str) -> str:
        """Return what is written into SDP for an address of ours: the one outside a NAT, but not to local networks."""
        return self.user_agent.listeners.advertised(address, remote)

    def securing(self, secure: bool) -> Securing:
        """Return what becomes of SRTP on a leg; ``secure`` tells whether its signalling is TLS, and hides the keys."""
        if self.srtp == "never":
            return Securing.REFUSED
        if self.srtp == "always":
            return Securing.DEMANDED
        return Securing.OFFERED if secure else Securing.TAKEN

    # -- the end -------------------------------------------------------------------------------------------------

    def close(self) -> Deferred[None]:
        """Hang up every call, then free every socket; fires when that is done, at the latest after 64*T1 and T2.

        For T2 it waits for answers to what was sent last: on UDP a BYE may have to be sent again. Calling it again
        gives the same outcome.
        """
        if self._closed is not None:
            waiting: Deferred[None] = Deferred()
            self._closed.addCallback(lambda _none: waiting.callback(None))
            return waiting
        self.closing = self.draining = True
        self._closed = Deferred()
        goodbyes = [channel.until_idle() for channel in self.channels]
        for channel in tuple(self.channels):
            channel.release()
        done = DeferredList(goodbyes)
        # Whoever waits for the end must not wait for ever because something on the way to it went wrong.
        done.addCallback(lambda _states: self.user_agent.settle(self.timers.t2)).addErrback(self._fault_at_close)
        done.addCallback(lambda _none: self.user_agent.close()).addErrback(self._fault_at_close)
        done.addCallback(self._closed_now)
        outcome: Deferred[None] = Deferred()
        self._closed.addCallback(lambda _none: outcome.callback(None))
        return outcome

    def _fault_at_close(self, failure: Failure) -> None:
        self.log.failure("The exchange is not closed in order", failure)

    def _closed_now(self, _result: object) -> None:
        self.ports.close()
        assert self._closed is not None
        self._closed.callback(None)


def parse_listener(where: str) -> tuple[str, Address]:
    """Take ``udp:127.0.0.1:5060`` apart; raises an `Error` that names the value and the form it should have."""
    allowed = "write it like 'udp:127.0.0.1:5060', 'tls:0.0.0.0:5061' or 'udp:[::1]:5060'"
    if not isinstance(where, str):
        raise Error(f"listen={where!r} is no address to listen at; {allowed}")
    transport, _, rest = where.partition(":")
    host, colon, port = rest.rpartition(":")
    transport = transport.lower()
    if transport in ("ws", "wss"):
        raise Error(f"listen={where!r}: {transport} listeners are not built yet; what exists is udp, tcp and tls")
    if transport not in ("udp", "tcp", "tls") or not colon:
        raise Error(f"listen={where!r} is no address to listen at; {allowed}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise Error(f"listen={where!r}: an IPv6 address goes into brackets; {allowed}")
    try:
        ip_address(host)
    except ValueError as error:
        raise Error(f"listen={where!r}: {host!r} is no IP address; {allowed}") from error
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise Error(f"listen={where!r}: {port!r} is no port; give 0 (any free one) to 65535")
    return transport, (host, int(port))


def _quotable(text: str) -> str:
    return "".join(c for c in text if c.isprintable() and c.isascii() and c not in '"\\')[:120]
