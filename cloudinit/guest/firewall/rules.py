"""Which networks reach the door."""

import ipaddress
from collections.abc import Sequence

from guest import paths
from guest.network import addresses
from guest.system import run, write

# QEMU's user network: whatever reaches the forwarded port of the host's loopback comes from here.
LOCAL_GATEWAY = "10.0.2.2/32"


def _elements(name: str, networks: list[str]) -> str:
    if not networks:
        return ""
    return f"add element inet secondlock {name} {{ {', '.join(networks)} }}\n"


def _doors(members: Sequence[int]) -> str:
    """Where the connections of a shared machine's people lead, given their uids."""
    if not members:
        return ""
    to = {
        "workspaces": [f"{uid} : {addresses.workspace(uid)}" for uid in members],
        "jupyters": [f"{uid} : {addresses.jupyter(uid)}" for uid in members],
        "members": [str(uid) for uid in members],
    }
    return "".join(_elements(name, each) for name, each in to.items())


def _let_in(door: str, networks: Sequence[str], target: str) -> str:
    """The two sets of a door's, IPv4 and IPv6."""
    known = [ipaddress.ip_network(each) for each in networks]
    four = [str(each) for each in known if each.version == 4]
    six = [str(each) for each in known if each.version == 6]
    if target == "local":
        four.append(LOCAL_GATEWAY)
    return _elements(f"{door}4", four) + _elements(f"{door}6", six)


def let_in(
    allowed_from: tuple[str, ...],
    web_from: tuple[str, ...],
    target: str,
    members: Sequence[int],
    asker: tuple[int, int] | None = None,
) -> bool:
    """Let in these networks and no others, to SSH and to HTTPS; True when that is a change.

    `members` are the uids of those who share the machine, if any do; `asker` is the uid of who
    speaks to an OpenID provider, and the one port by which.
    """
    wanted = _let_in("allowed", allowed_from, target) + _doors(members)
    if web_from:
        wanted += _let_in("web", web_from, target)
    if asker is not None:
        wanted += _elements("askers", [f"{asker[0]}"]) + _elements("providers", [f"{asker[1]}"])
    if members:
        run(*addresses.NOWHERE)
    changed = write(paths.ALLOWED, wanted, 0o644)
    run("nft", "-f", "/etc/nftables.conf")
    return changed
