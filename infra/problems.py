"""What is wrong, where, and what mends it: the one form in which a person meets a fault."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Problem:
    """One fault.

    `file` and `line` (1-based) say where, when it lies in a file; `mend` is a command or an edit.
    No field may hold a secret: problems are printed and logged.
    """

    file: Path | None
    line: int | None
    what: str
    mend: str | None = None

    def __str__(self) -> str:
        place = [str(part) for part in (self.file, self.line) if part is not None]
        where = ":".join(place) + ": " if place else ""
        mend = f" ({self.mend})" if self.mend else ""
        return f"{where}{self.what}{mend}"


class ProblemsError(Exception):
    """Every problem that was found, not only the first. `str()` gives one line for each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class RefusedError(ValueError):
    """A value that is not allowed: what is wrong with it and what mends it.

    The text never quotes a value that could be a secret.
    """

    def __init__(self, what: str, mend: str | None = None) -> None:
        super().__init__(what if mend is None else f"{what} ({mend})")
        self.what, self.mend = what, mend
