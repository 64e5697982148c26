"""Twenty people who log in at once: the slowest, against one alone who had a core to share."""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from bench.table import Row
from tests.support.machine import Machine

if TYPE_CHECKING:
    from tests.support.people import Person

PEOPLE = 20
GOAL = 3.0


def measure() -> list[Row]:
    """One row: up to the shell in each one's workspace, which runs already."""
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="secondlock-bench-") as folder:
        machine = Machine(Path(folder))
        try:
            machine.boot()
            people = machine.add(count=PEOPLE)
            machine.apply()
            for person in people:
                _login(machine, person, 0)  # its workspace is made
            alone = min(_login(machine, person, 1) for person in people[:3])
            with ThreadPoolExecutor(PEOPLE) as pool:
                together = max(pool.map(lambda person: _login(machine, person, 2), people))
        finally:
            machine.end()
    share = alone * PEOPLE / cores
    return [
        Row(
            f"{PEOPLE} people at once by key and code, the slowest, seconds",
            f"{together:.1f}",
            f"{share:.1f} ({PEOPLE} times one alone, shared by {cores} cores)",
            together / share,
            GOAL,
        )
    ]


def _login(machine: Machine, person: Person, number: int) -> float:
    """By an emergency code: one of the app's lasts for half a minute."""
    started = time.monotonic()
    code = person.emergency_codes[number]
    result = machine.client.login(person, "true", code=code, timeout=600)
    if result.exit != 0:
        raise RuntimeError(f"the login failed: {result.errors}")
    return time.monotonic() - started
