"""From which addresses a machine may be reached."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from infra.problems import RefusedError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MOST_ADDRESSES = {4: 2 ** (32 - 8), 6: 2 ** (128 - 16)}  # what a /8 and a /16 hold
_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_MAPPED = ipaddress.ip_network("::ffff:0:0/96")  # RFC 4291, section 2.5.5.2


def check_cidr(text: str) -> str:
    """The network in its shortest form. Raises RefusedError for all but a strict CIDR."""
    address, slash, prefix = text.partition("/")
    try:
        interface = ipaddress.ip_interface(text)
    except ValueError:
        what = f"{text!r:.80} is not an address range"
        raise RefusedError(what, "write it as 203.0.113.0/24 or 2001:db8::/32") from None
    network = interface.network
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

    Loopback does not count: no packet from outside bears such an address.
    """
    networks = [ipaddress.ip_network(cidr) for cidr in cidrs if not is_loopback(cidr)]
    return any(
        sum(network.num_addresses for network in _collapse(networks, version)) > most
        for version, most in _MOST_ADDRESSES.items()
    )


def collapse(cidrs: Iterable[str]) -> list[str]:
    """The same addresses in the fewest networks, IPv4 first, in ascending order."""
    networks = [ipaddress.ip_network(cidr) for cidr in cidrs]
    return [str(network) for version in (4, 6) for network in _collapse(networks, version)]


def _collapse(networks: Iterable[Network], version: int) -> list[Network]:
    same = [network for network in networks if network.version == version]
    return list(ipaddress.collapse_addresses(same))  # type: ignore[type-var]
