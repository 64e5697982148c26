"""A person's gate: what leads from the HTTPS door to their Jupyter, as long as they are in."""

import json
import shutil
from typing import Any

from guest.gateway import networks, places
from guest.system import GuestError, folder, run, write

# What the hub tells a gate: its own part of OAuth, and nothing that a gate could be led astray by.
TOLD = ("token", "client", "hub", "callback")
MOST = 512  # characters of each


def open_gate(name: str, told: Any) -> None:
    """Start the person's Jupyter, where it does not run, and the gate before it.

    Raises GuestError where that fails, and for anything else than TOLD.
    """
    sound = isinstance(told, dict) and sorted(told) == sorted(TOLD)
    if not sound or any(not isinstance(each, str) or len(each) > MOST for each in told.values()):
        raise GuestError("what the hub says of a gate is malformed")
    folder(places.GATES, 0o700)
    known = {**told, "networks": networks.of(name)}
    write(places.GATES / name, json.dumps(known), 0o600)
    try:
        run("systemctl", "restart", places.gate(name))
    except GuestError:
        shut(name)
        raise GuestError("Jupyter did not start in the workspace") from None


def is_open(name: str) -> bool:
    """Whether it leads anywhere."""
    state = run("systemctl", "is-active", places.gate(name), check=False).strip()
    return state in {"active", "activating"}


def opened() -> list[str]:
    """Whose are open, or being opened."""
    return sorted(each.name for each in places.GATES.iterdir()) if places.GATES.is_dir() else []


def shut(name: str) -> None:
    """End it at once, with all connections through it; Jupyter goes on, and all that it runs."""
    run("systemctl", "kill", "--signal=KILL", places.gate(name), check=False)
    run("systemctl", "stop", places.gate(name), check=False)
    run("systemctl", "reset-failed", places.gate(name), check=False)
    (places.GATES / name).unlink(missing_ok=True)


def forget(name: str) -> None:
    """Nothing of it is left."""
    shutil.rmtree(places.OPEN / name, ignore_errors=True)
