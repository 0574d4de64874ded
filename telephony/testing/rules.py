"""What RFC 3261 demands of any message, as a list of faults in words.

Owns: the demands that can be judged from one message alone, whoever sent it. Must not know transactions, dialogs or
what the message is about. A fault is a MUST that was broken; habits and SHOULDs are not judged.
"""

from __future__ import annotations

from ipaddress import ip_address

from telephony.errors import RemoteProtocolError
from telephony.sip.headers import NameAddr
from telephony.sip.message import Message, Request, Response
from telephony.sip.uri import SipUri

#: The largest request for UDP where the path's MTU is unknown (RFC 3261 18.1.1).
LARGEST_DATAGRAM = 1300
#: Header fields whose values may not come twice (RFC 3261 7.3.1 and 20).
ONCE = ("Call-ID", "CSeq", "From", "To", "Max-Forwards", "Content-Length", "Content-Type")
#: Methods whose request begins or refreshes a dialog and so carries a Contact (RFC 3261 12, RFC 3311).
TARGETED = frozenset({"INVITE", "UPDATE", "SUBSCRIBE", "REFER", "NOTIFY"})


def request_faults(request: Request, data: bytes | None, transport: str) -> list[str]:
    """Return what is wrong with a request that came over ``transport``; ``data`` is its datagram where it had one."""
    faults = _message_faults(request, data)
    try:
        request.check()
        via = request.via
        if not (via.branch or "").startswith("z9hG4bK"):
            faults.append("the branch does not begin with z9hG4bK (8.1.1.7)")
        if via.transport != transport:
            faults.append(f"the Via says {via.transport}, but it came over {transport} (18.1.1)")
        if _unspecified(via.host):
            faults.append(f"the Via says {via.host}, which is nobody's address (18.1.1)")
        if request.max_forwards is None:
            faults.append("no Max-Forwards (8.1.1.6)")
        if request.from_.tag is None:
            faults.append("no tag in From (8.1.1.3)")
        if request.method in TARGETED:
            faults += _contact_faults(request.contacts)
        if request.method == "CANCEL" and (request.has("Require") or request.has("Proxy-Require")):
            faults.append("a CANCEL may not have Require (9.1)")
        if data is not None and len(data) > LARGEST_DATAGRAM and request.method != "ACK":
            faults.append(f"a request of {len(data)} bytes over UDP (18.1.1)")
    except RemoteProtocolError as error:
        faults.append(str(error))
    return [f"{request.method}: {fault}" for fault in faults]


def response_faults(response: Response, data: bytes | None, sent: Request | None) -> list[str]:
    """Return what is wrong with a response to ``sent``, our request, if we know it."""
    faults = _message_faults(response, data)
    try:
        response.check()
        if response.status > 100 and response.to.tag is None:
            faults.append("no tag in To (8.2.6.2)")
        if sent is not None:
            if response.from_.tag != sent.from_.tag:
                faults.append("From is not the request's (8.2.6.2)")
            if response.call_id != sent.call_id:
                faults.append("Call-ID is not the request's (8.2.6.2)")
            if response.cseq != sent.cseq:
                faults.append("CSeq is not the request's (8.2.6.2)")
            if sent.to.tag is not None and response.to.tag != sent.to.tag:
                faults.append("the tag in To is not the request's (8.2.6.2)")
        if response.cseq.method == "INVITE" and 200 <= response.status < 300:
            faults += _contact_faults(response.contacts)
        if response.status == 405 and not response.has("Allow"):
            faults.append("a 405 without Allow (8.2.1)")
        if response.status == 420 and not response.has("Unsupported"):
            faults.append("a 420 without Unsupported (8.2.2.3)")
    except RemoteProtocolError as error:
        faults.append(str(error))
    return [f"{response.status} to {response.get('CSeq')}: {fault}" for fault in faults]


def _message_faults(message: Message, data: bytes | None) -> list[str]:
    faults = []
    for name in ONCE:
        if len(message.get_all(name)) > 1:
            faults.append(f"more than one {name} (7.3.1)")
    if message.body and message.content_type is None:
        faults.append("a body without Content-Type (20.15)")
    if not message.has("Content-Length"):
        faults.append("no Content-Length, which every message of ours has (20.14)")
    if data is not None:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            faults.append("no empty line behind the header (7)")
        elif len(data) - end - 4 != len(message.body):
            faults.append("Content-Length is not the length of the body (20.14)")
    return faults


def _contact_faults(contacts: list[NameAddr]) -> list[str]:
    if len(contacts) != 1:
        return [f"{len(contacts)} Contacts where there must be one (8.1.1.8, 12.1.1)"]
    uri = contacts[0].parsed_uri
    if not isinstance(uri, SipUri):
        return [f"the Contact {contacts[0].uri} is no SIP URI (8.1.1.8)"]
    if _unspecified(uri.host):
        return [f"the Contact {contacts[0].uri} is nobody's address (8.1.1.8)"]
    return []


def _unspecified(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False
