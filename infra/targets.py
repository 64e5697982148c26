"""The contract of a target: where machines run. All of one lies in its folder.

A new target is a folder, a line in `target_of` and a name in `infra.model.settings`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from infra.model.problems import RefusedError
from infra.model.settings import MODELS, split_zones

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pulumi

    from infra.model.folder import Requests
    from infra.model.problems import Problem
    from infra.model.settings import Settings
    from infra.plan import MachinePlan, Plan


class Machine(Protocol):
    """What every target says of a machine: `known` by the plan, or `now`, by the machine alone.

    The two together are its `address`, `port`, `host_key`, `running` and `serial`, and what else
    the target's machines have. One output for all: with a thousand machines each takes seconds.
    """

    @property
    def known(self) -> Mapping[str, Any]: ...
    @property
    def now(self) -> pulumi.Output[dict[str, Any]]: ...


class Made(Protocol):
    """The resources of a stack."""

    @property
    def policies(self) -> Mapping[str, pulumi.Output[str]]: ...
    def machine(self, plan: MachinePlan) -> Machine: ...


class Target(Protocol):
    """A module `target` in the target's folder, quick to load: resources are loaded by `make`."""

    def place(self, settings: Settings) -> str:
        """Where the machines' data is kept: what a change of would lose it."""

    def check_requests(self, asked: Requests, zones: Sequence[str] | None) -> list[Problem]:
        """What no stack on this target can hold, each with its file and line.

        `zones` are the stack's, as far as they are known, on a target that has some.
        """

    def check(self, plan: Plan, config: Mapping[str, str], root: Path) -> list[Problem]:
        """What cannot be made of `plan`, with all that `check_requests` finds.

        `config` is the stack's whole configuration, `root` the project's folder.
        """

    def check_ready(self) -> None:
        """What has to be there before machines are made, not before they are planned.

        Raises ProblemsError.
        """

    def make(self, plan: Plan) -> Made:
        """The plan's resources, in the Pulumi program that runs."""


def objections(asked: Requests, config: Mapping[str, str]) -> list[Problem]:
    """What the target of a stack cannot hold, whatever else is wrong with requests and settings.

    `config` is the stack's configuration; what is wrong there is told by who loads the settings.
    """
    target = config.get("secondlock:target", "local")
    if target not in MODELS:
        return []
    zones = None
    with suppress(RefusedError):
        zones = split_zones(config.get("secondlock:zones", ""))
    return target_of(target).check_requests(asked, zones)


def target_of(name: str) -> Target:
    """The target that a stack's settings name."""
    if name == "local":
        from infra.local import target as local

        return local
    from infra.aws import target as aws

    return aws
