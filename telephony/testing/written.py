"""A recorded call, written out as a test of the application: phones that do what the peers did, and what came of it.

Owns: which words of the kit say a recorded input, and which assertions say what was recorded. Must not know files, nor
run anything. What it can't say in the kit's words stands there as a comment, so that nothing is left out silently.
"""

from __future__ import annotations

import keyword
import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs

from telephony.interfaces import Address
from telephony.sip.message import Message, Request, Response
from telephony.sip.parser import UnparsableMessage, parse_message
from telephony.sip.uri import SipUri
from telephony.testing.offer import read
from telephony.testing.recorded_parts import without_challenges
from telephony.trace.ladder import call_id_of
from telephony.trace.recording import Entry, Recording, event_of

#: Header fields that every INVITE has, or that a phone writes itself; all others are an application's business.
_OWN = frozenset(
    {
        "via",
        "from",
        "to",
        "call-id",
        "cseq",
        "contact",
        "max-forwards",
        "content-length",
        "content-type",
        "allow",
        "supported",
        "user-agent",
        "route",
        "record-route",
        "accept",
        "session-expires",
        "min-se",
        "authorization",
        "proxy-authorization",
        "organization",
        "date",
        "require",
        "v",
        "f",
        "t",
        "i",
        "m",
        "l",
        "c",
        "k",
        "x",
    }
)
#: Keys that follow each other within so many seconds are written as one press.
_TOGETHER = 0.5
#: A wait that took longer than this then gets its limit written.
_USUAL = 50.0


@attrs.define
class _Phone:
    """A far end: what it is called in the test, and how it is made."""

    name: str
    user: str
    arguments: list[str]
    calls: int = 0
    held: bool = False
    got: Counter[str] = attrs.field(factory=Counter)


class _Writer:
    """Writes one test."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._phones: dict[str, _Phone] = {}  # by leg
        self._by_address: dict[Address, _Phone] = {}
        self._taken = {"self", "record", "failure", "application"}
        self._channels: dict[int, str] = {}
        self._waiting: dict[str, bool] = {}
        self._now = 0.0
        self._keys: tuple[str, str, float, float] | None = None  # a phone, its keys so far, when begun, the last one
        self.lines: list[str] = []
        self.hosts: dict[str, str] = {}

    @property
    def phones(self) -> list[_Phone]:
        """The phones, in the order in which they come in."""
        return list({id(one): one for one in self._phones.values()}.values())

    def write(self) -> None:
        """Write the steps."""
        seen: set[bytes] = set()
        last: Entry = {}
        for entry in self._recording.entries:
            if "in" in entry or "out" in entry:
                data = event_of(entry).data
                repeated = data in seen
                seen.add(data)
                if not repeated:
                    self._message(entry, data)
            elif "leg" in entry:
                self._channels[entry["channel"]] = entry["leg"]
            elif "digit" in entry and not str(last.get("in", "")).startswith("INFO "):
                phone = self._phones.get(self._channels.get(entry["channel"], ""))
                if phone is not None:
                    self._press(phone.name, entry["digit"], entry["t"])
            last = entry
        self._flush()

    # -- lines -------------------------------------------------------------------------------------------------------

    def _say(self, line: str, time: float | None = None) -> None:
        self._flush()
        if time is not None and time - self._now >= 0.0005:
            self.lines.append(_moment(time))
        if time is not None:
            self._now = max(self._now, time)
        self.lines.append(line)

    def _await(self, phone: _Phone, word: str, time: float) -> None:
        within = f", within={time - self._now + 60:.0f}" if time - self._now > _USUAL else ""
        self._say(f'await {phone.name}.until("{word}"{within})')
        self._now = max(self._now, time)

    def _press(self, name: str, digit: str, time: float) -> None:
        keys = self._keys
        if keys is not None and keys[0] == name and time - keys[3] < _TOGETHER:
            self._keys = (name, keys[1] + digit, keys[2], time)
            return
        self._flush()
        self._keys = (name, digit, time, time)

    def _flush(self) -> None:
        if self._keys is not None:
            name, digits, began, ended = self._keys
            self._keys = None
            self._say(f'{name}.press("{digits}")', began)
            self._now = max(self._now, ended)

    # -- messages ------------------------------------------------------------------------------------------------------

    def _message(self, entry: Entry, data: bytes) -> None:
        try:
            message = parse_message(data)
        except UnparsableMessage:
            self._say("# what came here can't be parsed, and is not written out", entry["t"])
            return
        if message is None:
            return
        leg = call_id_of(data) or ""
        phone = self._phones.get(leg)
        if phone is None:
            if not isinstance(message, Request) or message.method != "INVITE":
                return
            phone = self._phones[leg] = self._new(entry, message)
        if "in" in entry:
            self._came(phone, message, entry["t"], leg)
        else:
            self._sent(phone, message, entry["t"], leg)

    def _new(self, entry: Entry, invite: Request) -> _Phone:
        caller = "in" in entry
        far: Address = tuple(entry["from"] if caller else entry["to"])
        known = self._by_address.get(far)
        if known is not None:
            return known
        uri = invite.from_.parsed_uri if caller else invite.parsed_uri
        user = (uri.user or "" if isinstance(uri, SipUri) else "") or ("caller" if caller else "target")
        name = re.sub(r"\W+", "_", user).strip("_").lower() or "phone"
        if not name[0].isalpha() or keyword.iskeyword(name):
            name = f"phone_{name}"
        base, number = name, 2
        while name in self._taken:
            name, number = f"{base}_{number}", number + 1
        self._taken.add(name)
        arguments = [_quoted(user)]
        if not caller:
            host = f"[{far[0]}]" if ":" in far[0] else far[0]
            arguments.append(f'at="{host}:{far[1]}"')
            if isinstance(uri, SipUri) and not re.fullmatch(r"[0-9.]+|\[.*\]|.*:.*", uri.host):
                self.hosts[uri.host.lower()] = far[0]
        if entry["by"].upper() != "UDP":
            arguments.append('transport="tcp"')
        codecs = self._codecs(far)
        if codecs is not None:
            arguments.append(f"codecs={codecs!r}")
        made = self._by_address[far] = _Phone(name, user, arguments)
        return made

    def _codecs(self, far: Address) -> list[str] | None:
        """Return the codecs that the far end described first, None where a phone does so by itself."""
        for event in self._recording.events():
            body = event.data.partition(b"\r\n\r\n")[2]
            if not event.sent and event.source == far and body.startswith(b"v=0"):
                said = read(body)
                found = [said.names[one] for one in said.formats if said.names.get(one) in ("PCMA", "PCMU")]
                return found if found and found != ["PCMA", "PCMU"] else None
        return None

    def _came(self, phone: _Phone, message: Message, time: float, leg: str) -> None:
        name = phone.name
        if isinstance(message, Response):
            if message.cseq.method != "INVITE" or not self._waiting.get(leg) or message.status == 100:
                return
            if message.status < 200:
                more = ", sdp=True" if message.body else ""
                given = f"{message.status}{more}" if message.status != 180 or more else ""
                self._say(f"{name}.ring({given})", time)
            elif message.status < 300:
                self._waiting[leg] = False
                self._say(f"{name}.answer()", time)
            elif message.status != 487:
                self._waiting[leg] = False
                self._say(f"{name}.reject({message.status})", time)
            return
        assert isinstance(message, Request)
        method, within = message.method, message.to.tag is not None
        if method == "INVITE" and not within:
            phone.calls += 1
            self._say(f"{name}.dial({self._dialled(message)})", time)
        elif method == "INVITE":
            self._say(self._reinvite(phone, message), time)
        elif method == "CANCEL":
            self._say(f"{name}.cancel()", time)
        elif method == "BYE":
            self._say(f"{name}.hang_up()", time)
        elif method == "INFO":
            key = re.search(r"(?im)^signal[ \t]*=[ \t]*([0-9A-D*#])", message.body.decode("utf-8", "replace"))
            if key is not None:
                self._say(f'{name}.press("{key[1]}", by="info")', time)
            else:
                self._say(f"{name}.call.send_info({message.body!r}, {message.get('Content-Type')!r})", time)
        elif method not in ("ACK", "PRACK"):
            self._say(f"# {phone.user} sends {method} here, for which a phone has no verb that could be written", time)

    def _dialled(self, invite: Request) -> str:
        uri = invite.parsed_uri
        user = uri.user if isinstance(uri, SipUri) else invite.uri
        arguments = [f'self.uri("{user}")']
        caller = invite.from_.parsed_uri
        if isinstance(caller, SipUri):
            arguments.append(f'from_uri="{invite.from_.uri}"')
        others = [(name, value) for name, value in invite.fields if name.lower() not in _OWN]
        if others:
            arguments.append(f"headers={others!r}")
        return ", ".join(arguments)

    @staticmethod
    def _reinvite(phone: _Phone, request: Request) -> str:
        if not request.body:
            return f"{phone.name}.call.reinvite(offer=False)"
        said = read(request.body)
        direction = "sendonly" if said.port and said.rtp is None else said.direction
        if direction in ("sendonly", "inactive"):
            phone.held = True
            return f"{phone.name}.hold()" if direction == "sendonly" else f'{phone.name}.hold("inactive")'
        if phone.held:
            phone.held = False
            return f"{phone.name}.resume()"
        return f"{phone.name}.call.reinvite()"

    def _sent(self, phone: _Phone, message: Message, time: float, leg: str) -> None:
        if isinstance(message, Response):
            if message.status > 100:
                phone.got[str(message.status)] += 1
            if message.cseq.method == "INVITE" and 200 <= message.status < 300 and message.cseq.number >= 0:
                if not phone.held and self._waiting.get(leg) is None:
                    self._waiting[leg] = False
                    self._await(phone, "answered", time)
            elif message.cseq.method == "INVITE" and message.status >= 300 and self._waiting.get(leg) is None:
                self._waiting[leg] = False
                self._await(phone, "ended", time)
            return
        assert isinstance(message, Request)
        if message.method != "ACK":
            phone.got[message.method] += 1
        if message.method == "INVITE" and message.to.tag is None:
            phone.calls += 1
            self._waiting[leg] = True
            calls = phone.calls
            if calls == 1:
                self._await(phone, "incoming", time)
            else:
                self._say(f"await {phone.name}.until(lambda: len({phone.name}.calls) == {calls})")
        elif message.method in ("BYE", "CANCEL"):
            self._await(phone, "ended", time)


def _quoted(text: object) -> str:
    """Return a text as people write it in source: in double quotes where it has none itself."""
    shown = repr(text)
    return f'"{shown[1:-1]}"' if shown.startswith("'") and '"' not in shown else shown


def _moment(time: float) -> str:
    return f"await self.moment({round(time, 3):g})" if time < 1000 else f"await self.moment({time:.3f})"


def write_test(
    recording: Recording, application: Path, media: Path | None = None, *, beside: Path | None = None
) -> str:
    """Return a module with one test: a `CallTestCase` in which phones do what the recorded peers did.

    ``beside`` is the directory that the module is for; an application in it is named without its path. It asserts what
    each phone got, how the application ended, and what it raised.
    """
    kept, challenges = without_challenges(recording)
    writer = _Writer(kept)
    writer.write()
    service: dict[str, Any] = recording.head.get("service") or {}
    outcome = recording.outcome
    stem = re.sub(r"\W+", "_", application.stem).strip("_") or "application"
    name = stem if stem not in {one.name for one in writer.phones} and not keyword.iskeyword(stem) else f"{stem}_py"
    began = datetime.fromtimestamp(recording.began, UTC).strftime("%Y-%m-%d at %H:%M:%S UTC")
    doc = [f"The call {recording.call_id},", f"of {began}, played by phones; written by telephony replay --as-test."]
    doc = ["\n".join(doc)]
    if recording.dropped:
        doc.append(
            f"The recording was full: {recording.dropped} entries after the opening were dropped, and are missing."
        )
    if challenges:
        doc.append("Challenges (401, 407) are left out: phones of the kit are let in without a password.")
    text = "\n\n".join(doc).replace("\\", "\\\\").replace('"""', "'''")
    steps = list(writer.lines)
    setup = [f'self.network.names["{host}"] = ["{ip}"]' for host, ip in writer.hosts.items()]
    setup.append(f"{name} = self.application({_application(application, media, service, recording, beside)})")
    setup += [f"{one.name} = self.phone({', '.join(one.arguments)})" for one in writer.phones]
    if service.get("direction") == "outbound":
        setup.append(f"{name}.start({_quoted(recording.head.get('outbound_parameters', ''))})")
    checks: list[str] = []
    if outcome:
        last = max((entry["t"] for entry in kept.entries), default=0.0)
        checks.append(f"record = await {name}.ended(within={last + 60:.0f})")
        checks.append(f"self.assertEqual(record.return_code, {outcome.get('return_code')})")
        fault = re.search(r"line \d+: (.*)\Z|\A((?!.*line \d+: ).*)\Z", str(outcome.get("fault") or ""), re.DOTALL)
        if outcome.get("fault") and fault is not None:
            said = fault[1] or fault[2]
            checks.append(f"(failure,) = {name}.flush_failures()")
            if "***" not in said:
                checks.append(f'self.assertEqual(f"{{failure.type.__name__}}: {{failure.value}}", {_quoted(said)})')
    for one in writer.phones:
        for what, count in one.got.items():
            shown = what if what.isdigit() else f'"{what}"'
            checks.append(f"self.assertEqual(len({one.name}.got({shown})), {count})")
    body = "".join(f"        {line}\n" for line in [*setup, *steps, *checks])
    return f'''"""{text}"""

from telephony.testing.case import CallTestCase


class RecordedCallTests(CallTestCase):
    async def test_call(self):
{body}'''


def _application(
    application: Path, media: Path | None, service: dict[str, Any], recording: Recording, beside: Path | None
) -> str:
    here = beside is not None and application.parent == beside
    arguments = [_quoted(application.name if here else str(application))]
    if service.get("parameters"):
        arguments.append(f"parameters={_quoted(service['parameters'])}")
    if service.get("extra_channels", 1) != 1:
        arguments.append(f"extra_channels={service['extra_channels']!r}")
    told = media or Path(str((recording.head.get("server") or {}).get("media") or ""))
    if told != Path() and told.is_dir() and told != application.parent / "media":
        arguments.append(f"media={_quoted(str(told))}")
    if service.get("direction") == "outbound":
        arguments.append('direction="outbound"')
    return ", ".join(arguments)
