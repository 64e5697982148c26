"""Which networks reach the door."""

import ipaddress

from guest import paths
from guest.system import run, write

# QEMU's user network: whatever reaches the forwarded port of the host's loopback comes from here.
LOCAL_GATEWAY = "10.0.2.2/32"


def _elements(name: str, networks: list[str]) -> str:
    if not networks:
        return ""
    return f"add element inet secondlock {name} {{ {', '.join(networks)} }}\n"


def let_in(allowed_from: tuple[str, ...], target: str) -> bool:
    """Let in these networks and no others; True when that is a change."""
    networks = [ipaddress.ip_network(each) for each in allowed_from]
    four = [str(each) for each in networks if each.version == 4]
    six = [str(each) for each in networks if each.version == 6]
    if target == "local":
        four.append(LOCAL_GATEWAY)
    changed = write(paths.ALLOWED, _elements("allowed4", four) + _elements("allowed6", six), 0o644)
    run("nft", "-f", "/etc/nftables.conf")
    return changed
