"""Which zone and subnet a machine lies in, and what fits: plain arithmetic, no cloud is asked."""

from __future__ import annotations

import hashlib
import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT_GIB = 16
"""Of the baked image: the smallest root disk that a machine made from it can have."""

RULES = 60
"""Networks that one security group takes (Amazon VPC quotas, "rules per security group")."""

_LETTERS = "abcdefgh"  # of zones; see names.ZONE_PATTERN
_RESERVED = 5  # addresses that AWS keeps in each subnet (Amazon VPC User Guide, "Subnet sizing")


def first_zone(machine: str, zones: Sequence[str]) -> str:
    """Where a new machine's data goes: rendezvous hashing, so that a new zone moves few."""
    return max(zones, key=lambda zone: hashlib.sha256(f"{machine} {zone}".encode()).digest())


def subnet_cidr(vpc: str, zone: str, *, public: bool) -> str:
    """A sixteenth of the VPC, by the zone's letter: other zones coming or going move none."""
    index = 2 * _LETTERS.index(zone[-1]) + (0 if public else 1)
    return str(list(ipaddress.ip_network(vpc).subnets(prefixlen_diff=4))[index])


def room(subnet: str) -> int:
    """How many machines a subnet takes."""
    return ipaddress.ip_network(subnet).num_addresses - _RESERVED
