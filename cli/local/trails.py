"""Local machines' records: files beside them, which outlive them."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from cli.engine import Machine
from cli.project import Stack
from cli.trails import Trail
from cloudinit.guest.audit.chain import Head
from infra.local import audit
from infra.local.agent import AgentError, GuestAgent
from infra.local.host import audit_folder
from infra.model.settings import audit_days

_SENT_WITHIN = 60.0
"""Seconds in which a machine sends what it has recorded."""
_ANSWER_WITHIN = 10.0
_STATE = "/run/secondlock/audit.json"  # guest/audit/follow.py


def trails(
    stack: Stack, machines: Mapping[str, Machine], _since: str | None, *, ends: bool
) -> list[Trail]:
    """A trail of each file, and of each machine. With `ends`, machines that run are asked."""
    files = _files(stack)
    prune(stack)
    found = []
    for name in sorted({*files, *machines}):
        file = files.get(name, audit_folder(stack.state) / f"{name}.jsonl")
        end = _end(machines[name], file) if ends and name in machines else None
        found.append(Trail(name, _Lines(file), end))
    return found


def prune(stack: Stack) -> None:
    """Give back what has run out, of all machines. Raises ProblemsError, OSError."""
    oldest = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=audit_days(stack.values()))
    for file in _files(stack).values():
        audit.prune(file, f"{oldest:%Y-%m-%dT%H:%M:%S}.000Z")


def _files(stack: Stack) -> dict[str, Path]:
    """By machine."""
    folder = audit_folder(stack.state)
    return {path.stem: path for path in folder.glob("*.jsonl")} if folder.is_dir() else {}


class _Lines:
    """The file's lines, read anew each time."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __iter__(self) -> Iterator[bytes]:
        for _, line in audit.lines(self._file):
            yield line


def _end(machine: Machine, file: Path) -> Head | None:
    """The machine's last record, when it had the time to arrive; None where it does not answer."""
    if machine.directory is None:
        return None
    with suppress(AgentError, ValueError, KeyError, TypeError):
        agent = GuestAgent(machine.directory)
        code, said, _ = agent.run(["/bin/cat", _STATE], timeout=_ANSWER_WITHIN)
        if code == 0:
            known = json.loads(said)
            end = Head(int(known["seq"]), str(known["hash"]))
            _wait(file, end)
            return end
    return None


def _wait(file: Path, end: Head) -> None:
    deadline = time.monotonic() + _SENT_WITHIN
    trail = Trail("", _Lines(file))
    while time.monotonic() < deadline:
        if max((record["seq"] for record in trail.records()), default=0) >= end.seq:
            return
        time.sleep(1)
