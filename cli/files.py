"""Files that people's commands write: what is there stays, and one command at a time changes it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import typer

from infra import files
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


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs of `secondlock` out of `folder` meanwhile.

    Says so where it has to wait for one. Raises ProblemsError when that takes too long.
    """

    def tell(holder: str) -> None:
        place = visible(str(folder))
        typer.echo(f"secondlock: waiting for another run in {place}{holder}", err=True)

    with ExitStack() as held:
        try:
            held.enter_context(files.locked(folder, patience=PATIENCE, on_wait=tell))
        except files.HeldError as error:
            what = f"another run of secondlock works in this folder{error}"
            raise ProblemsError([Problem(folder, None, what, "end it, then try again")]) from None
        yield
