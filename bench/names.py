"""Whether the time of a refusal tells who exists: names that there are, beside names there are not.

The stranger's clock runs from their request to sshd's answer. sshd makes each refusal last some
milliseconds that depend on the name (`user_specific_delay` in its auth2.c), doubled until they
cover the work: two names differ by that alone, up to twofold, whoever they are. So many names of
either kind are compared, in any order, so that whatever else the computer does, and what the one
before has left it to do, disturbs both alike.

Names that log in by password are not among them: sshd offers them something else, which tells them
at once (docs/explanation/threat-model.md). What is measured is that their own wrong password is
told without delay.
"""

from __future__ import annotations

import random
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

NAMES, ROUNDS = 20, 3  # of each kind; refusals a name
# By chance alone, of such groups one in a thousand differs by more: the logarithm of a name's delay
# is spread evenly over a doubling.
GOAL = 1.25
PATIENCE = 60  # seconds
PAUSE = 0.5  # seconds
WRONG = "not-the-password"
PAMS_DELAY = 2.0  # seconds, of pam_unix(8) without `nodelay`


def measure() -> list[Row]:
    """A row for who exists, and one for a wrong password."""
    with tempfile.TemporaryDirectory(prefix="secondlock-bench-") as folder:
        machine = Machine(Path(folder))
        try:
            machine.boot()
            machine.enlist("key+totp", NAMES)
            machine.enlist("password+totp", 1)
            machine.apply()
            machine.lift_bans()  # who tries so often is banned
            return [_who_exists(machine), _wrong_password(machine)]
        finally:
            machine.end()


def _who_exists(machine: Machine) -> Row:
    key = paramiko.RSAKey.generate(2048)

    def offer(transport: paramiko.Transport, name: str) -> object:
        return transport.auth_publickey(name, key)

    known = [machine.researcher().name for _ in range(NAMES)]
    unknown = [f"{name}x" for name in known]
    taken: dict[str, list[float]] = {name: [] for name in (*known, *unknown)}
    for _ in range(ROUNDS):
        # In any order: the end of one connection takes a while, and the next one's time.
        for name in random.sample([*taken], len(taken)):
            time.sleep(PAUSE)
            taken[name].append(_refused(machine, name, offer))
    there, absent = (
        statistics.geometric_mean(statistics.median(taken[name]) for name in names)
        for names in (known, unknown)
    )
    return Row(
        f"a key turned away, ms ({NAMES} names, {ROUNDS} times each; the greater by the less)",
        f"{there * 1e3:.0f} (names that there are)",
        f"{absent * 1e3:.0f} (names that there are not)",
        max(there, absent) / min(there, absent),
        GOAL,
    )


def _wrong_password(machine: Machine) -> Row:
    def answer(transport: paramiko.Transport, name: str) -> object:
        return transport.auth_interactive(name, lambda _t, _w, prompts: [WRONG for _ in prompts])

    name = machine.researcher("password+totp").name
    taken = statistics.median(_refused(machine, name, answer) for _ in range(ROUNDS))
    return Row(
        f"a wrong password told, s (median of {ROUNDS})",
        f"{taken:.1f}",
        f"{PAMS_DELAY:.1f} (with PAM's own delay)",
        taken / PAMS_DELAY,
        1.0,
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
