"""How full the disks are, as the status line has it."""

import contextlib
import os
from pathlib import Path

from guest import paths

DISKS = {"system": Path("/"), "state": paths.STATE, "homes": paths.HOME}


def report() -> dict[str, float]:
    """The used part of each, of what is not kept for root: 0 to 1 (df(1) counts so too)."""
    found = {}
    for name, place in DISKS.items():
        with contextlib.suppress(OSError):
            space = os.statvfs(place)
            used = space.f_blocks - space.f_bfree
            found[name] = round(used / max(used + space.f_bavail, 1), 3)
    return found
