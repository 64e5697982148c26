"""The composition: a stack's plan becomes resources, the same way on every target."""

from __future__ import annotations

import datetime as dt
import operator
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi.runtime import config

from infra.checks import SECRETS, checked_plan
from infra.given import expiry
from infra.model.networks import is_world_open
from infra.model.problems import ProblemsError
from infra.register import SAID_WHY, Register
from infra.ssh_file import misleading
from infra.targets import target_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from infra.model.person import InstanceRequest
    from infra.plan import Plan

_STATE = Path(".secondlock")


class Lab:
    """A stack's machines, and what the program says of them."""

    def __init__(self, plan: Plan) -> None:
        made = target_of(plan.settings.target).make(plan)
        self.machines: dict[str, pulumi.Output[dict[str, Any]]] = {}
        for machine in plan.machines:
            one = made.machine(machine)
            known = {
                **one.known,
                "researchers": list(machine.members),
                "target": plan.settings.target,
                **({"remember": dict(machine.remember)} if machine.remember else {}),
                **({"web_alone": list(machine.web_alone)} if machine.web_alone else {}),
            }
            self.machines[machine.name] = one.now.apply(partial(operator.or_, known))
        self.enrollments = pulumi.Output.secret(plan.enrollments)
        self.policies = made.policies
        if self.machines and not pulumi.runtime.is_dry_run():
            tell = partial(_tell_misleading, plan.settings.stack)
            pulumi.Output.all(**self.machines).apply(tell)

    @property
    def outputs(self) -> dict[str, Any]:
        """The program's outputs."""
        outputs = {"machines": self.machines, "enrollments": self.enrollments}
        return {**outputs, "policies": self.policies} if self.policies else outputs


async def make_lab() -> dict[str, Any]:
    """Make the lab of the stack that Pulumi runs; its outputs.

    Prints everything that is wrong and ends the program before a resource is made. Not by
    pulumi.RunError: after that the engine adds a line about an exit code.
    """
    try:
        plan = _checked_plan()
    except ProblemsError as error:
        # Pulumi repeats the first line in each row of its table: it is left empty.
        pulumi.log.error(f"\nnothing was changed, because:\n{error}")
        sys.exit(SAID_WHY)
    place = target_of(plan.settings.target).place(plan.settings)
    await Register(plan, place).settled()
    return Lab(plan).outputs


def _checked_plan() -> Plan:
    """The plan of the stack that runs. Raises ProblemsError."""
    values = {**config.get_config_env(), **config.CONFIG.get()}
    encrypted = [key for key in SECRETS if config.is_config_secret(key)]
    plan = checked_plan(pulumi.get_stack(), values, encrypted=encrypted)
    if not pulumi.runtime.is_dry_run():
        target_of(plan.settings.target).check_ready()
    _warn_of_open_doors(plan.asked.people)
    if (note := expiry(plan.settings, dt.datetime.now(dt.timezone.utc))) is not None:
        pulumi.log.warn(str(note))
    return plan


def place(plan: Plan) -> str:
    """Where the stack's target keeps its machines' data."""
    return target_of(plan.settings.target).place(plan.settings)


def _tell_misleading(stack: str, machines: Mapping[str, Mapping[str, Any]]) -> None:
    if what := misleading(_STATE / stack, stack, machines):
        mend = f"./secondlock ssh-config --stack {stack}"
        pulumi.log.warn(f"{_STATE / stack / 'ssh_config'} is of before: {what} ({mend})")


def _warn_of_open_doors(requests: Sequence[InstanceRequest]) -> None:
    for request in requests:
        if is_world_open(request.allowed_from) or is_world_open(request.web_allowed_from):
            pulumi.log.warn(f"{request.researcher}: logins are allowed from anywhere")
