"""One form of a fault: what exceptions carry, and what a person and a program are told."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from cli.findings import note, ok, wrong
from infra.local.qemu import MachineError
from infra.model.problems import FaultError, Problem, ProblemsError, problem_of
from infra.model.reading import UnreadableError
from infra.provider import ProviderError
from tools.steps import StepError

FILE = Path("stacks/lab/alice.yaml")


def test_an_exception_is_a_problem_that_its_catcher_gives_a_place() -> None:
    fault = UnreadableError("not\x1b text", "save it as UTF-8", 3)
    assert str(fault) == "not\\x1b text (save it as UTF-8)"
    assert fault.problem.at(FILE) == Problem(FILE, 3, "not\x1b text", "save it as UTF-8")
    assert str(MachineError("it stopped").problem.at(FILE, 7)) == f"{FILE}:7: it stopped"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (FaultError("no QEMU", "make setup"), "no QEMU (make setup)"),
        (
            OSError(errno.ENOSPC, "No space left on device", "a\nb"),
            "a\\nb: No space left on device",
        ),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_whatever_failed_is_told_as_a_problem(error: FaultError | OSError, told: str) -> None:
    assert str(problem_of(error)) == told


def test_the_engine_is_told_every_problem_and_the_last_words() -> None:
    problems = [Problem(None, None, f"vol-{number} is left", "delete it") for number in range(30)]
    told = str(ProviderError(*problems, said="its last\nwords\x07")).splitlines()
    assert len(told) == 32
    assert told[-3:] == ["vol-29 is left (delete it)", "its last", "words\\x07"]


def test_a_failed_step_tells_what_the_program_said() -> None:
    assert str(StepError("uv failed", "try again", ["no\x1b network"])).splitlines() == [
        "uv failed:",
        "    no\\x1b network",
        "  To mend it: try again",
    ]


def test_a_finding_is_what_is_well_or_a_problem() -> None:
    (found,) = wrong("requests", ProblemsError([Problem(FILE, 2, "no key", "add it")]))
    assert (found.verdict, found.what, found.mend) == ("stop", f"{FILE}:2: no key", "add it")
    assert found.document() == {
        "check": "requests",
        "verdict": "stop",
        "file": str(FILE),
        "line": 2,
        "what": "no key",
        "mend": "add it",
    }
    assert (note("clock", "is off").verdict, ok("clock", "right").verdict) == ("note", "ok")
    assert set(ok("clock", "right").document()) == set(found.document())
