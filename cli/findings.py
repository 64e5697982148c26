"""What `secondlock doctor` finds, whatever the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from infra.model.problems import Problem, ProblemsError, Severity
from infra.model.text import visible

Verdict = Literal["ok"] | Severity


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what is well, in words, or the problem."""

    check: str
    found: str | Problem

    @property
    def verdict(self) -> Verdict:
        """The problem's severity, or `ok`."""
        return self.found.severity if isinstance(self.found, Problem) else "ok"

    @property
    def what(self) -> str:
        """What was found, and where, in one line."""
        if isinstance(self.found, Problem):
            return self.found.place + self.found.what
        return visible(self.found)

    @property
    def mend(self) -> str | None:
        """What mends it, where that is known and needed."""
        return self.found.mend if isinstance(self.found, Problem) else None

    def document(self) -> dict[str, Any]:
        """For programs: the problem's fields, of which a finding without one has only `what`."""
        problem = self.found if isinstance(self.found, Problem) else Problem(None, None, self.found)
        document = problem.document()
        del document["severity"]  # the verdict says it
        return {"check": self.check, "verdict": self.verdict, **document}


def ok(check: str, what: str) -> Finding:
    """All is well with it."""
    return Finding(check, what)


def note(check: str, what: str, mend: str | None = None) -> Finding:
    """It does not stop `up`."""
    return Finding(check, Problem(None, None, what, mend, "note"))


def stop(check: str, what: str, mend: str | None = None) -> Finding:
    """It stops `up`, or a login."""
    return Finding(check, Problem(None, None, what, mend))


def wrong(check: str, error: ProblemsError) -> list[Finding]:
    """Of all that is wrong, what a person is told."""
    return [Finding(check, one) for one in error.told]
