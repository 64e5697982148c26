"""The machine's NVIDIA GPUs: which there are, whether Docker can hand them on, and how."""

import re
from pathlib import Path
from typing import Any

from guest.system import run

PCI = Path("/sys/bus/pci/devices")
DRIVER = Path("/proc/driver/nvidia")
# What UNIT writes: a list of devices and libraries (Container Device Interface, "CDI JSON").
LIST = Path("/run/cdi/nvidia.yaml")
UNIT = "secondlock-gpu.service"
KIND = "nvidia.com/gpu"
ALL = f"{KIND}=all"
# Of a device in that list: a GPU's number, or with a colon that of a slice of it (MIG).
NAME = re.compile(r"""\bname"?:\s*["']?([0-9]+(?::[0-9]+)?)\b""")


def count() -> int:
    """How many the PCI bus has: vendor NVIDIA, class display controller (PCI Code and ID)."""
    found = 0
    for device in PCI.glob("*"):
        try:
            vendor, kind = ((device / name).read_text() for name in ("vendor", "class"))
        except OSError:
            continue
        found += vendor.strip() == "0x10de" and kind.startswith("0x03")
    return found


def offered(gpus: tuple[int, ...] | None = None) -> list[str]:
    """The CDI names of what a workspace that is made now gets; none where there is no list.

    All that the machine has, or of a member of a shared one those with the numbers in `gpus`.
    """
    try:
        listed = LIST.read_text()
    except OSError:
        return []
    if gpus is None:
        return [ALL]
    names = sorted(set(NAME.findall(listed)), key=lambda name: [*map(int, name.split(":"))])
    return [f"{KIND}={names[each]}" for each in gpus if each < len(names)]


def prepare() -> None:
    """Have a list that is missing made: no workspace is to be made without its GPU for that."""
    if not LIST.exists() and count():
        run("systemctl", "start", UNIT, check=False)


def requests(names: list[str]) -> list[dict[str, Any]]:
    """CDI names as Docker's API takes them (Engine API, "DeviceRequest")."""
    return [{"Driver": "cdi", "DeviceIDs": names}] if names else []


def held(definition: dict[str, Any]) -> list[str]:
    """The CDI names in a container's HostConfig."""
    asked = definition.get("DeviceRequests") or []
    return [name for each in asked for name in each.get("DeviceIDs") or []]


def complaint(names: list[str], gpus: tuple[int, ...] | None = None) -> str | None:
    """What to tell a person whose workspace has `names`, where they shall have more."""
    if names or gpus == () or not count():
        return None
    if offered(gpus):
        return (
            "your workspace was made before the GPU could be used, and has none. "
            "End all that runs in it (other logins, tmux, Jupyter), then log in again."
        )
    return "this machine's GPU cannot be used now: you are in without it. Tell your admin."


def report() -> dict[str, Any] | None:
    """For the status: None where there is no GPU. NVIDIA's driver says the rest in /proc."""
    there = count()
    if not there:
        return None
    return {
        "count": there,
        "models": sorted(filter(None, map(_model, DRIVER.glob("gpus/*/information")))),
        "driver": _first(r"\b(\d{3}\.\d[\d.]*)\b", DRIVER / "version"),
        "listed": bool(offered()),
    }


def _model(information: Path) -> str | None:
    return _first(r"(?m)^Model:\s*(.*\S)", information)


def _first(pattern: str, file: Path) -> str | None:
    try:
        match = re.search(pattern, file.read_text())
    except OSError:
        return None
    return match and match[1]
