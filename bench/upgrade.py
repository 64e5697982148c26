"""An upgrade of a machine that lives, against what went before: the machine made anew.

And how long its door stays shut meanwhile, to who knocks twenty times a second.
"""

from __future__ import annotations

import socket
import statistics
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bench.table import Row
from tests.support.bundles import SSHD, changed
from tests.support.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

GOAL = 0.25
SHUT_GOAL = 2.0
TIMES = 3
PAUSE = 0.05  # seconds between two knocks
PATIENCE = 5.0  # seconds


def measure() -> list[Row]:
    """Two rows; sshd's rules and nothing else differ."""
    with tempfile.TemporaryDirectory(prefix="secondlock-bench-") as folder:
        machine = Machine(Path(folder))
        try:
            machine.boot()
            machine.enlist("key+totp", 1)
            machine.apply()
            machine.wait_for("systemctl is-active ssh.service")
            with _knocking(machine) as shut:
                upgraded = statistics.median(_upgrade(machine, number) for number in range(TIMES))
            with _knocking(machine) as restart:
                machine.succeed("systemctl restart ssh.service")
                machine.wait_for("systemctl is-active ssh.service")
                time.sleep(PATIENCE)
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
        ),
        Row(
            f"longest that the door is shut meanwhile, seconds (of {TIMES} upgrades)",
            f"{max(shut):.1f}",
            f"{max(restart):.1f} (sshd restarted)",
            max(shut) / max(restart),
            SHUT_GOAL,
        ),
    ]


@contextmanager
def _knocking(machine: Machine) -> Iterator[list[float]]:
    """How long at a time nobody was greeted, seconds; all of them when it ends."""
    over, waits = threading.Event(), list[float]()

    def knock() -> None:
        last = time.monotonic()
        while not over.wait(PAUSE):
            if _greets(machine.client.port):
                waits.append(time.monotonic() - last)
                last = time.monotonic()
        waits.append(time.monotonic() - last)

    knocker = threading.Thread(target=knock)
    knocker.start()
    try:
        yield waits
    finally:
        over.set()
        knocker.join()


def _greets(port: int) -> bool:
    """Whether sshd says its first words (RFC 4253, section 4.2)."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), PATIENCE) as door:
        return door.recv(8) == b"SSH-2.0-"
    return False


def _upgrade(machine: Machine, number: int) -> float:
    later = changed(SSHD, "# Two", f"# {number}: Two")
    started = time.monotonic()
    report = machine.upgrade(later)
    assert report["error"] is None, report
    return time.monotonic() - started
