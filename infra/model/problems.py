"""What is wrong, where, and what mends it: the one form in which a person meets a fault.

Python's standard library only: set-up tells its faults so too, before there is anything else.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from infra.model.text import brief, visible

Severity = Literal["stop", "note"]
"""`stop`: a command, `pulumi up` or a login fails. `note`: it does not, but someone should know."""

MOST_OF_A_FILE = 20
"""How many faults of one file are told: the rest is counted."""

_MOST = 200  # faults that are told at once
_LONGEST = 1000  # characters of what is wrong


@dataclass(frozen=True)
class Problem:
    """One fault.

    `file` and `line` (1-based) say where, when it lies in a file; `mend` is a command or an edit.
    No field may hold a secret: problems are printed and logged. What is quoted from elsewhere may
    hold anything: hidden characters are made visible here, for all of them.
    """

    file: Path | None
    line: int | None
    what: str
    mend: str | None = None
    severity: Severity = "stop"

    def __post_init__(self) -> None:
        object.__setattr__(self, "what", brief(self.what, _LONGEST))
        if self.mend is not None:
            object.__setattr__(self, "mend", visible(self.mend))

    def __str__(self) -> str:
        mend = f" ({self.mend})" if self.mend else ""
        return f"{self.place}{self.what}{mend}"

    @property
    def place(self) -> str:
        """`file:line: `, as far as they are known."""
        parts = [visible(str(part)) for part in (self.file, self.line) if part is not None]
        return ":".join(parts) + ": " if parts else ""

    def at(self, file: Path | None, line: int | None = None) -> Problem:
        """The same fault, in that file; on that line, unless it knows its own."""
        return replace(self, file=file, line=self.line or line)

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {
            "severity": self.severity,
            "file": None if self.file is None else visible(str(self.file)),
            "line": self.line,
            "what": self.what,
            "mend": self.mend,
        }


class ProblemsError(Exception):
    """Every problem that was found, not only the first. `str()` gives a line for each of `told`."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.told))

    @property
    def told(self) -> list[Problem]:
        """Those that a person is told: the first of each file, and how many more there are."""
        number: Counter[Path | None] = Counter()
        found: dict[Path | None, list[Problem]] = {}
        for problem in self.problems:
            number[problem.file] += 1
            if number[problem.file] <= MOST_OF_A_FILE:
                found.setdefault(problem.file, []).append(problem)
        for file, told in found.items():
            more = number[file] - len(told)
            if more:
                told.append(Problem(file, None, f"{more} more faults", "mend these first"))
        every = [problem for told in found.values() for problem in told]
        if len(every) > _MOST:
            more = sum(number.values()) - _MOST
            every[_MOST:] = [Problem(None, None, f"{more} more faults", "mend these first")]
        return every


class FaultError(Exception):
    """An exception that is one `problem`. `str()` says it as a person reads it."""

    def __init__(self, what: str, mend: str | None = None, line: int | None = None) -> None:
        self.problem = Problem(None, line, what, mend)
        super().__init__(str(replace(self.problem, line=None)))


def problem_of(error: FaultError | OSError) -> Problem:
    """An exception as the fault that a person meets."""
    if isinstance(error, FaultError):
        return error.problem
    file = Path(os.fsdecode(error.filename)) if error.filename else None
    return Problem(file, None, error.strerror or type(error).__name__)


class RefusedError(FaultError, ValueError):
    """A value that is not allowed. The text never quotes one that could be a secret."""
