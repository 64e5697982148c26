"""Port 8888 of a dedicated machine, which starts its researcher's Jupyter when it is first used."""

from guest import paths, services
from guest.system import run


def _unit(name: str) -> str:
    return f"secondlock-jupyter-proxy@{name}.socket"


def offer(name: str, at_once: bool = True) -> None:
    """The port is this researcher's: from every boot on, and at once."""
    services.at_boot("sockets.target", _unit(name))
    if at_once:
        run("systemctl", "start", _unit(name))


def stop(name: str) -> None:
    """End the Jupyter that runs; the port stays the researcher's."""
    units = [f"secondlock-jupyter{part}@{name}.service" for part in ("-proxy", "")]
    run("systemctl", "kill", "--signal=KILL", *units, check=False)
    run("systemctl", "reset-failed", *units, check=False)


def withdraw(name: str) -> None:
    """Take the port back from a researcher who is gone."""
    (paths.UNITS / "sockets.target.wants" / _unit(name)).unlink(missing_ok=True)
    run("systemctl", "stop", _unit(name), check=False)
