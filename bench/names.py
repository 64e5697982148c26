"""Whether the time of a refusal tells who exists: names that there are, beside names there are not.

The stranger's clock runs from their request to sshd's answer. Names take turns, so that whatever
else the computer does disturbs both alike.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import paramiko

from bench.table import Row
from tests.support.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Refusal: TypeAlias = Callable[[paramiko.Transport, str], object]

GOAL = 1.1
ROUNDS = 20  # of wrong answers 30 a day are looked at, and then none
PATIENCE = 60  # seconds
WRONG = "000000"


def measure() -> list[Row]:
    """A row for each thing that a stranger can offer."""
    with tempfile.TemporaryDirectory(prefix="secondlock-bench-") as folder:
        machine = Machine(Path(folder))
        try:
            machine.boot()
            for factors in ("key+totp", "password+totp"):
                machine.enlist(factors, 1)
            machine.apply()
            # Who tries so often is banned.
            machine.succeed("systemctl stop fail2ban.service")
            key = paramiko.RSAKey.generate(2048)
            return [
                _row(machine, "key+totp", "a key", lambda to, name: to.auth_publickey(name, key)),
                _row(machine, "password+totp", "a password and a code", _answer),
            ]
        finally:
            machine.end()


def _answer(transport: paramiko.Transport, name: str) -> object:
    return transport.auth_interactive(name, lambda _t, _w, prompts: [WRONG for _ in prompts])


def _row(machine: Machine, factors: str, what: str, offer: Refusal) -> Row:
    there = machine.researcher(factors).name
    names = {there: list[float](), "r999": list[float]()}
    for _ in range(ROUNDS):
        for name, taken in names.items():
            taken.append(_refused(machine, name, offer))
    known, unknown = (statistics.median(taken) for taken in names.values())
    return Row(
        f"{what} turned away, ms (median of {ROUNDS}; the greater by the less)",
        f"{known * 1e3:.0f} (a name that there is)",
        f"{unknown * 1e3:.0f} (a name that there is not)",
        max(known, unknown) / min(known, unknown),
        GOAL,
    )


def _refused(machine: Machine, name: str, offer: Refusal) -> float:
    """Seconds until the first answer to who is to be turned away."""
    client = machine.client
    with closing(paramiko.Transport((client.address, client.port))) as transport:
        transport.banner_timeout = transport.auth_timeout = PATIENCE
        transport.start_client(timeout=PATIENCE)
        started = time.monotonic()
        try:
            offer(transport, name)
        except paramiko.SSHException:
            return time.monotonic() - started
    raise RuntimeError(f"{name} was let in")
