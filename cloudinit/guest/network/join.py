"""Give a workspace that has just started its link to the machine, and by it to the world.

Its first process has a network of its own with a loopback and nothing else. What its owner's
tunnels ask of the machine's loopback arrives by the link (firewall/nftables.conf.j2), from the
machine's end, and is led on to the workspace's own loopback: so `ssh -L 6006:localhost:6006` finds
what listens there, as on a machine of one's own. Nobody else sends from that address.
"""

import pwd
import sys
from pathlib import Path

from guest.network import addresses
from guest.system import GuestError, run
from guest.workspace import docker
from guest.workspace.containers import container_name

SYSCTL = Path("/proc/sys/net/ipv4")
LINKS = Path("/sys/class/net")

_INSIDE = """\
table ip secondlock {{
    chain tunnels {{
        type nat hook prerouting priority dstnat;
        iifname eth0 ip saddr {machine} meta l4proto tcp dnat to 127.0.0.1
    }}
    chain input {{
        type filter hook input priority filter; policy drop;
        iifname lo accept
        iifname eth0 ct state established,related accept
        iifname eth0 ct status dnat accept
    }}
}}
"""

_THERE = """\
addr add {there}/31 dev eth0
link set eth0 up
route add default via {here}
"""
_HERE = """\
addr add {here}/31 dev {link}
link set {link} up
"""


def main() -> int:
    """`join USER`."""
    account = pwd.getpwnam(sys.argv[1])
    try:
        _join(account.pw_uid, _first_process(account.pw_name))
    except GuestError as error:
        print(f"no network for the workspace of {account.pw_name}: {error}", file=sys.stderr)
        return 1
    return 0


def _first_process(user: str) -> int:
    found = docker.call("GET", f"/containers/{container_name(user)}/json", missing_ok=True)
    if found is None or not found["State"]["Running"]:
        raise GuestError("it does not run")
    return int(found["State"]["Pid"])


def _join(uid: int, process: int) -> None:
    link, here = addresses.link(uid), addresses.machine_end(uid)
    if (LINKS / link).exists():  # of a try that was cut off
        run("ip", "link", "delete", link)
    run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(process))
    (SYSCTL / "ip_forward").write_text("1")
    (SYSCTL / "conf" / link / "route_localnet").write_text("1")
    inside = ("nsenter", f"--net=/proc/{process}/ns/net")
    run(*inside, "sh", "-c", f"echo 1 >{SYSCTL}/conf/eth0/route_localnet")
    run(*inside, "nft", "-f", "-", stdin=_INSIDE.format(machine=here))
    there = _THERE.format(here=here, there=addresses.workspace(uid))
    run(*inside, "ip", "-batch", "-", stdin=there)
    # Last: a link that is up is how a login knows that all of this is done.
    run("ip", "-batch", "-", stdin=_HERE.format(here=here, link=link))
