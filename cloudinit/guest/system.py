"""Small helpers over the operating system: running commands, writing files."""

import contextlib
import fcntl
import os
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from guest import paths

CGROUPS = Path("/sys/fs/cgroup")


class GuestError(Exception):
    """A fault to be shown to the admin; its text never holds a secret."""


def run(*argv: str, stdin: str | None = None, check: bool = True) -> str:
    """Run a command and return its standard output.

    Raises GuestError with the command's own words when it fails and `check` holds.
    """
    done = subprocess.run(
        argv, input=stdin, capture_output=True, text=True, errors="replace", check=False
    )
    if check and done.returncode != 0:
        words = " ".join((done.stderr or done.stdout).split())[:400]
        raise GuestError(f"{argv[0]} failed with exit code {done.returncode}: {words}")
    return done.stdout


def write(path: Path, content: str, mode: int, uid: int = 0, gid: int = 0) -> bool:
    """Write a file by rename, so that no reader sees half of it; True when it changed.

    Raises GuestError when the file system does not take it (full, read-only).
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISREG(path.lstat().st_mode) and path.read_text() == content:
                return False
        fresh = path.with_name(f".{path.name}.{threading.get_native_id()}")
        fresh.unlink(missing_ok=True)
        try:
            with os.fdopen(
                os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w"
            ) as file:
                file.write(content)
                os.fchown(file.fileno(), uid, gid)
                os.fchmod(file.fileno(), mode)
                file.flush()
                os.fsync(file.fileno())
            fresh.rename(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise GuestError(f"cannot write {path}: {error.strerror}") from error
    return True


def folder(path: Path, mode: int, uid: int = 0, gid: int = 0) -> None:
    """Make sure of a folder with this owner and mode."""
    with contextlib.suppress(FileNotFoundError):
        there = path.lstat()
        if (there.st_uid, there.st_gid, there.st_mode) == (uid, gid, stat.S_IFDIR | mode):
            return
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    os.chown(path, uid, gid, follow_symlinks=False)
    path.chmod(mode)


def kill_group(name: str) -> None:
    """End every process of a control group at once, also those that start just now (cgroup.kill in
    Control Group v2, kernel documentation); nothing where there is none."""
    with contextlib.suppress(FileNotFoundError):
        (CGROUPS / name / "cgroup.kill").write_text("1")


@contextlib.contextmanager
def alone(wait: bool = True) -> Iterator[None]:
    """Be the only one who changes this machine.

    Raises BlockingIOError where another is at work and we do not `wait`.
    """
    folder(paths.RUN, 0o755)
    with paths.LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
