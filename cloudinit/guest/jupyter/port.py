"""Port 8888, which starts a researcher's Jupyter when it is first used.

On a shared machine each has one, on an address of their own: the firewall leads them there.
"""

from collections.abc import Mapping

from guest import paths, services
from guest.network import addresses
from guest.system import folder, run, write

PORT = 8888


def _unit(name: str) -> str:
    return f"secondlock-jupyter-proxy@{name}.socket"


def offer(people: Mapping[str, int | None], at_once: bool = True) -> None:
    """The ports of these researchers: from every boot on, and at once.

    With each the uid where they share the machine, None where the machine is theirs.
    """
    for name, member in people.items():
        if member is not None:
            _move(name, addresses.jupyter(member))
    units = [_unit(name) for name in people]
    services.at_boot("sockets.target", *units)
    if at_once and units:
        run("systemctl", "start", *units)


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
