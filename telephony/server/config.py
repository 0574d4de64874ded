"""``telephony.toml``: what may be said in it, and every mistake in it at once (``api.md`` section 7).

Owns: the keys, their defaults and what is allowed for each, as attrs classes; the paths in the sentences that refuse.
Must not know sockets or calls; it does load the application files, since a broken one is a mistake of the same kind.

Relative paths are looked for beside the configuration file first, then in the current directory; without a file, in
the current directory.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, override

from telephony.call.dialling import read_pattern
from telephony.call.exchange import parse_listener
from telephony.errors import Error
from telephony.reception import check_match
from telephony.server.applications import Application, Direction
from telephony.server.checks import (
    Busy,
    Check,
    ConfigurationError,
    Files,
    Problem,
    Refused,
    a_name,
    a_text,
    by,
    in_seconds,
    one_of,
    repeated,
    truth,
    whole,
    zero_or,
)
from telephony.server.lines_config import (
    PhoneSection,
    TrunkSection,
    digests,
    domains,
    phone_problems,
    trunk_problems,
)
from telephony.sip.admission import PATIENCE
from telephony.sip.auth import OFFERED
from telephony.sip.defence import Limits
from telephony.sip.transport.tls import (
    ClientCertificate,
    TlsError,
    TlsIdentity,
    read_certificates,
    read_key,
    validity,
)

C = TypeVar("C")

#: What mistakes are called that come from the command line, by their place in a file.
_OPTION_OF = {
    "sip.listen": "--listen",
    "media.directory": "--media",
    "records.file": "--records",
    "service[0].application": "--app",
    "service[0].name": "--app",
}

#: Sections that other parts of the interface speak of and that nothing here can serve yet.
LATER = {
    "console": "the web console is",
    "metrics": "metrics are",
    "proxy": "proxies of a section of their own (a [[trunk]] has outbound_proxy) are",
    "recording": "recordings in a database are",
    "web": "the web service is",
    "webrtc": "signed-in browsers are",
}


@attrs.frozen
class _Place:
    """Where a listener is. TLS is TCP here."""

    datagrams: bool
    host: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int

    def meets(self, other: _Place) -> bool:
        """Tell whether the system gives only one of them out: at an address, or at all of its family."""
        if (self.datagrams, self.port, self.host.version) != (other.datagrams, other.port, other.host.version):
            return False
        return self.port != 0 and (self.host == other.host or self.host.is_unspecified or other.host.is_unspecified)


def _listen(value: Any, files: Files) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple) or not value:
        raise Refused(f'{value!r} is no list of listeners; write it like ["udp:127.0.0.1:5060"]')
    refused = []
    places: list[tuple[str, _Place]] = []
    for index, one in enumerate(value):
        try:
            transport, (host, port) = parse_listener(one)
        except Error as error:
            refused.append(Refused(str(error), index))
            continue
        if value.index(one) < index:
            refused.append(Refused(f"{one!r} is listed twice", index))
            continue
        place = _Place(transport == "udp", ipaddress.ip_address(host), port)
        other = next((written for written, taken in places if taken.meets(place)), None)
        busy = f"{other!r} has that port already" if other is not None else files.busy(one)
        if busy:
            refused.append(Refused(f"can't listen on {one}: {busy}", index))
        places.append((one, place))
    if refused:
        raise ExceptionGroup("listen", refused)
    return tuple(value)


def _advertise(value: Any, _files: Files) -> str | None:
    try:
        address = ipaddress.ip_address(value if isinstance(value, str) else "")
    except ValueError:
        address = None
    if address is None or address.is_unspecified:
        raise Refused(f'{value!r} is not allowed; allowed: an IP address that peers can reach, like "203.0.113.7"')
    return str(address)


def _ports(value: Any, _files: Files) -> tuple[int, int]:
    allowed = 'allowed: "LOW-HIGH" with both from 1024 to 65535 and at least two ports, like "20000-49999"'
    match = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", value) if isinstance(value, str) else None
    if match is None:
        raise Refused(f"{value!r} is not allowed; {allowed}")
    low, high = int(match[1]), int(match[2])
    # A pair begins with an even port (RFC 3550 11).
    if low < 1024 or high > 65535 or low + low % 2 + 1 > high:
        raise Refused(f"{value!r} is not allowed; {allowed}")
    return low, high


def _directory(value: Any, files: Files) -> Path:
    path = files.find(a_name(value, files))
    # What is above it counts, too: the directory is made where it is missing.
    there = next((one for one in (path, *path.parents) if one.exists()), path)
    if there.exists() and not there.is_dir():
        raise Refused(f"{there} is a file; give a directory")
    return path


def _trace_directory(value: Any, files: Files) -> Path | None:
    return None if value is None else _directory(value, files)


def _control(value: Any, files: Files) -> str | None:
    if value is None or value == "off":
        return None if value is None else "off"
    path = files.find(a_name(value, files))
    if path.exists() and not path.is_socket():
        raise Refused(f'{path} is no socket; give a name that isn\'t taken, like "telephony.sock", or "off"')
    if not path.parent.is_dir():
        raise Refused(f"{path.parent} is no directory, so {path.name} can't be made in it")
    return str(path)


def _record_file(value: Any, files: Files) -> Path:
    path = files.find(a_name(value, files))
    if path.is_dir():
        raise Refused(f'{path} is a directory; give a file, like "records.jsonl"')
    if not path.parent.is_dir():
        raise Refused(f"{path.parent} is no directory, so nothing can be written to {path.name} in it")
    return path


def _pem(read: Callable[[bytes], object]) -> Check:
    """Return the check of a key that names a file in PEM form; its value is what the file holds."""

    def check(value: Any, files: Files) -> bytes:
        path = files.find(a_name(value, files))
        try:
            data = path.read_bytes()
            read(data)
        except OSError as error:
            raise Refused(f"{path} can't be read: {error.strerror or error}") from error
        except TlsError as error:
            raise Refused(f"{path} {error}") from error
        return data

    return check


def _client_certificate(value: Any, files: Files) -> ClientCertificate:
    return ClientCertificate(one_of(*(one.value for one in ClientCertificate))(value, files))


def _application(value: Any, files: Files) -> Application:
    return files.application(a_name(value, files))


def _match(value: Any, files: Files) -> str:
    try:
        return check_match(a_text(value, files))
    except Error as error:
        raise Refused(str(error)) from error


def _patterns(value: Any, _files: Files) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise Refused(f'{value!r} is no list of patterns; write it like ["+49*", "sip:*@example.org"]')
    refused = []
    for index, one in enumerate(value):
        try:
            read_pattern(a_text(one, _files))
        except (Error, Refused) as error:
            refused.append(Refused(str(error), index))
    if refused:
        raise ExceptionGroup("patterns", refused)
    return tuple(value)


_media_seconds = zero_or(in_seconds(5, 86_400), "calls without audio go on")


# -- the keys ------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class SipSection:
    """``[sip]``."""

    listen: tuple[str, ...] = attrs.field(default=("udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"), metadata=by(_listen))
    advertise: str | None = attrs.field(default=None, metadata=by(_advertise))
    domains: tuple[str, ...] = attrs.field(default=(), metadata=by(domains))
    digest: tuple[str, ...] = attrs.field(default=OFFERED, metadata=by(digests))
    session_expires: int = attrs.field(default=1800, metadata=by(zero_or(whole(90, 86_400), "none is asked for")))
    min_se: int = attrs.field(default=90, metadata=by(whole(90, 86_400)))
    reliable_early_media: bool = attrs.field(default=True, metadata=by(truth))

    @cached_property
    def loopback_only(self) -> bool:
        """Whether no listener can be reached from another machine."""
        return all(ipaddress.ip_address(parse_listener(one)[1][0]).is_loopback for one in self.listen)


@attrs.frozen(kw_only=True)
class RtpSection:
    """``[rtp]``: the UDP ports for audio, lowest and highest, and what becomes of SRTP."""

    ports: tuple[int, int] = attrs.field(default=(20000, 49999), metadata=by(_ports))
    srtp: Literal["never", "secure", "always"] = attrs.field(
        default="secure", metadata=by(one_of("never", "secure", "always"))
    )


@attrs.frozen(kw_only=True)
class TlsSection:
    """``[tls]``: our certificate (PEM, with those that lead to its authority) and its key, and whom we believe."""

    certificate: bytes | None = attrs.field(default=None, metadata=by(_pem(read_certificates)))
    key: bytes | None = attrs.field(default=None, repr=False, metadata=by(_pem(read_key)))
    authorities: bytes | None = attrs.field(default=None, metadata=by(_pem(read_certificates)))
    client_certificate: ClientCertificate = attrs.field(
        default=ClientCertificate.NONE, metadata=by(_client_certificate)
    )
    verify: bool = attrs.field(default=True, metadata=by(truth))

    def identity(self) -> TlsIdentity:
        """Return what listeners and connections need. Raises `TlsError`, whose ``part`` is one of the keys."""
        return TlsIdentity(
            certificate=self.certificate,
            key=self.key,
            authorities=self.authorities,
            client_certificate=self.client_certificate,
            verify=self.verify,
        )


@attrs.frozen(kw_only=True)
class LimitsSection:
    """``[limits]``."""

    max_calls: int = attrs.field(default=1000, metadata=by(whole(1, 100_000)))
    call_seconds: float = attrs.field(default=14400.0, metadata=by(in_seconds(1, 31_536_000)))
    drain_seconds: float = attrs.field(default=30.0, metadata=by(in_seconds(0, 86_400)))
    media_seconds: float = attrs.field(default=30.0, metadata=by(_media_seconds))
    source_requests_per_second: int = attrs.field(default=20, metadata=by(whole(1, 1_000_000)))
    requests_per_second: int = attrs.field(default=500, metadata=by(whole(1, 1_000_000)))
    ban_after: int = attrs.field(default=10, metadata=by(whole(0, 1_000_000)))
    ban_seconds: float = attrs.field(default=600.0, metadata=by(in_seconds(1, 31_536_000)))
    new_call_seconds: float = attrs.field(default=PATIENCE, metadata=by(in_seconds(0, 10)))
    collector: Literal["governed", "python"] = attrs.field(
        default="governed", metadata=by(one_of("governed", "python"))
    )

    def of_strangers(self) -> Limits:
        """Return what the user agent keeps strangers to."""
        return Limits(
            source_requests_per_second=self.source_requests_per_second,
            requests_per_second=self.requests_per_second,
            ban_after=self.ban_after,
            ban_seconds=self.ban_seconds,
            new_call_seconds=self.new_call_seconds,
        )


@attrs.frozen(kw_only=True)
class MediaSection:
    """``[media]``: where the files that applications name are."""

    directory: Path = attrs.field(default=Path("media"), metadata=by(_directory))


@attrs.frozen(kw_only=True)
class RecordsSection:
    """``[records]``: the file that gets one JSON line for each run of an application."""

    file: Path = attrs.field(default=Path("records.jsonl"), metadata=by(_record_file))


@attrs.frozen(kw_only=True)
class TraceSection:
    """``[trace]``: what is kept of each call, to be looked at and played again.

    ``replay`` is ``"signalling"``, ``"media"`` (with the packets of RTP that come) or ``"off"``; ``calls`` is how many
    calls that are over are remembered. Calls that went wrong are written to ``directory``, where that is given, the
    newest ``keep`` of them. ``control`` is the socket that ``telephony trace`` asks, ``"off"`` for none.
    """

    replay: str = attrs.field(default="signalling", metadata=by(one_of("signalling", "media", "off")))
    calls: int = attrs.field(default=100, metadata=by(whole(0, 10_000)))
    directory: Path | None = attrs.field(default=None, metadata=by(_trace_directory))
    keep: int = attrs.field(default=100, metadata=by(whole(1, 100_000)))
    control: str | None = attrs.field(default=None, metadata=by(_control))


@attrs.frozen(kw_only=True)
class Service:
    """``[[service]]``: an application and who gets to it."""

    name: str = attrs.field(metadata=by(a_name))
    application: Application = attrs.field(metadata=by(_application))
    direction: str = attrs.field(default="inbound", metadata=by(one_of("inbound", "outbound")))
    match: str | None = attrs.field(default=None, metadata=by(_match))
    parameters: str = attrs.field(default="", metadata=by(a_text))
    extra_channels: int = attrs.field(default=1, metadata=by(whole(0, 3)))
    max_calls: int | None = attrs.field(default=None, metadata=by(whole(1, 100_000)))
    media_seconds: float | None = attrs.field(default=None, metadata=by(_media_seconds))
    allow_dial: tuple[str, ...] | None = attrs.field(default=None, metadata=by(_patterns))
    deny_dial: tuple[str, ...] = attrs.field(default=(), metadata=by(_patterns))
    max_outbound: int | None = attrs.field(default=None, metadata=by(whole(0, 100_000)))
    refer: str = attrs.field(default="refuse", metadata=by(one_of("refuse", "follow")))
    media: Literal["anchored", "direct"] | None = attrs.field(default=None, metadata=by(one_of("anchored", "direct")))
    public: bool = attrs.field(default=False, metadata=by(truth))
    trunk: str | None = attrs.field(default=None, metadata=by(a_name))


@attrs.frozen(kw_only=True)
class Configuration:
    """Everything a server is told. ``public`` admits calls from anywhere to every service."""

    sip: SipSection = attrs.field(factory=SipSection)
    rtp: RtpSection = attrs.field(factory=RtpSection)
    tls: TlsSection = attrs.field(factory=TlsSection)
    limits: LimitsSection = attrs.field(factory=LimitsSection)
    media: MediaSection = attrs.field(factory=MediaSection)
    records: RecordsSection = attrs.field(factory=RecordsSection)
    trace: TraceSection = attrs.field(factory=TraceSection)
    services: tuple[Service, ...] = ()
    trunks: tuple[TrunkSection, ...] = ()
    phones: tuple[PhoneSection, ...] = ()
    public: bool = False

    @property
    def open(self) -> bool:
        """Whether anybody may call every service: as on a server for loopback only, that the world has no way to."""
        return self.public or (self.sip.loopback_only and self.sip.advertise is None and not self.trunks)

    def media_timeout(self, service: Service) -> float | None:
        """Return the seconds without RTP and RTCP after which a call of ``service`` is ended; None: never (R32)."""
        seconds = self.limits.media_seconds if service.media_seconds is None else service.media_seconds
        return seconds or None

    def admits(self, service: Service) -> bool:
        """Tell whether anybody may call ``service``; trunks and signed-in phones always may."""
        return self.open or service.public

    @property
    def warnings(self) -> list[str]:
        """What doesn't keep the server from starting, and yet is very likely a mistake; a sentence each."""
        found = []
        if self.tls.certificate is not None:
            for number, one in enumerate(read_certificates(self.tls.certificate)):
                wrong = validity(one)
                if wrong:
                    which = "the certificate" if number == 0 else f"certificate {number + 1} of the file"
                    found.append(f"tls.certificate: {which} {wrong}, so that peers will refuse it")
        if not self.tls.verify:
            found.append("tls.verify = false: whoever is on the way can pretend to be any peer that is called")
        return found

    @property
    def inbound(self) -> dict[str, Service]:
        """The inbound services by their pattern."""
        return {one.match: one for one in self.services if one.direction == "inbound" and one.match is not None}


_SECTIONS: dict[str, type[Any]] = {
    "sip": SipSection,
    "rtp": RtpSection,
    "tls": TlsSection,
    "limits": LimitsSection,
    "media": MediaSection,
    "records": RecordsSection,
    "trace": TraceSection,
}
_DEFAULT_PATHS = {"media": {"directory": "media"}, "records": {"file": "records.jsonl"}}


# -- reading -------------------------------------------------------------------------------------------------------


def load_configuration(path: Path, *, public: bool = False, busy: Busy | None = None) -> Configuration:
    """Read a configuration file. Raises `ConfigurationError` with all its mistakes.

    ``busy`` tells which listeners are taken: that, too, is a mistake of who is about to listen there.
    """
    source = str(path)
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise ConfigurationError(source, [Problem("", f"can't be read: {error.strerror or error}")]) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(source, [Problem("", f"is no UTF-8 text (byte {error.start})")]) from error
    try:
        told = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(source, [Problem("", f"is no TOML: {error}")]) from error
    return _structure(source, told, Files(path.absolute().parent, Path.cwd(), busy=busy), public)


def configuration_of(
    *,
    listen: Sequence[str] = (),
    application: str,
    parameters: str = "",
    media: str | None = None,
    records: str | None = None,
    public: bool = False,
    busy: Busy | None = None,
) -> Configuration:
    """Make the configuration of a server for one application, which takes every call, with three extra channels.

    Without ``media`` the directory is ``media`` in the current directory, or beside the application file if there is
    one only there. Raises `ConfigurationError`, which names the options.
    """
    beside = Path(application).expanduser().parent
    if media is None:
        media = str(next((one for one in (Path("media"), beside / "media") if one.is_dir()), "media"))
    told: dict[str, Any] = {
        "media": {"directory": media},
        "service": [
            {
                "name": Path(application).stem or application,
                "match": "*",
                "application": application,
                "parameters": parameters,
                "extra_channels": 3,
            }
        ],
    }
    if listen:
        told["sip"] = {"listen": list(listen)}
    if records is not None:
        told["records"] = {"file": records}
    try:
        return _structure("command line", told, Files(Path.cwd(), busy=busy), public)
    except ConfigurationError as error:
        problems = [Problem(_option_of(one.where), one.text) for one in error.problems]
        raise ConfigurationError("command line", problems) from None


def _option_of(where: str) -> str:
    return next((option for place, option in _OPTION_OF.items() if where.startswith(place)), where)


def _structure(source: str, told: dict[str, Any], files: Files, public: bool) -> Configuration:
    converter = _converter(files)
    problems: list[Problem] = []
    parts: dict[str, Any] = {}
    for name, kind in _SECTIONS.items():
        section = told.get(name, {})
        if isinstance(section, dict):
            # Default paths are looked for in the same places as given ones.
            section = _DEFAULT_PATHS.get(name, {}) | section
        parts[name] = _section(converter, kind, section, name, problems)
    services = _services(converter, told.get("service", []), problems)
    trunks = _listed(converter, TrunkSection, told.get("trunk", []), "trunk", problems)
    phones = _listed(converter, PhoneSection, told.get("phone", []), "phone", problems)
    problems += [*trunk_problems(trunks), *phone_problems(phones), *_unknown_trunks(services, trunks)]
    problems += repeated(told.get("service"), "service", "name", "match")
    problems += [*repeated(told.get("trunk"), "trunk", "name"), *repeated(told.get("phone"), "phone", "name")]
    known = [*_SECTIONS, "service", "trunk", "phone"]
    for name in told:
        if name in LATER:
            problems.append(Problem(name, f"{LATER[name]} not built yet; what exists: {', '.join(known)}"))
        elif name not in known:
            problems.append(Problem(name, _unknown(name, known)))
    # Of services that can't be used, whether one is public can't be told.
    if (services or not told.get("service")) and not told.get("trunk") and not told.get("phone"):
        problems += _admission(parts["sip"], services, public)
    problems += _tls(parts["sip"], parts["tls"])
    if problems:
        raise ConfigurationError(source, problems)
    return Configuration(
        services=tuple(services),
        trunks=tuple(one for one in trunks if one is not None),
        phones=tuple(one for one in phones if one is not None),
        public=public,
        **parts,
    )


def _section(converter: cattrs.Converter, kind: type[C], told: Any, where: str, problems: list[Problem]) -> C | None:
    if not isinstance(told, dict):
        # What stands there is not shown: it may be a password.
        problems.append(Problem(where, f"is no table; write its keys under [{where.partition('[')[0]}]"))
        return None
    try:
        return converter.structure(told, kind)
    except cattrs.ClassValidationError as error:
        problems += _problems(error, kind, where)
        return None


def _services(converter: cattrs.Converter, told: Any, problems: list[Problem]) -> list[Service]:
    if not isinstance(told, list):
        problems.append(Problem("service", "is no list; write each service under [[service]], in double brackets"))
        return []
    services: list[Service] = []
    for index, one in enumerate(told):
        where = f"service[{index}]"
        service = _section(converter, Service, one, where, problems)
        if service is None:
            continue
        direction = Direction(service.direction)
        if direction not in service.application.directions:
            (has,) = service.application.directions
            main = f"{service.application.path} has the main() of an {has.value} application"
            text = f"{main}, and this service is {direction.value}"
            problems.append(Problem(f"{where}.application", text))
        if direction is Direction.INBOUND and service.match is None:
            text = 'is missing; give the user part that is called, like "3300", or "*" for every call'
            problems.append(Problem(f"{where}.match", text))
        if direction is Direction.OUTBOUND and service.match is not None:
            problems.append(Problem(f"{where}.match", "an outbound service isn't called; leave match out"))
        services.append(service)
    return services


def _listed(
    converter: cattrs.Converter, kind: type[C], told: Any, where: str, problems: list[Problem]
) -> list[C | None]:
    """Read the tables of a list; None stands for one that can't be used."""
    if not isinstance(told, list):
        problems.append(Problem(where, f"is no list; write each {where} under [[{where}]], in double brackets"))
        return []
    return [_section(converter, kind, one, f"{where}[{index}]", problems) for index, one in enumerate(told)]


def _unknown_trunks(services: Sequence[Service], trunks: Sequence[TrunkSection | None]) -> list[Problem]:
    """Find the services that name a trunk which isn't there."""
    names = [one.name for one in trunks if one is not None]
    if len(names) < len(trunks):
        return []  # of trunks that can't be read, the names aren't known either
    known = f"there are {', '.join(map(repr, names))}" if names else "there is no [[trunk]]"
    return [
        Problem(f"service[{index}].trunk", f"{one.trunk!r} is no trunk; {known}")
        for index, one in enumerate(services)
        if one.trunk is not None and one.trunk not in names
    ]


def _admission(sip: SipSection | None, services: Iterable[Service], public: bool) -> list[Problem]:
    """Refuse a server that others can reach and that would admit nobody."""
    if sip is None or public or any(one.public for one in services):
        return []
    if sip.loopback_only and sip.advertise is None:
        return []
    why = "the server listens beyond loopback" if not sip.loopback_only else "the server advertises itself"
    text = (
        f"{why} and admits nobody; write a [[trunk]] or a [[phone]], set public = true for a service, "
        "or give --public for all of them"
    )
    return [Problem("sip.listen" if not sip.loopback_only else "sip.advertise", text)]


def _tls(sip: SipSection | None, tls: TlsSection | None) -> list[Problem]:
    """Check what the keys of ``[tls]`` are together, and that a tls listener has what it needs."""
    if tls is None:
        return []
    try:
        identity = tls.identity()
    except TlsError as error:
        return [Problem(f"tls.{error.part}", str(error))]
    listeners = [] if sip is None else [one for one in sip.listen if parse_listener(one)[0] == "tls"]
    if listeners and not identity.can_listen:
        return [
            Problem("tls.certificate", f"is missing; the listener {listeners[0]!r} needs a certificate and its key")
        ]
    return []


def _converter(files: Files) -> cattrs.Converter:
    """Make the converter whose every key is checked by its own check."""
    converter = cattrs.Converter(detailed_validation=True, forbid_extra_keys=True)
    for kind in (*_SECTIONS.values(), Service, TrunkSection, PhoneSection):

        def hook(check: Check) -> Callable[[Any, Any], Any]:
            return lambda value, _type: check(value, files)

        checks = {one.name: override(struct_hook=hook(one.metadata["check"])) for one in attrs.fields(kind)}
        converter.register_structure_hook(kind, make_dict_structure_fn(kind, converter, **checks))  # type: ignore[arg-type]
    return converter


def _problems(error: cattrs.ClassValidationError, kind: type[Any], where: str) -> list[Problem]:
    """Turn cattrs' group of exceptions into sentences with their paths."""
    known = [one.name for one in attrs.fields(kind)]
    problems: list[Problem] = []
    noted, others = error.group_exceptions()
    for one, note in noted:
        path = f"{where}.{note.name}"
        causes = one.exceptions if isinstance(one, ExceptionGroup) else (one,)
        for cause in causes:
            if isinstance(cause, Refused):
                problems.append(Problem(path if cause.index is None else f"{path}[{cause.index}]", str(cause)))
            elif isinstance(cause, KeyError):
                problems.append(Problem(path, "is missing"))
            else:
                problems.append(Problem(path, str(cause)))
    for other in others:
        if isinstance(other, cattrs.ForbiddenExtraKeysError):
            problems += [Problem(f"{where}.{name}", _unknown(name, known)) for name in sorted(other.extra_fields)]
        else:
            problems.append(Problem(where, str(other)))
    return problems


def _unknown(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, 1, 0.6)
    meant = f"did you mean {near[0]!r}? " if near else ""
    return f"there is no such key; {meant}Allowed: {', '.join(known)}"
