"""The target `aws`, as `infra.targets` asks for it: machines are EC2 instances with a GPU.

Its libraries are loaded only by who makes or checks a plan.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from infra.aws import checks
from infra.model.settings import AwsSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from infra.aws.stack import Aws
    from infra.model.folder import Requests
    from infra.model.problems import Problem
    from infra.model.settings import Settings
    from infra.plan import Plan


def place(settings: Settings) -> str:
    """The region, where the volumes are."""
    return AwsSettings.of(settings).region if settings.knows("zones") else ""


def check_settings(settings: Settings, config: Mapping[str, str]) -> list[Problem]:
    """The provider's region is that of the zones."""
    return checks.check_settings(AwsSettings.of(settings), config)


def check_requests(asked: Requests, settings: Settings) -> list[Problem]:
    """What no stack with these settings can hold in EC2."""
    return checks.check_requests(asked, AwsSettings.of(settings))


def check_plan(plan: Plan, root: Path) -> list[Problem]:
    """What EC2 cannot do for `plan`, and whether its provider is the one that is pinned."""
    from infra.aws.fit import problems
    from infra.aws.plugin import refusals

    return [*problems(plan), *refusals(root, os.environ)]


def check_ready() -> None:
    """AWS says itself what it cannot do now."""


def make(plan: Plan) -> Aws:
    """The resources of `plan`."""
    from infra.aws.stack import Aws

    return Aws(plan)
