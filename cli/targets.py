"""What the command line asks a target, beside what the program does (infra/targets.py).

A target answers by a module `target` in its folder here. Nobody else looks at its name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from infra.model.problems import Problem, ProblemsError
from infra.model.settings import MODELS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cli.engine import Machine
    from cli.findings import Finding
    from cli.project import Stack
    from cli.reports import Report
    from cli.trails import Trail
    from infra.checks import Checked

NAMES = tuple(MODELS)


class Target(Protocol):
    """A module that is quick to load: what takes a while, its functions import."""

    def settings(self, zones: str, on_destroy: str | None) -> dict[str, str]:
        """What `init` writes into a new stack's configuration.

        Raises typer.BadParameter for what the target needs, or knows nothing of.
        """

    def steps(self, stack: Stack) -> list[str]:
        """What to type between `init` and the first `up`."""

    def networks(self) -> list[str]:
        """Where people log in from who said nothing of it. Raises typer.BadParameter."""

    def machine(self, stack: Stack, asked: Mapping[str, str]) -> str:
        """A new request's lines about the machine; `asked` are fields, as YAML has them.

        Raises typer.BadParameter for a field that the target does not know.
        """

    def shared_machine(self, stack: Stack, asked: Mapping[str, object]) -> str:
        """The lines about the size of a new shared machine; `asked` are its fields.

        Raises typer.BadParameter for a field that the target does not know.
        """

    def findings(self, stack: Stack, checked: Checked) -> list[Finding]:
        """What would stop `up` that has to do with the target, of what is asked for there."""

    def reports(self, stack: Stack, machines: Mapping[str, Machine]) -> list[Report]:
        """Each of its machines, as it says it is. Raises ProblemsError."""

    def others(self, stack: Stack, machines: Mapping[str, Machine]) -> list[Problem]:
        """What there is of the stack beside these machines. Raises ProblemsError."""

    def trails(
        self, stack: Stack, machines: Mapping[str, Machine], since: str | None, *, ends: bool
    ) -> list[Trail]:
        """The record of who did what of each machine, and of those that are gone as long as it is
        kept. What is older than `since` may be left out; with `ends`, the machines are asked how
        it ends. Raises ProblemsError."""

    def is_behind(self, applied: int, wanted: int) -> bool:
        """Whether a machine that applied this roster has not the one that was wanted last."""


def target_of(name: str) -> Target:
    """The target of this name. Raises ProblemsError where there is none."""
    if name not in NAMES:
        what = f"there is no target {name}: {' or '.join(NAMES)}"
        raise ProblemsError([Problem(None, None, what, "pulumi up")])
    return cast("Target", import_module(f"cli.{name}.target"))
