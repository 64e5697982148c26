"""From where each person may come by HTTPS: the firewall knows only those of all together."""

import ipaddress
import json
from contextlib import suppress

from guest.gateway import places
from guest.system import folder, write


def bind(name: str, networks: tuple[str, ...]) -> bool:
    """Let the person come from these and no others; True where that is a change.

    Raises GuestError.
    """
    folder(places.STATE, 0o700)
    folder(places.NETWORKS, 0o700)
    return write(places.NETWORKS / name, json.dumps([*networks]) + "\n", 0o600)


def forget(name: str) -> bool:
    """The person comes from nowhere; True where that is a change."""
    there = (places.NETWORKS / name).exists()
    (places.NETWORKS / name).unlink(missing_ok=True)
    return there


def of(name: str) -> list[str]:
    """Theirs; empty: nowhere."""
    with suppress(OSError, ValueError):
        return [str(each) for each in json.loads((places.NETWORKS / name).read_text())]
    return []


def spelled(said: str) -> str:
    """An address as the library spells it: it goes into lines that others are told apart by."""
    try:
        return str(ipaddress.ip_address(said))
    except ValueError:
        return "-"


def may_come_from(name: str, address: str) -> bool:
    """Whether it is in the person's networks."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(known in ipaddress.ip_network(each) for each in of(name))
