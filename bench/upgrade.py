"""An upgrade of a machine that lives, against what went before: the machine made anew."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from bench.table import Row
from tests.support.bundles import SSHD, changed
from tests.support.machine import Machine

GOAL = 0.25
TIMES = 3


def measure() -> list[Row]:
    """One row; sshd's rules and nothing else differ."""
    with tempfile.TemporaryDirectory(prefix="secondlock-bench-") as folder:
        machine = Machine(Path(folder))
        try:
            machine.boot()
            machine.enlist("key+totp", 1)
            machine.apply()
            machine.wait_for("systemctl is-active ssh.service")
            upgraded = statistics.median(_upgrade(machine, number) for number in range(TIMES))
            started = time.monotonic()
            machine.replace()
            machine.apply()
            anew = time.monotonic() - started
        finally:
            machine.end()
    return [
        Row(
            f"upgrade of a machine that lives, seconds (median of {TIMES})",
            f"{upgraded:.1f}",
            f"{anew:.1f} (the same machine made anew, with its roster)",
            upgraded / anew,
            GOAL,
        )
    ]


def _upgrade(machine: Machine, number: int) -> float:
    later = changed(SSHD, "# Two", f"# {number}: Two")
    started = time.monotonic()
    report = machine.upgrade(later)
    assert report["error"] is None, report
    return time.monotonic() - started
