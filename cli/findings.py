"""What `secondlock doctor` finds, whatever the target."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from infra.model.problems import Problem
from infra.model.text import visible

Verdict = Literal["ok", "note", "stop"]
"""`stop`: `pulumi up` or a login would fail. `note`: it would not, but someone should know."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    check: str
    verdict: Verdict
    what: str
    mend: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "what", visible(self.what))
        object.__setattr__(self, "mend", self.mend and visible(self.mend))

    def document(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def ok(check: str, what: str) -> Finding:
    """All is well with it."""
    return Finding(check, "ok", what)


def note(check: str, what: str, mend: str | None = None) -> Finding:
    """It does not stop `up`."""
    return Finding(check, "note", what, mend)


def stop(check: str, what: str, mend: str | None = None) -> Finding:
    """It stops `up`, or a login."""
    return Finding(check, "stop", what, mend)


def of_problem(check: str, problem: Problem) -> Finding:
    """A problem that stops `up`."""
    return Finding(check, "stop", problem.place + problem.what, problem.mend)
