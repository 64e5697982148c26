"""Port 8888, which starts a researcher's Jupyter when it is first used.

On a shared machine each has one, on an address of their own: the firewall leads them there.
"""

import socket
from collections.abc import Mapping
from pathlib import Path

from guest import paths, services
from guest.network import addresses
from guest.system import folder, run, write

PORT = 8888
TCP = Path("/proc/net/tcp")
LISTENS = "0A"  # TCP_LISTEN there
LOOPBACK = "127.0.0.1"  # as the unit has it


def _unit(name: str) -> str:
    return f"secondlock-jupyter-proxy@{name}.socket"


def offer(people: Mapping[str, int | None], at_once: bool = True) -> None:
    """The ports of these researchers: from every boot on, and at once.

    With each the uid where they share the machine, None where the machine is theirs.
    """
    at = {}
    for name, member in people.items():
        at[name] = LOOPBACK if member is None else addresses.jupyter(member)
        if member is not None:
            _move(name, at[name])
    services.at_boot("sockets.target", *map(_unit, people))
    # systemd takes a twentieth of a second for each that it is asked for, open or not.
    there = _listening() if at_once else set()
    shut = [_unit(name) for name in people if at[name] not in there]
    if at_once and shut:
        run("systemctl", "start", *shut)


def _listening() -> set[str]:
    """The addresses that somebody listens on at PORT (proc_pid_net(5))."""
    lines = [line.split() for line in TCP.read_text().splitlines()[1:]]
    ours = [words[1].partition(":") for words in lines if words[3] == LISTENS]
    # The address as the kernel holds it, printed as a number of this (little-endian) processor's.
    return {
        socket.inet_ntoa(bytes.fromhex(address)[::-1])
        for address, _, number in ours
        if int(number, 16) == PORT
    }


def _move(name: str, address: str) -> None:
    """To an address of its own (systemd.unit(5): what stands in NAME.d adds to a unit).

    systemd reads that when it first hears of the unit, and nobody's address ever changes.
    """
    place = paths.UNITS / f"{_unit(name)}.d"
    folder(place, 0o755)
    listen = f"[Socket]\nListenStream=\nListenStream={address}:{PORT}\n"
    write(place / "address.conf", listen, 0o644)


def stop(name: str) -> None:
    """End the Jupyter that runs; the port stays the researcher's."""
    units = [f"secondlock-jupyter{part}@{name}.service" for part in ("-proxy", "")]
    run("systemctl", "kill", "--signal=KILL", *units, check=False)
    run("systemctl", "reset-failed", *units, check=False)


def withdraw(name: str) -> None:
    """Take the port back from a researcher who is gone."""
    (paths.UNITS / "sockets.target.wants" / _unit(name)).unlink(missing_ok=True)
    run("systemctl", "stop", _unit(name), check=False)
