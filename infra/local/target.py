"""The target `local`, as `infra.targets` asks for it: QEMU virtual machines on this computer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.local import checks

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from infra.local.stack import Local
    from infra.model.folder import Requests
    from infra.model.problems import Problem
    from infra.model.settings import Settings
    from infra.plan import Plan


def place(settings: Settings) -> str:
    """The folder of the stack, from the project's."""
    from infra.local.host import home

    return str(home(settings.stack))


def check_settings(_settings: Settings, _config: Mapping[str, str]) -> list[Problem]:
    """Nothing: no other provider has a word in it."""
    return []


def check_requests(asked: Requests, _settings: Settings) -> list[Problem]:
    """What no machine on this computer can hold."""
    return checks.check_requests(asked)


def check_plan(plan: Plan, root: Path) -> list[Problem]:
    """What this computer cannot do for `plan`."""
    from infra.local.fit import problems

    return problems(plan, root)


def check_ready() -> None:
    """There is an image to make machines from. Raises ProblemsError."""
    from infra.local.image import golden_image

    golden_image()


def make(plan: Plan) -> Local:
    """The resources of `plan`."""
    from infra.local.stack import Local

    return Local(plan.settings, [machine.name for machine in plan.machines])
