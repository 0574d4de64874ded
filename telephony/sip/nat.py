"""Whether a peer is behind a NAT, as far as its messages and the address they come from can tell (RFC 3581, RFC 5626).

Owns: that one judgement. Must not know dialogs; nothing is kept here.

A phone in somebody's home writes its private address into Via and Contact. RFC 3261 has two remedies for the Via
(``received``, and ``rport`` of RFC 3581) and none for the Contact, to which every later request of the call goes
(12.2.1.1). Here the peer is taken to be behind a NAT when both hold:

- Its request *shows* one: the topmost Via names another address than the one it came from; or, over UDP and where
  ``rport`` is asked for, another port. (A phone that has learned its outside address by STUN is wrong about the port
  only, behind a NAT that has a mapping for each destination. Whoever asks for ``rport`` promises to listen at the
  port it sends from; without it, and over connections, another port means nothing.)
- Its Contact leads *behind* it: it is the host that the Via names (and its port, where only the port shows the NAT),
  or a private address that isn't in our own network.

A response shows nothing: it comes from where we sent the request. There the Contact alone has to tell, by a private
address that isn't in our own network.

*Our own network*: as no mask is known here, whoever is seen at a private address is in it, and may name others that
are. Of a peer outside, a Contact is taken to be inside with us when it shares our own /24, or /64 in IPv6.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TYPE_CHECKING

from telephony.addresses import known_address
from telephony.sip.headers import Via
from telephony.sip.targets import DEFAULT_PORTS
from telephony.sip.uri import SipUri

if TYPE_CHECKING:
    from telephony.sip.flow import Flow

IpAddress = IPv4Address | IPv6Address

#: What has no route from outside (RFC 1918, RFC 6598, RFC 3927, RFC 4193, RFC 4291 2.5.6).
PRIVATE: tuple[IPv4Network | IPv6Network, ...] = tuple(
    map(
        ip_network,
        (
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",
            "169.254.0.0/16",
            "fc00::/7",
            "fe80::/10",
        ),
    )
)


def is_behind(via: Via | None, contact: SipUri, flow: Flow) -> bool:
    """Tell whether a peer is behind a NAT.

    ``via`` is the topmost one of its request, as the peer wrote it, None for a response of its; ``contact`` where its
    requests in a dialog are to go; ``flow`` the way its message came by.
    """
    if via is None:
        return _out_of_reach(_address(contact.host), flow)
    usual = DEFAULT_PORTS.get(flow.transport, DEFAULT_PORTS["UDP"])
    port = via.port or usual
    if via.host == flow.remote[0] and port == flow.remote[1]:
        return False  # as nearly every request has it: nothing to be taken apart
    said, seen = _address(via.host), _address(flow.remote[0])
    if said is None or said == seen:
        # A name tells nothing: what it stands for may well be the address that was seen.
        if flow.reliable or "rport" not in via.params or port == flow.remote[1]:
            return False
        if (contact.port or usual) != port:
            return False
    host = _address(contact.host)
    named = contact.host.lower() == via.host.lower() if host is None else host == said
    return named or _out_of_reach(host, flow)


def _out_of_reach(host: IpAddress | None, flow: Flow) -> bool:
    """Tell whether nobody of our network has the address that the peer at the end of ``flow`` names."""
    seen = _address(flow.remote[0])
    if host is None or seen is None or not _is_private(host) or _is_private(seen) or seen.is_loopback:
        return False
    ours = _address(flow.local[0])
    return ours is None or host not in ip_network((ours, 24 if ours.version == 4 else 64), strict=False)


def _is_private(address: IpAddress) -> bool:
    return any(address in one for one in PRIVATE)


def _address(host: str) -> IpAddress | None:
    """Return an IP address; None for a name."""
    # A port of both families sees an IPv4 peer as IPv6: it is IPv4 here.
    known = known_address(host)
    return None if known is None else known.ip
