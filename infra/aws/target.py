"""The target `aws`, as `infra.targets` asks for it: machines are EC2 instances with a GPU.

Its libraries are loaded only by who makes or checks a plan.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from infra.aws import checks
from infra.model.settings import AwsSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from infra.aws.stack import Aws
    from infra.model.folder import Requests
    from infra.model.problems import Problem
    from infra.model.settings import Settings
    from infra.plan import Plan


def place(settings: Settings) -> str:
    """The region, where the volumes are."""
    return AwsSettings.of(settings).region


def check_requests(asked: Requests, zones: Sequence[str] | None) -> list[Problem]:
    """What no stack in `zones` can hold, or in any, where they are not known."""
    return checks.check_requests(asked, zones)


def check(plan: Plan, config: Mapping[str, str], root: Path) -> list[Problem]:
    """What EC2 cannot do for `plan`, and whether its provider is the one that is pinned."""
    from infra.aws.fit import problems
    from infra.aws.plugin import refusals

    return [*problems(plan, config.get("aws:region")), *refusals(root, os.environ)]


def check_ready() -> None:
    """AWS says itself what it cannot do now."""


def make(plan: Plan) -> Aws:
    """The resources of `plan`."""
    from infra.aws.stack import Aws

    return Aws(plan)
