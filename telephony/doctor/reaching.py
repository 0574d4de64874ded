"""Checks of the way to the peer: names, transports, NAT, OPTIONS, large messages (RFC 3263, 3581, 3261 11 and 18.1.1).

Owns: these checks and their sentences. Must not know calls.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.error import ConnectionRefusedError as Refused

from telephony.doctor.findings import Finding, NotDone, Outcome
from telephony.doctor.secured import certificate_words, prepared
from telephony.doctor.visit import Visit, is_private, listed, milliseconds, place, quoted, tags, via_parameter
from telephony.interfaces import Answer, Naptr, RecordKind, Srv
from telephony.sip.message import Response
from telephony.sip.resolve import Locator, NoWay
from telephony.sip.transport.tls import TlsIdentity
from telephony.testing.rules import LARGEST_DATAGRAM
from telephony.testing.wire import Way

#: An answer that takes longer has cost a retransmission (RFC 3261's T1), in milliseconds.
SLOW = 500.0
#: How large the large message is.
LARGE = 1_600


async def resolution(visit: Visit) -> Finding:
    """Find where the peer is, as a server of ours would find it (RFC 3263)."""
    asked = visit.asked
    uri = asked.target
    wanted = asked.transport.upper() if asked.transport else None
    transports = [wanted] if wanted else ["UDP", "TCP", "TLS"]
    locator = Locator(visit.host, lambda _six: transports, asked.timeout)
    try:
        visit.targets = await locator.locate(uri)
    except NoWay as error:
        return Finding(
            check="resolution",
            outcome=Outcome.BAD,
            text=f"{error}",
            advice="Look for a typing mistake in the name; trunk.outbound_proxy names another way to the same domain.",
        )
    visit.host.allowed |= {one.address[0] for one in visit.targets}
    first = visit.targets[0]
    facts = {"targets": [f"{one.transport} {one.address[0]}:{one.address[1]}" for one in visit.targets]}
    visit.open_phone(asked.local or visit.host.source_address(first.address))
    found = await _records(visit, locator, uri.host) if uri.port is None else []
    if uri.host.strip("[]") == first.address[0]:
        text = f"{place(first.address)}, which is an address already"
    else:
        by = f"by {listed(found)}" if found else "by its address record"
        text = f"{uri.host} is {place(first.address)} over {first.transport}, {by}"
        if len(visit.targets) > 1:
            text += f"; {len(visit.targets) - 1} more to try behind it"
    return Finding(check="resolution", outcome=Outcome.GOOD, text=text, facts=facts)


async def _records(visit: Visit, locator: Locator, name: str) -> list[str]:
    """Return which kinds of records led there; the answers are in the locator's cache already."""
    found = []
    kinds: list[tuple[str, RecordKind, type]] = [("NAPTR", "NAPTR", Naptr)]
    for label, kind, wanted in kinds:
        if await _has(visit, locator, name, kind, wanted):
            found.append(label)
    for prefix in ("_sip._udp.", "_sip._tcp.", "_sips._tcp."):
        if "." in name and await _has(visit, locator, prefix + name, "SRV", Srv):
            found.append(f"SRV {prefix}{name}")
    return found


async def _has(visit: Visit, locator: Locator, name: str, kind: RecordKind, wanted: type) -> bool:
    if "." not in name or name.replace(".", "").isdigit() or ":" in name:
        return False
    asked: Deferred[Answer] = locator.cache.lookup(name, kind)
    try:
        answer = await visit.within(asked)
    except OSError:
        return False
    return answer is not None and any(isinstance(one, wanted) for one in answer.records)


# -- transports ----------------------------------------------------------------------------------------------------


def _wanted(visit: Visit, transport: str) -> bool:
    """Tell whether the visit is to go on over this transport, and no other will do."""
    if visit.asked.transport:
        return visit.asked.transport.upper() == transport
    return visit.targets[0].transport == transport


async def udp(visit: Visit) -> Finding:
    """Send OPTIONS over UDP."""
    if visit.asked.target.scheme == "sips":
        raise NotDone("the URI is sips:, which is TLS only")
    return await _plain(visit, "UDP")


async def tcp(visit: Visit) -> Finding:
    """Send OPTIONS over TCP."""
    if visit.asked.target.scheme == "sips":
        raise NotDone("the URI is sips:, which is TLS only")
    return await _plain(visit, "TCP")


async def _plain(visit: Visit, transport: str) -> Finding:
    check = transport.lower()
    address = visit.candidate(transport)
    phone = visit.phone
    request = visit.request("OPTIONS", visit.asked.server, transport)
    began = visit.clock.seconds()
    response = await visit.ask(request, Way(transport, address))
    took = visit.since(began)
    if response is None:
        wanted = _wanted(visit, transport)
        # A connection that is refused ends the request as silence does; which it was is seen by the time it took.
        at_once = transport == "TCP" and took < visit.asked.timeout * 900
        what = f"{'no connection to' if at_once else 'nothing answers at'} {place(address)}"
        if at_once:
            what += ": it is refused, or there is no way"
        else:
            what += f" within {visit.asked.timeout:g} s"
        advice = "Is the port right, does it listen there, does a firewall let us through?"
        if not wanted and transport == "TCP" and visit.reached:
            advice = "RFC 3261 18 wants TCP of everybody; requests over 1,300 bytes need it."
        elif not wanted:
            advice = ""
        return Finding(
            check=check,
            outcome=Outcome.BAD if wanted else Outcome.ODD,
            text=what,
            advice=advice,
            facts={"address": f"{address[0]}:{address[1]}"},
        )
    visit.reached[transport] = address
    if transport == "UDP":
        visit.first = response
    sent = sum(1 for one in phone.log if one.sent and one.message.via.branch == request.via.branch)
    text = f"{place(address)} answers in {milliseconds(took)}"
    facts = {"milliseconds": round(took, 1), "status": response.status, "sent": sent}
    if took > SLOW:
        text += f", after we had sent it {sent} times" if sent > 1 else ""
        return Finding(
            check=check,
            outcome=Outcome.ODD,
            text=text + ": that is slow",
            advice="An INVITE should get its 100 within 200 ms (RFC 3261 17.2.1), or it is sent again and again.",
            facts=facts,
        )
    return Finding(check=check, outcome=Outcome.GOOD, text=text, facts=facts)


async def tls(visit: Visit) -> Finding:
    """Shake hands over TLS, look at the certificate, and send OPTIONS."""
    asked = visit.asked
    address = visit.candidate("TLS")
    wanted = _wanted(visit, "TLS")
    identity = TlsIdentity(authorities=asked.authorities)
    request = visit.request("OPTIONS", asked.server, "TLS")
    look, factory = prepared(identity, visit.clock, asked.target.host.strip("[]"), request.to_bytes())
    try:
        connected = await visit.within(visit.host.connect_stream(address, factory, asked.timeout))
    except Refused:
        return _no_tls(f"{place(address)} refuses connections", wanted)
    except ConnectError as error:
        connected, failed = None, str(error).rstrip(".") or type(error).__name__
    else:
        failed = f"nothing within {asked.timeout:g} s"
    if connected is None:
        return _no_tls(f"no connection to {place(address)} ({failed})", wanted)
    why = await visit.within(look.done)
    transport = look.transport
    if why is None:
        why = f"no answer within {asked.timeout:g} s"
    if transport is not None:
        transport.loseConnection()
    if look.certificate is None and not look.distrusted:
        return _no_tls(f"{place(address)} takes a connection, but no TLS handshake succeeds ({why})", wanted)
    words, facts = ("", {}) if look.certificate is None else certificate_words(look.certificate)
    distrusted = look.distrusted or look.refused
    if distrusted:
        shown = "" if not words or look.distrusted else f" ({words})"
        return Finding(
            check="tls",
            outcome=Outcome.BAD if wanted else Outcome.ODD,
            text=f"{place(address)} speaks TLS, but a server of ours would end it: {distrusted}{shown}",
            advice="tls.authorities names an authority of your own; call it by the name that its certificate has.",
            facts=facts,
        )
    if not look.said.startswith(b"SIP/2.0"):
        return Finding(
            check="tls",
            outcome=Outcome.BAD if wanted else Outcome.ODD,
            text=f"{place(address)} speaks TLS, but what comes behind it is no SIP answer ({why or 'other bytes'})",
            facts=facts,
        )
    visit.reached["TLS"] = address
    return Finding(
        check="tls", outcome=Outcome.GOOD, text=f"{place(address)} answers over {look.version}; {words}", facts=facts
    )


def _no_tls(text: str, wanted: bool) -> Finding:
    if wanted:
        return Finding(
            check="tls", outcome=Outcome.BAD, text=text, advice="Is the port right? SIP over TLS is on 5061."
        )
    raise NotDone(f"{text}, so there is no TLS, and none was asked for")


def choose(visit: Visit) -> str:
    """Choose what the visit goes on over; return why there is no way, or ""."""
    wanted = visit.asked.transport.upper() if visit.asked.transport else None
    order = [wanted] if wanted else [*(one.transport for one in visit.targets), "UDP", "TCP", "TLS"]
    if visit.asked.target.scheme == "sips":
        order = ["TLS"]
    for one in order:
        if one in visit.reached:
            visit.transport = one
            visit.phone.transport = one.lower()
            return ""
    return f"nothing answers there over {listed(dict.fromkeys(order), 'or')}"


# -- what the answers say ------------------------------------------------------------------------------------------


async def rport(visit: Visit) -> Finding:
    """See whether the peer answers to where we are, and says where that is (RFC 3581)."""
    response = visit.first
    if response is None:
        raise NotDone("nothing has answered over UDP")
    own = visit.phone.address
    received, port = via_parameter(response, "received"), via_parameter(response, "rport")
    facts = {"received": received, "rport": port, "own": f"{own[0]}:{own[1]}"}
    if not port:
        return Finding(
            check="rport",
            outcome=Outcome.ODD,
            text="it doesn't fill in the rport our Via asks for (RFC 3581 4): behind a NAT its answers go astray",
            advice="Behind a NAT, forward the ports and set sip.advertise to the public address, or use TCP.",
            facts=facts,
        )
    seen = received or own[0]
    if (seen, port) != (own[0], str(own[1])):
        return Finding(
            check="rport",
            outcome=Outcome.ODD,
            text=f"there is a NAT between us: it sees us as {seen} port {port}, we are {place(own)}",
            advice=f'Set sip.advertise = "{seen}", and trunk.keep_alive = 25 where the server registers.',
            facts=facts,
        )
    if received is None:
        return Finding(
            check="rport",
            outcome=Outcome.ODD,
            text="it fills in rport, but no received, which RFC 3581 4 wants beside it",
            facts=facts,
        )
    where = ", a private address" if is_private(own[0]) and not own[0].startswith("127.") else ""
    return Finding(
        check="rport", outcome=Outcome.GOOD, text=f"it sees us where we are, at {place(own)}{where}", facts=facts
    )


async def options(visit: Visit) -> Finding:
    """Ask what it can do (RFC 3261 11)."""
    request = visit.request("OPTIONS", str(visit.asked.target), visit.transport)
    began = visit.clock.seconds()
    response = await visit.ask(request, visit.way(), visit.credentials())
    if response is None:
        return Finding(
            check="options", outcome=Outcome.ODD, text=f"no answer to OPTIONS for {visit.asked.target} in time"
        )
    allow = tags([part for value in response.get_list("Allow") for part in value.split(",")])
    supported = response.supported
    visit.allow = frozenset(one.upper() for one in allow)
    facts = {"status": response.status, "allow": allow, "supported": supported}
    agent = (response.get("User-Agent") or response.get("Server") or "")[:60]
    if response.status in (405, 501):
        return Finding(
            check="options",
            outcome=Outcome.ODD,
            text=f"it refuses OPTIONS with {quoted(response)}: it is there, but doesn't say what it can do",
            facts=facts,
        )
    if response.status in (401, 407):
        return Finding(
            check="options",
            outcome=Outcome.GOOD if visit.asked.user is None else Outcome.ODD,
            text=f"it answers {quoted(response)}: it tells only those who have signed in",
            facts=facts,
        )
    if response.status >= 300:
        return Finding(
            check="options",
            outcome=Outcome.GOOD,
            text=f"it answers {quoted(response)}, which shows it is there",
            facts=facts,
        )
    said = f"it allows {', '.join(allow)}" if allow else "it doesn't say which methods it allows"
    said += f", and supports {', '.join(supported)}" if supported else ", and no extensions"
    text = f"{quoted(response)} in {milliseconds(visit.since(began))}: {said}{f' ({agent})' if agent else ''}"
    return Finding(check="options", outcome=Outcome.GOOD, text=text, facts=facts)


async def large(visit: Visit) -> Finding:
    """Send a request that is too large for UDP (RFC 3261 18.1.1)."""
    if "TCP" in visit.reached or visit.transport == "TLS":
        over = "TCP" if "TCP" in visit.reached and visit.transport != "TLS" else "TLS"
        response = await _large(visit, over)
        if response is not None and response.status not in (400, 413, 513):
            return Finding(
                check="large messages", outcome=Outcome.GOOD, text=f"it takes {LARGE:,} bytes over {over}, as it should"
            )
        what = "doesn't answer" if response is None else f"refuses with {quoted(response)}"
        return Finding(
            check="large messages",
            outcome=Outcome.BAD,
            text=f"it {what} a request of {LARGE:,} bytes over {over}",
            advice="Keep INVITEs small: trunk.codecs with one or two codecs.",
        )
    response = await _large(visit, "UDP")
    if response is not None and response.status not in (400, 413, 513):
        return Finding(
            check="large messages",
            outcome=Outcome.ODD,
            text=f"over {LARGEST_DATAGRAM:,} bytes belong on TCP (RFC 3261 18.1.1), which it hasn't; over UDP it took "
            f"{LARGE:,} bytes",
            advice="A server of ours tries TCP and falls back to UDP; fewer trunk.codecs make that needless.",
        )
    return Finding(
        check="large messages",
        outcome=Outcome.BAD,
        text=f"it has no TCP, and {LARGE:,} bytes over UDP are lost: a large INVITE never arrives",
        advice="Keep INVITEs small: trunk.codecs with one or two codecs.",
    )


async def _large(visit: Visit, transport: str) -> Response | None:
    request = visit.request("OPTIONS", visit.asked.server, transport)
    while len(request.to_bytes()) < LARGE:
        request.add("X-Doctor", "this line only makes the message large, and means nothing " + "." * 40)
    return await visit.ask(request, visit.way(transport), visit.credentials())
