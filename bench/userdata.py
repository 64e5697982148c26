"""The size of user-data against EC2's limit."""

from __future__ import annotations

from bench.table import Row
from cloudinit.boot import LIMIT, MachineValues, render_user_data


def measure() -> list[Row]:
    """One row; bytes before base64."""
    size = len(render_user_data(MachineValues("laboratory", "researcher")))
    return [Row("user-data, bytes", str(size), f"{LIMIT} (EC2's limit)", size / LIMIT, 1.0)]
