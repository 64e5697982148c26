"""The size of what is ours on a machine, and of the user-data that gets it."""

from __future__ import annotations

from bench.table import Row
from cloudinit.boot import MachineValues, render_user_data
from cloudinit.bundle import bundle

LIMIT = 16 * 1024
"""EC2's of user-data before base64, bytes (EC2 User Guide, "Run commands at launch")."""


def measure() -> list[Row]:
    """Two rows; a script of one's own would have to be in user-data as a whole."""
    size = len(render_user_data(MachineValues("laboratory", "researcher", "aws")))
    whole = len(bundle("aws").data)
    return [
        Row("user-data, bytes", str(size), f"{LIMIT} (EC2's limit)", size / LIMIT, 0.25),
        Row("bundle, bytes", str(whole), f"{LIMIT} (as user-data it would be too large)", None),
    ]
