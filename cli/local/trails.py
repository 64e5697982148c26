"""Local machines' records: files beside them, which outlive them."""

from __future__ import annotations

import datetime as dt
import json
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

_ANSWER_WITHIN = 10.0
_STATE = "/run/secondlock/audit.json"  # guest/audit/follow.py


def trails(
    stack: Stack, machines: Mapping[str, Machine], _since: str | None, *, ends: bool
) -> list[Trail]:
    """A trail of each file, and of each machine. With `ends`, machines that run are asked."""
    files = _files(stack)
    whole = prune(stack)
    found = []
    for name in sorted({*files, *machines}):
        file = files.get(name, audit_folder(stack.state) / f"{name}.jsonl")
        end = _end(machines[name]) if ends and name in machines else None
        found.append(Trail(name, _Lines(file), end, whole))
    return found


def prune(stack: Stack) -> str:
    """Give back what has run out, of all machines; the time before which that is so.

    Raises ProblemsError, OSError.
    """
    days = dt.timedelta(days=audit_days(stack.values()))
    oldest = f"{dt.datetime.now(dt.timezone.utc) - days:%Y-%m-%dT%H:%M:%S}.000Z"
    for file in _files(stack).values():
        audit.prune(file, oldest)
    return oldest


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


def _end(machine: Machine) -> Head | None:
    """The machine's last record; None where it does not answer."""
    if machine.directory is None:
        return None
    with suppress(AgentError, ValueError, KeyError, TypeError):
        agent = GuestAgent(machine.directory)
        code, said, _ = agent.run(["/bin/cat", _STATE], timeout=_ANSWER_WITHIN)
        if code == 0:
            known = json.loads(said)
            return Head(int(known["seq"]), str(known["hash"]))
    return None
