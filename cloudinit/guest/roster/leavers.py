"""What becomes of the home of somebody who has left a shared machine."""

from collections.abc import Mapping
from pathlib import Path

from guest import paths
from guest.system import folder, run

# Root's alone, on the home volume: a move there is done at once, however much there is.
ARCHIVE = paths.HOME / ".archive"
LEAVING = paths.HOME / ".leaving"


def settle(homes: Mapping[str, str]) -> list[str]:
    """Archive or delete homes, by name; what was done, in words. Of one that is gone: nothing.

    What is deleted goes out of sight at once, and from the disk in the background.
    """
    done = []
    for name, what in homes.items():
        place = ARCHIVE if what == "archive" else LEAVING
        moved = [_move(part, place, name) for part in _parts(name)]
        if any(moved):
            done.append(f"{name}: home {what}d")
    if LEAVING.is_dir() and any(LEAVING.iterdir()):
        # One at a time, also when a machine went down in the middle of the last one.
        remove = ("rm", "--recursive", "--force", "--one-file-system", str(LEAVING))
        unit = ("--quiet", "--collect", "--no-block", "--unit=secondlock-leaving")
        run("systemd-run", *unit, *remove, check=False)
    return done


def _parts(name: str) -> tuple[Path, ...]:
    """All that is theirs on the home volume."""
    return (paths.HOME / name, paths.HOME / ".tmp" / name, paths.SOCKETS / name)


def _move(part: Path, place: Path, name: str) -> bool:
    if not part.is_dir() or part.is_symlink():
        return False
    folder(place, 0o700)
    number, there = 0, place / f"{name}-{part.parent.name.strip('.')}"
    while there.exists():  # of an earlier time
        number += 1
        there = place / f"{name}-{part.parent.name.strip('.')}.{number}"
    part.rename(there)
    return True
