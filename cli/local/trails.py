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
    folder = audit_folder(stack.state)
    files = {path.stem: path for path in sorted(folder.glob("*.jsonl"))} if folder.is_dir() else {}
    oldest = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=audit_days(stack.values()))
    found = []
    for name in sorted({*files, *machines}):
        file = files.get(name, folder / f"{name}.jsonl")
        audit.prune(file, f"{oldest:%Y-%m-%dT%H:%M:%S}.000Z")
        end = _end(machines[name], file) if ends and name in machines else None
        found.append(Trail(name, _Lines(file), end))
    return found


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
