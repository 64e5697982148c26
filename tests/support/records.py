"""A machine's record of who did what, as it arrives in a file of the host's."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from cloudinit.guest.audit import chain
from infra.local import audit

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.machine import Machine

WITHIN = 120  # seconds, in which what happened is off the machine: half of it, where it is not slow


def records(machine: Machine) -> list[dict[str, Any]]:
    """All that has arrived, each once."""
    found: dict[int, dict[str, Any]] = {}
    for _, line in audit.lines(machine.audit):
        if record := chain.parse(line):
            found[record["seq"]] = record
    return list(found.values())


def arrived(
    machine: Machine, fits: Callable[[dict[str, Any]], object], within: float = WITHIN
) -> dict[str, Any]:
    """The first record that fits, once it is there."""
    deadline = time.monotonic() + within
    while True:
        found = records(machine)
        for record in found:
            if fits(record):
                return record
        assert time.monotonic() < deadline, found[-20:]
        time.sleep(1)
