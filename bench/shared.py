"""A machine that many share: how soon a change of its roster holds, and what each one costs it."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.table import Row
from tests.support.shared import SEATS, SharedMachine

if TYPE_CHECKING:
    from tests.support.people import Person

MANY = 200
APPLIED = 5.0
"""Seconds from the roster's arrival until it holds: the goal."""
WORKSPACE, JUPYTER = 25.0, 180.0
"""MiB that an idle one takes: the goals."""
MEASURED = 4
SETTLES = 20  # seconds after which what was started is idle

_MEMORY = "awk '/^MemAvailable/ {print $2}' /proc/meminfo"


def measure() -> list[Row]:
    """Two rows of rosters, and two of memory."""
    with tempfile.TemporaryDirectory(prefix="secondlock-bench-") as folder:
        machine = SharedMachine(Path(folder))
        try:
            machine.boot()
            people = machine.add(count=SEATS)
            machine.apply()
            rows = _memory(machine, people[:MEASURED])
            rows.append(_roster(machine, people[0], SEATS))
            machine.add(count=MANY - SEATS)
            machine.apply()
            rows.append(_roster(machine, people[0], MANY))
        finally:
            machine.end()
    return rows


def _roster(machine: SharedMachine, person: Person, count: int) -> Row:
    """One has a new phone; nothing else changes."""
    taken = []
    for _ in range(3):
        started = time.monotonic()
        person = machine.rotate(person)
        taken.append(time.monotonic() - started)
    return Row(
        f"roster of {count} with a change until it holds, seconds (the best of 3)",
        f"{min(taken):.1f}",
        f"{APPLIED:.0f} (as promised; emulated processors here)",
        min(taken) / APPLIED,
        1.0,
    )


def _memory(machine: SharedMachine, people: list[Person]) -> list[Row]:
    before = _available(machine)
    for person in people:
        result = machine.client.login(person, "true", code=person.emergency_codes[0], timeout=600)
        assert result.exit == 0, result.errors
    time.sleep(SETTLES)
    idle = _available(machine)
    for person in people:
        machine.succeed(f"systemctl start secondlock-jupyter@{person.name}.service", timeout=600)
    time.sleep(SETTLES)
    jupyter = _available(machine)
    return [
        _each("workspace", (before - idle) / len(people), WORKSPACE),
        _each("Jupyter", (idle - jupyter) / len(people), JUPYTER),
    ]


def _each(what: str, mib: float, goal: float) -> Row:
    return Row(
        f"memory of an idle {what}, MiB (of {MEASURED})",
        f"{mib:.0f}",
        f"{goal:.0f} (as promised)",
        mib / goal,
        1.0,
    )


def _available(machine: SharedMachine) -> float:
    """MiB that nobody needs (proc_meminfo(5)), without what is only cached of files."""
    machine.succeed("sync; echo 3 >/proc/sys/vm/drop_caches")
    return int(machine.succeed(_MEMORY)) / 1024
