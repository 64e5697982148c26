"""Files of this computer's: where caches lie, writing without halves, locks.

Python's standard library only: set-up uses it before the project's own environment exists.
"""

from __future__ import annotations

import fcntl
import math
import os
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class HeldError(Exception):
    """Another process has the lock; `str()` names it, as far as the kernel tells."""


def cache_folder() -> Path:
    """The folder of Secondlock's caches (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "secondlock"


def write_whole(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Put `data` in the place of `path` in one step; an existing file keeps its mode.

    Where that fails, as where there is no room, what it held before stays. Raises OSError.
    """
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
def locked(
    path: Path, *, patience: float = math.inf, on_wait: Callable[[str], object] = lambda _: None
) -> Iterator[None]:
    """Hold a lock on `path` meanwhile: a folder that is there, or a file, which is made.

    Where another process has it, `on_wait` is told once which: `: process 7`, or nothing where the
    kernel does not tell. Raises HeldError after `patience` seconds, which says the same.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags, 0o644)
    try:
        _lock(descriptor, patience, on_wait)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, patience: float, on_wait: Callable[[str], object]) -> None:
    until = time.monotonic() + patience
    told = False
    while True:
        with suppress(BlockingIOError):
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        holder = _holder(descriptor)
        if time.monotonic() >= until:
            raise HeldError(holder)
        if not told:
            on_wait(holder)
            told = True
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
