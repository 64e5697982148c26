"""What one member of a shared machine may take of it, as the roster says; none on one's own."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from guest import paths
from guest.reading import is_number, need
from guest.system import write

MIB = 1024 * 1024
MOST_GPUS = 64


@dataclass(frozen=True)
class Share:
    """`memory` and `home` in MiB; without `cpus` there is no limit but what others leave."""

    gpus: tuple[int, ...]
    """Which, by their numbers on the machine."""
    memory: int
    pids: int
    home: int
    cpus: float | None = None


def read(value: Any, name: str) -> Share | None:
    """That of a roster's entry. Raises GuestError, which never quotes a value."""
    if value is None:
        return None
    need(isinstance(value, dict), f"the share of {name} is not a mapping")
    gpus, cpus = value.get("gpus"), value.get("cpus")
    need(isinstance(gpus, list), f"the GPUs of {name} are not a list")
    sound = all(is_number(each, (int,)) and each < MOST_GPUS for each in gpus)
    need(sound and len(set(gpus)) == len(gpus), f"the GPUs of {name} are malformed")
    need(cpus is None or (is_number(cpus, (int, float)) and cpus > 0), _malformed("cpus", name))
    for field in ("memory", "pids", "home"):
        number = value.get(field)
        need(is_number(number, (int,)) and 0 < number < 2**32, _malformed(field, name))
    return Share(tuple(gpus), value["memory"], value["pids"], value["home"], cpus)


def _malformed(field: str, name: str) -> str:
    return f"{field} in the share of {name} is malformed"


def keep(name: str, share: Share | None) -> bool:
    """Have the machine know a member's share; True when it is another than before."""
    file = paths.WORKSPACES / name / "share"
    if share is None:
        there = file.exists()
        file.unlink(missing_ok=True)
        return there
    return write(file, json.dumps(asdict(share), sort_keys=True) + "\n", 0o644)


def of(name: str) -> Share | None:
    """What the machine knows of a member."""
    try:
        known = json.loads((paths.WORKSPACES / name / "share").read_text())
    except FileNotFoundError:
        return None
    return Share(**{**known, "gpus": tuple(known["gpus"])})
