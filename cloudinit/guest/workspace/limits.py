"""What a workspace has used up: told before someone enters in vain, where runc would show a page of
Go's stack (its threads count as the workspace's)."""

from pathlib import Path

from guest.system import CGROUPS

MIB = 1024 * 1024
# What `crun exec` itself and a shell take there.
PROCESSES, MEMORY = 32, 32 * MIB


def group(container: str) -> str:
    """The container's control group (Docker's driver `systemd`)."""
    return f"system.slice/docker-{container}.scope"


def used_up(container: str) -> str | None:
    """`processes` or `memory` where too little is left to enter, with the numbers; else None."""
    place = CGROUPS / group(container)
    try:
        running, most = (_number(place / f"pids.{name}") for name in ("current", "max"))
        if running + PROCESSES > most:
            return f"of the {most} processes that may run in it, {running} do"
        limit = _number(place / "memory.max")
        if _number(place / "memory.current") + MEMORY > limit and held(container) + MEMORY > limit:
            return f"its memory of {limit // MIB} MiB is used up"
    except (OSError, ValueError):  # no such limit
        return None
    return None


def held(container: str) -> int:
    """Memory that the kernel cannot take back and end nothing, bytes; OSError where none runs."""
    place = CGROUPS / group(container)
    return _number(place / "memory.current") - _given_back(place)


def _number(file: Path) -> int:
    return int(file.read_text())


def _given_back(place: Path) -> int:
    """What the kernel takes back from caches as soon as a program wants it, bytes."""
    lines = (place / "memory.stat").read_text().splitlines()
    known = {name: int(value) for name, value in (line.split() for line in lines)}
    return known["active_file"] + known["inactive_file"] + known.get("slab_reclaimable", 0)
