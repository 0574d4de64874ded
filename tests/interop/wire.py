"""What was on the wire, from a peer's own log: messages, with direction, in few words and in full.

Reads SIPp's ``-trace_msg`` files and baresip's ``-s`` output. A reader of its own, not the product's parser: what the
product wrote is not judged by what it can read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import attrs


@attrs.frozen
class Message:
    """One SIP message; ``sent`` by the peer whose log this is, or received by it."""

    sent: bool
    start: str
    fields: tuple[tuple[str, str], ...]
    body: str

    @classmethod
    def read(cls, sent: bool, text: str) -> Message:
        """Take a message's text apart."""
        head, _, body = text.partition("\r\n\r\n")
        start, *lines = head.split("\r\n")
        fields = []
        for line in lines:
            name, _, value = line.partition(":")
            fields.append((name.strip().lower(), value.strip()))
        return cls(sent, start.strip(), tuple(fields), body)

    def get(self, name: str) -> str:
        """Return a header field's first value, empty without one."""
        return next((value for known, value in self.fields if known == name.lower()), "")

    @property
    def status(self) -> int:
        """The status of a response, 0 for a request."""
        return int(self.start.split(" ")[1]) if self.start.startswith("SIP/2.0 ") else 0

    @property
    def method(self) -> str:
        """The method, also of the request that a response is for."""
        return self.get("CSeq").split()[-1]

    @property
    def number(self) -> int:
        """The CSeq number."""
        return int(self.get("CSeq").split()[0])

    @property
    def target(self) -> str:
        """The Request-URI."""
        return self.start.split(" ")[1]

    @property
    def contact(self) -> str:
        """The URI in Contact."""
        return uri_in(self.get("Contact"))

    @property
    def branch(self) -> str:
        """The branch of the topmost Via."""
        return parameter(self.get("Via"), "branch")

    @property
    def media(self) -> tuple[str, int, list[str]]:
        """Address, port and formats of the audio that the SDP describes."""
        address = re.search(r"^c=IN IP[46] (\S+)", self.body, re.MULTILINE)
        audio = re.search(r"^m=audio (\d+) RTP/AVP (.*)$", self.body, re.MULTILINE)
        assert address is not None and audio is not None, f"no audio is described in {self.body!r}"
        return address[1], int(audio[1]), audio[2].split()

    def __str__(self) -> str:
        told = f"{self.status} {self.method}" if self.status else self.method
        return f"{'>' if self.sent else '<'} {told}"


def uri_in(value: str) -> str:
    """Return the URI of a header value like ``"name" <uri>;tag=x``."""
    found = re.search(r"<([^>]*)>", value)
    return found[1] if found else value.partition(";")[0].strip()


def parameter(value: str, name: str) -> str:
    """Return a header value's parameter, empty without one."""
    found = re.search(rf";\s*{name}=([^;,\s]+)", re.sub(r"<[^>]*>", "", value))
    return found[1] if found else ""


class Wire:
    """One peer's messages, in order. ``repeated`` counts the retransmissions among ``everything``."""

    def __init__(self, messages: Iterable[Message]) -> None:
        self.everything = list(messages)
        self.messages: list[Message] = []
        seen = set()
        for one in self.everything:
            key = (one.sent, one.start, one.branch, one.get("CSeq"), one.get("Call-ID"), one.get("To"))
            if key not in seen:
                seen.add(key)
                self.messages.append(one)
        self.repeated = len(self.everything) - len(self.messages)

    @property
    def words(self) -> list[str]:
        """Each message once, as ``> INVITE``, ``< 200 INVITE``."""
        return [str(one) for one in self.messages]

    def one(self, words: str) -> Message:
        """Return the one message that is described so."""
        found = [one for one in self.messages if str(one) == words]
        assert len(found) == 1, f"{len(found)} times {words!r} in {self.words}"
        return found[0]

    def faults(self) -> list[str]:
        """Return what is wrong with this one call's messages, whoever wrote them (RFC 3261 8.1.1, 9.1, 12, 17)."""
        return list(_faults(self.messages))


def _faults(messages: list[Message]) -> Iterator[str]:
    if len({one.get("Call-ID") for one in messages}) > 1:
        yield "more than one Call-ID"
    invites = {(one.sent, one.number): one for one in messages if not one.status and one.method == "INVITE"}
    if not invites:
        yield "no INVITE"
        return
    finals = {(not one.sent, one.number): one for one in messages[::-1] if one.status >= 200 and one.method == "INVITE"}
    first = next(iter(invites))
    dialog = {first[0]: parameter(invites[first].get("From"), "tag")}
    #: Where requests of the other side go.
    contacts = {first[0]: invites[first].contact}
    if first in finals:
        dialog[not first[0]] = parameter(finals[first].get("To"), "tag")
        if finals[first].status < 300:
            contacts[not first[0]] = finals[first].contact
    numbers: dict[bool, int] = {}
    for one in messages:
        if not one.branch.startswith("z9hG4bK"):
            yield f"{one}: branch {one.branch!r}"
        if int(one.get("Content-Length") or 0) != len(one.body):
            yield f"{one}: Content-Length {one.get('Content-Length')} for {len(one.body)} characters"
        if one.status:
            if one.status >= 200 and not parameter(one.get("To"), "tag"):
                yield f"{one}: no tag in To"
            continue
        if not one.get("Max-Forwards"):
            yield f"{one}: no Max-Forwards"
        target = contacts.get(not one.sent)
        if one.method in ("ACK", "CANCEL"):
            invite = invites.get((one.sent, one.number))
            if invite is None:
                yield f"{one}: CSeq {one.number} is that of no INVITE"
                continue
            final = finals.get((one.sent, one.number))
            refused = final is not None and final.status >= 300
            if (one.branch == invite.branch) != (one.method == "CANCEL" or refused):
                yield f"{one}: branch {one.branch!r}, the INVITE has {invite.branch!r}"
            if one.method == "CANCEL" or refused:
                target = invite.target
        elif one.number <= numbers.get(one.sent, 0):
            yield f"{one}: CSeq {one.number} after {numbers[one.sent]}"
        else:
            numbers[one.sent] = one.number
        if one is invites[first]:
            continue
        if target is not None and one.target != target:
            yield f"{one}: is for {one.target}, not for {target}"
        tags = (parameter(one.get("From"), "tag"), parameter(one.get("To"), "tag"))
        expected = (dialog.get(one.sent, ""), "" if one.method == "CANCEL" else dialog.get(not one.sent, ""))
        if tags != expected:
            yield f"{one}: tags {tags}, not {expected}"


def read_sipp(log: str) -> Iterator[Message]:
    """Read what SIPp wrote for ``-trace_msg``, with its line ends."""
    rule = r"^-{40,} \S+[\t ]\S+\n(?:UDP|TCP) message (sent|received) [\[(](\d+)[\])]? bytes\)?\s*:\n\n"
    pieces = re.split(rule, log, flags=re.MULTILINE)
    for way, size, text in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
        yield Message.read(way == "sent", text[: int(size)])


def read_baresip(output: str, own_port: int, peer_port: int) -> Iterator[Message]:
    """Read what baresip printed for ``-s``; its own port and the peer's listening one tell who sent what."""
    rule = r"#\n(?:UDP|TCP) \S+?:(\d+) -> \S+?:(\d+)\n(.*?)\x1b\[;m"
    for source, destination, text in re.findall(rule, output, re.DOTALL):
        yield Message.read(int(source) == own_port or int(destination) == peer_port, text)
