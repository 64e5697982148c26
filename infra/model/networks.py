"""From which addresses a machine may be reached."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator

from infra.model.problems import RefusedError
from infra.model.text import brief, visible

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MOST_ADDRESSES = {4: 2 ** (32 - 8), 6: 2 ** (128 - 16)}  # what a /8 and a /16 hold
_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")  # RFC 4291, section 2.5.5.2
_TEREDO = ipaddress.IPv6Network("2001::/32")  # RFC 4380, section 4: the client's, each bit turned
# IPv6 networks in which each address stands for one of IPv4, and where in it that begins.
_IPV4_IN_IPV6 = (
    (_MAPPED, 96),
    (_TEREDO, 96),
    (ipaddress.IPv6Network("::/96"), 96),  # RFC 4291, section 2.5.5.1, deprecated
    (ipaddress.IPv6Network("::ffff:0:0:0/96"), 96),  # RFC 2765, section 2.1, as old translators do
    (ipaddress.IPv6Network("2002::/16"), 16),  # 6to4: RFC 3056, section 2
    (ipaddress.IPv6Network("64:ff9b::/96"), 96),  # NAT64: RFC 6052, section 2.1
    (ipaddress.IPv6Network("64:ff9b:1::/48"), 96),  # NAT64 of one's own: RFC 8215, with a /96
)
_LONGEST = 64  # characters; the longest CIDR has 49


def check_cidr(text: str) -> str:
    """The network in its shortest form. Raises RefusedError for all but a strict CIDR."""
    address, slash, prefix = text.partition("/")
    try:
        interface = ipaddress.ip_interface(text if len(text) <= _LONGEST else "")
    except ValueError:
        what = f"'{brief(text)}' is not an address range"
        raise RefusedError(what, "write it as 203.0.113.0/24 or 2001:db8::/32") from None
    text, network = visible(text), interface.network
    if not slash:
        raise RefusedError(f"`{text}` has no prefix length", f"for that one address: {network}")
    if not re.fullmatch("[0-9]{1,3}", prefix) or "%" in address:
        raise RefusedError(f"`{text}` is not in CIDR form", f"write {network}")
    if interface.ip != network.network_address:
        what = f"`{text}` has host bits set"
        raise RefusedError(what, f"write {network}, or {interface.ip}/{network.max_prefixlen}")
    if is_within(network, [_MAPPED]):
        raise RefusedError(f"`{text}` is IPv4 written as IPv6", "write it as IPv4")
    return str(network)


def is_within(network: Network, ranges: Iterable[Network]) -> bool:
    """True if one of the ranges holds the whole network."""
    return any(
        network.version == outer.version
        and network.network_address in outer
        and network.broadcast_address in outer
        for outer in ranges
    )


def is_loopback(cidr: str) -> bool:
    """True for networks that only programs on the same computer come from."""
    return is_within(ipaddress.ip_network(cidr), _LOOPBACK)


def is_world_open(cidrs: Iterable[str]) -> bool:
    """True if the networks together cover more than a /8 of IPv4 or a /16 of IPv6.

    Loopback does not count: no packet from outside bears such an address. What a gateway makes of
    IPv4 addresses counts as these.
    """
    networks = [ipaddress.ip_network(cidr) for cidr in cidrs if not is_loopback(cidr)]
    networks += [inner for network in networks for inner in _ipv4_in(network)]
    return any(
        sum(network.num_addresses for network in _collapse(networks, version)) > most
        for version, most in _MOST_ADDRESSES.items()
    )


def _ipv4_in(network: Network) -> Iterator[ipaddress.IPv4Network]:
    """The networks of IPv4 that a network of IPv6 stands for."""
    if isinstance(network, ipaddress.IPv4Network):
        return
    for outer, start in _IPV4_IN_IPV6:
        if network.overlaps(outer):
            both = max(network, outer, key=lambda one: one.prefixlen)
            bits = int(both.network_address) >> (96 - start) & 0xFFFFFFFF
            if outer == _TEREDO:
                bits ^= 0xFFFFFFFF
            prefix = min(max(both.prefixlen - start, 0), 32)
            yield ipaddress.IPv4Network((bits >> (32 - prefix) << (32 - prefix), prefix))


def collapse(cidrs: Iterable[str]) -> list[str]:
    """The same addresses in the fewest networks, IPv4 first, in ascending order."""
    networks = [ipaddress.ip_network(cidr) for cidr in cidrs]
    return [str(network) for version in (4, 6) for network in _collapse(networks, version)]


def _collapse(networks: Iterable[Network], version: int) -> list[Network]:
    same = [network for network in networks if network.version == version]
    return list(ipaddress.collapse_addresses(same))  # type: ignore[type-var]
