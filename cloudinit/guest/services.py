"""What runs on a machine beside people's work, as this bundle's facets say it (bundle.json)."""

import functools
import json
from pathlib import Path
from typing import Any

from guest import paths
from guest.system import GuestError, folder, run, write


@functools.cache
def about() -> dict[str, Any]:
    """What the facets of this program's own bundle say of it (cloudinit/facets.py)."""
    found: dict[str, Any] = json.loads((paths.PROGRAMS.parent / "bundle.json").read_text())
    return found


def methods() -> dict[str, dict[str, Any]]:
    """The ways to log in, by name: `group` and PAM `service`, and whether sshd checks the first
    factor itself (`by_sshd`)."""
    found: dict[str, dict[str, Any]] = about()["methods"]
    return found


def at_boot(target: str, *units: str) -> None:
    """Have a target want these units from the next boot on.

    By the links that `systemctl add-wants` makes: under emulation that takes a third of a second
    each time, and `systemctl enable` seconds for a unit with an old init script beside it.
    """
    wants = paths.UNITS / f"{target}.wants"
    folder(wants, 0o755)
    for unit in units:
        if not (wants / unit).is_symlink():
            (wants / unit).symlink_to(_definition(unit))


def _definition(unit: str) -> Path:
    """The file of a unit, or of the template that it is an instance of (systemd.unit(5))."""
    name, _, instance = unit.partition("@")
    file = f"{name}@.{instance.rpartition('.')[2]}" if instance else unit
    for place in (paths.UNITS, paths.VENDOR_UNITS):
        if (place / file).exists():
            return place / file
    raise GuestError(f"this machine has no unit {file}")


def start_at_boot() -> None:
    """Have every boot start what lets people in, and what runs beside it."""
    units = ["ssh.service", *about()["boots"], *about()["runs"]]
    at_boot("multi-user.target", *(unit for unit in units if not unit.endswith(".timer")))
    at_boot("timers.target", *(unit for unit in units if unit.endswith(".timer")))


def start() -> list[str]:
    """Have what runs beside sshd run; what does not start, as faults."""
    faults = []
    for unit in about()["runs"]:
        try:
            run("systemctl", "start", unit)
        except GuestError as fault:
            # One that has nothing to do here (systemd.service(5), ExecCondition=) is no fault.
            if run("systemctl", "is-active", unit, check=False).strip() != "inactive":
                faults.append(str(fault))
    return faults


def prepare() -> bool:
    """Once in a machine's life: have every boot start its services; True when that was now."""
    if paths.PREPARED.exists():
        return False
    start_at_boot()
    write(paths.PREPARED, "", 0o644)
    return True


def settle() -> None:
    """In the first boot: start the services, which read what cloud-init has written."""
    again = ("systemd-resolved.service", "chrony.service", "systemd-sysctl.service")
    run("systemctl", "restart", "--no-block", *again)
    run("systemctl", "start", "--no-block", *about()["runs"])
    # Logins cannot: /usr is read-only for what sshd starts.
    run("/usr/bin/python3", "-I", "-m", "compileall", "-q", str(paths.PROGRAMS))
    # Nothing of this boot needs it, and a login that meets it waits for seconds. Nor is journald
    # restarted, for which all that log would wait: its usual limits do until the next boot.
    run("systemd-run", "--quiet", "--collect", "--on-active=3min", "systemctl", "daemon-reload")
