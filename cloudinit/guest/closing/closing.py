"""secondlock-closing: at its time the machine ends all sessions, and lets nobody in.

sshd's PAM stacks ask pam_nologin(8), whose file keeps people out, after a restart too. What was cut
off half-way is gone on with a minute later, and who came in just then is ended too.
"""

import contextlib
import datetime as dt
import pwd
import time
from collections.abc import Iterable
from pathlib import Path

from guest import paths
from guest.audit import store as audit
from guest.clock import measured
from guest.closing import sign
from guest.roster import accounts
from guest.ssh import doorkeeper
from guest.system import alone, write
from guest.workspace import containers

AT = paths.STATE / "closes"
DONE = paths.RUN / "closed"
SOON = 70.0
"""Seconds that this waits for the time: longer than until it is run again."""


def keep(at: int | None, people: Iterable[str]) -> bool:
    """Have the machine close then (seconds since 1970), or not at all; True for a change.

    One that is closed and shall not be any more lets people in again. Raises GuestError.
    """
    changed = _at() != at
    if at is None:
        AT.unlink(missing_ok=True)
    else:
        write(AT, f"{at}\n", 0o600)
    if at is not None and _left(at) <= 0:
        close(at, people)
    else:
        _open(people)
    return changed


def report() -> dict[str, object] | None:
    """When it closes, as the status line has it; None where it does not."""
    at = _at()
    if at is None:
        return None
    return {"at": _written(at), "closed": DONE.exists()}


def close(at: int, people: Iterable[str]) -> None:
    """Let nobody in, then end what runs for anybody. Raises GuestError where something is left."""
    words = f"This machine is closed since {_written(at)}; ask your lab when it opens again."
    write(sign.NOLOGIN, f"{words}\n", 0o644)
    everybody = sorted(people)
    for name in everybody:
        containers.shut(name)
    for name in _present(everybody):
        accounts.end_sessions(name)
    if not DONE.exists():
        audit.note("change", "closed: all sessions ended", "done")
    DONE.touch()


def _present(people: list[str]) -> list[str]:
    """Who has anything there: a process, a workspace, or a login that is under way.

    Most of a class have nothing, and each costs time.
    """
    running = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            running.add(process.stat().st_uid)
    there = containers.having(people) | doorkeeper.under_way()
    return [name for name in people if name in there or pwd.getpwnam(name).pw_uid in running]


def _open(people: Iterable[str]) -> None:
    if not sign.NOLOGIN.exists() and not DONE.exists():
        return
    for name in people:
        containers.open_again(name)
    sign.NOLOGIN.unlink(missing_ok=True)
    audit.note("change", "open again", "done")
    DONE.unlink(missing_ok=True)


def _at() -> int | None:
    try:
        return int(AT.read_text())
    except (OSError, ValueError):
        return None


def _left(at: int) -> float:
    """Seconds until then, by the machine's reference where that is known."""
    return at - time.time() - (measured.offset() or 0.0)


def _written(at: int) -> str:
    return dt.datetime.fromtimestamp(at, dt.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def main() -> int:
    """Close if it is time, or soon will be."""
    at = _at()
    if at is None or _left(at) > SOON:
        return 0
    time.sleep(max(0.0, _left(at)))
    with alone():
        at = _at()  # a roster may have said otherwise meanwhile
        if at is not None and _left(at) <= 0:
            close(at, accounts.everybody())
    return 0
