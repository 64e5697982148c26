"""Who has which address on a shared machine. They follow from uids, which are never given twice.

None of them leaves the machine: a workspace's are of the shared address space (RFC 6598), two to
each (RFC 3021), and its Jupyter's port has one of the machine's loopback.
"""

import ipaddress

from guest.roster.state import FIRST_UID

WORKSPACES = ipaddress.ip_network("100.64.0.0/10")
JUPYTERS = ipaddress.ip_network("127.64.0.0/10")
MOST = 2**21 - 1
# The address of a workspace that does not run is the machine's own, whose firewall answers that
# nothing is there: it leads neither out nor into silence. In the table `main`, where the narrower
# route of a link goes first. The same stands in nftables.service.conf, for boots.
NOWHERE = ("ip", "route", "replace", "local", str(WORKSPACES), "dev", "lo", "table", "main")


def link(uid: int) -> str:
    """The name of the machine's end of a workspace's link."""
    return f"sl{uid}"


def machine_end(uid: int) -> str:
    """The address of that end."""
    return str(WORKSPACES[2 * _number(uid)])


def workspace(uid: int) -> str:
    """The address of the workspace's end."""
    return str(WORKSPACES[2 * _number(uid) + 1])


def jupyter(uid: int) -> str:
    """The address on the machine's loopback of a member's port 8888."""
    return str(JUPYTERS[_number(uid)])


def _number(uid: int) -> int:
    number = uid - FIRST_UID + 1
    if not 0 < number <= MOST:
        raise ValueError(f"no address for uid {uid}")
    return number
