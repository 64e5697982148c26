"""Writing files so that an interruption never leaves half of one."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.problems import Problem, ProblemsError


def write_new(path: Path, data: bytes, *, mode: int, mend: str) -> None:
    """Create `path` with `data`, readable as `mode` from its first byte.

    Raises ProblemsError with `mend` when it is already there (also as a dangling link), and
    OSError.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags, mode)
    except FileExistsError:
        problem = Problem(path, None, "is already there and is not overwritten", mend)
        raise ProblemsError([problem]) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fsync(file.fileno())
    except BaseException:
        path.unlink()
        raise


def replace(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Put `data` in the place of `path` in one step; an existing file keeps its mode."""
    if path.exists():
        mode = path.stat().st_mode & 0o777
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise
    _folder_to_disk(path.parent)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs of `secondlock` out of `folder` meanwhile."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _folder_to_disk(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
