"""Who holds a stack in a backend of files; other backends tell it when they are asked."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from infra.model.reading import from_json, read_text


class Lock(NamedTuple):
    """A lock of Pulumi's. One that nobody can read, without process and computer, stops it too."""

    file: Path
    pid: int | None = None
    computer: str | None = None

    def __str__(self) -> str:
        if self.pid is None:
            return f"the damaged lock {self.file}"
        return f"process {self.pid} on {self.computer}"


def locks(backend: Path, stack: str = "*") -> list[Lock]:
    """Those on a stack, or on any, of the backend in that folder."""
    found = []
    for path in sorted((backend / ".pulumi" / "locks").glob(f"**/{stack}/*.json")):
        with suppress(FileNotFoundError):  # its holder has ended this very moment
            found.append(_read(path))
    return found


def _read(path: Path) -> Lock:
    try:
        said = from_json(read_text(path))
    except ValueError:
        return Lock(path)
    pid, computer = (said.get("pid"), said.get("hostname")) if isinstance(said, dict) else (0, 0)
    if not isinstance(pid, int) or not isinstance(computer, str):
        return Lock(path)
    return Lock(path, pid, computer)
