"""The contract of a target: where machines run. All of one lies in its folder.

A new target is a folder, an entry here and its settings in `infra.model.settings`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
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
        """Where the machines' data is kept: what a change of would lose it.

        Empty where the settings that say it are wrong.
        """

    def check_settings(self, settings: Settings, config: Mapping[str, str]) -> list[Problem]:
        """What does not fit the settings in the stack's whole configuration.

        Here and below, settings may have faults: what they do not know says nothing.
        """

    def check_requests(self, asked: Requests, settings: Settings) -> list[Problem]:
        """What no stack with these settings can hold, each with its file and line.

        `asked` may be what is left of a folder with faults.
        """

    def check_plan(self, plan: Plan, root: Path) -> list[Problem]:
        """What cannot be made of `plan` besides; `root` is the project's folder."""

    def check_ready(self) -> None:
        """What has to be there before machines are made, not before they are planned.

        Raises ProblemsError.
        """

    def make(self, plan: Plan) -> Made:
        """The plan's resources, in the Pulumi program that runs."""


def _local() -> Target:
    from infra.local import target

    return target


def _aws() -> Target:
    from infra.aws import target

    return target


_TARGETS: Mapping[str, Callable[[], Target]] = {"local": _local, "aws": _aws}
"""Each loads its module when it is asked for."""


def target_of(name: str) -> Target:
    """The target that a stack's settings name. Raises KeyError where there is none."""
    return _TARGETS[name]()
