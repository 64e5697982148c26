"""The composition: a stack's plan becomes resources, the same way on every target."""

from __future__ import annotations

import operator
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pulumi
from pulumi.runtime import config

from infra.local import target as local
from infra.local.image import golden_image
from infra.plan import MachinePlan, Plan, make_plan
from infra.problems import Problem, ProblemsError
from infra.record import needless_words
from infra.register import SAID_WHY, Register
from infra.requests import is_world_open
from infra.settings import SEED_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from infra.requests import InstanceRequest

_PREFIX = "secondlock:"
_REQUESTS = Path("stacks")


class Machine(Protocol):
    """What every target says of a machine: `known` by the plan, or `now`, by the machine alone.

    The two together are its `address`, `port`, `host_key`, `running` and `serial`, and what else
    the target's machines have. One output for all: with a thousand machines each takes seconds.
    """

    @property
    def known(self) -> Mapping[str, Any]: ...
    @property
    def now(self) -> pulumi.Output[dict[str, Any]]: ...


class Target(Protocol):
    """Where machines are made."""

    @property
    def name(self) -> str: ...
    @property
    def policies(self) -> Mapping[str, pulumi.Output[str]]: ...
    def machine(self, plan: MachinePlan) -> Machine: ...


class Lab:
    """A stack's machines, and what the program says of them."""

    def __init__(self, plan: Plan) -> None:
        target = _target(plan)
        self.machines: dict[str, pulumi.Output[dict[str, Any]]] = {}
        for machine in plan.machines:
            made = target.machine(machine)
            known = {
                **made.known,
                "researchers": list(machine.researchers),
                "target": target.name,
            }
            self.machines[machine.name] = made.now.apply(partial(operator.or_, known))
        self.enrollments = pulumi.Output.secret(plan.enrollments)
        self.policies = target.policies

    @property
    def outputs(self) -> dict[str, Any]:
        """The program's outputs."""
        outputs = {"machines": self.machines, "enrollments": self.enrollments}
        return {**outputs, "policies": self.policies} if self.policies else outputs


def _target(plan: Plan) -> Target:
    """The one that the settings name; of its libraries the other one's stacks load nothing."""
    if plan.settings.target == "local":
        names = [machine.name for machine in plan.machines]
        return local.Local(plan.settings.stack, names)
    from infra.aws.target import Aws

    return Aws(plan)


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
    await Register(plan, place(plan)).settled()
    return Lab(plan).outputs


def _checked_plan() -> Plan:
    """The plan of the stack that runs. Raises ProblemsError."""
    values = {**config.get_config_env(), **config.CONFIG.get()}
    secret = config.is_config_secret(_PREFIX + SEED_KEY)
    plan = checked_plan(pulumi.get_stack(), values, seed_is_secret=secret)
    if plan.settings.target == "local" and not pulumi.runtime.is_dry_run():
        golden_image()  # a preview does without
    _warn_of_open_doors(plan.requests)
    return plan


def checked_plan(
    stack: str, config: Mapping[str, str], *, seed_is_secret: bool, root: Path = Path()
) -> Plan:
    """The plan of a stack of the project in `root`, with everything that its target finds.

    `config` is the whole configuration, decrypted. Raises ProblemsError: the same for `up` and for
    `doctor`, whatever is wrong, as far as that is known without the stack's state.
    """
    values = _settings(config)
    seed = values.pop(SEED_KEY, None)
    found = [] if seed is None or seed_is_secret else [_seed_in_clear(stack)]
    try:
        plan = make_plan(stack, root / _REQUESTS / stack, values, seed)
    except ProblemsError as error:
        raise ProblemsError([*found, *error.problems]) from None
    found += _target_problems(plan, config.get("aws:region"), root)
    found += needless_words(plan, place(plan))
    if found:
        raise ProblemsError(found)
    return plan


def place(plan: Plan) -> str:
    """Where the stack's target keeps its machines' data."""
    if plan.settings.target == "local":
        return str(local.home(plan.settings.stack))
    return plan.settings.region


def _settings(values: Mapping[str, str]) -> dict[str, str]:
    """Every value of ours, also those that are spelt wrongly: pulumi.Config gives only by name."""
    return {
        key.removeprefix(_PREFIX): value for key, value in values.items() if key.startswith(_PREFIX)
    }


def _seed_in_clear(stack: str) -> Problem:
    what = "the enrollment seed stands there in clear: whoever has read it can be anyone"
    anew = f"pulumi config set --secret {_PREFIX}{SEED_KEY} --stack {stack}"
    file = Path(f"stacks/Pulumi.{stack}.yaml")
    return Problem(file, None, what, f"openssl rand -hex 32 | {anew}")


def _target_problems(plan: Plan, region: str | None, root: Path) -> list[Problem]:
    if plan.settings.target == "local":
        return local.problems(plan, root)
    from infra.aws import target as aws

    return aws.problems(plan, region)


def _warn_of_open_doors(requests: Sequence[InstanceRequest]) -> None:
    for request in requests:
        if is_world_open(request.allowed_from):
            pulumi.log.warn(f"{request.researcher}: logins are allowed from anywhere")
