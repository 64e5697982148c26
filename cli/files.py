"""Writing files so that an interruption never leaves half of one."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import typer

from infra.model.problems import Problem, ProblemsError
from infra.model.text import visible

PATIENCE = 60.0
"""Seconds that `locked` waits for another run."""


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
    """Keep other runs of `secondlock` out of `folder` meanwhile.

    Says so where it has to wait for one. Raises ProblemsError when that takes too long.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    until = time.monotonic() + PATIENCE
    said = False
    while True:
        with suppress(BlockingIOError):
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        holder = _holder(descriptor)
        if time.monotonic() > until:
            what = f"another run of secondlock works in this folder{holder}"
            raise ProblemsError([Problem(folder, None, what, "end it, then try again")])
        if not said:
            typer.echo(
                f"secondlock: waiting for another run in {visible(str(folder))}{holder}", err=True
            )
            said = True
        time.sleep(0.1)


def _holder(descriptor: int) -> str:
    """Which process has the lock, as far as the kernel tells (proc_locks(5))."""
    inode = os.fstat(descriptor).st_ino
    with suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if "FLOCK" in words and words[5].endswith(f":{inode}"):
                return f": process {words[4]}"
    return ""


def _folder_to_disk(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
