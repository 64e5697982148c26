"""What EC2 cannot hold of a whole plan, beside what `infra.aws.checks` finds without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.aws.roster import naming_bundle, roster_problems
from infra.model.settings import AwsSettings

if TYPE_CHECKING:
    from infra.model.problems import Problem
    from infra.plan import Plan


def problems(plan: Plan) -> list[Problem]:
    """Rosters that are too large."""
    back = AwsSettings.of(plan.settings).older_bundle
    return roster_problems(naming_bundle(plan.machines, back))
