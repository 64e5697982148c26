"""The target `aws`, as `cli.targets` asks for it. boto3 takes a while to load: not here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from cli.project import command
from cli.scaffold import disks, flow, lines, setting
from infra.model.machine import LOCAL_ONLY
from infra.model.settings import INSTANCE_TYPE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cli.engine import Machine
    from cli.findings import Finding
    from cli.project import Stack
    from cli.reports import Report
    from cli.trails import Trail
    from infra.checks import Checked
    from infra.model.problems import Problem

_MACHINE = """\
# The machine; what is left out is as here. spot: cheaper, stopped when EC2 needs the room.
# public: false: without a public address, SSH goes over Session Manager.
{mark}machine: {machine}

# The last day that it is wanted, and who pays: tags on everything that is made for it.
# until: 2030-12-31
# cost_centre: "{cost_centre}\""""


def settings(zones: str, on_destroy: str | None) -> dict[str, str]:
    """What has no default, since only people can decide it."""
    if not zones:
        raise typer.BadParameter("the target aws needs it: in which zones?", param_hint="--zones")
    if on_destroy is None:
        what = "the target aws needs it: delete or snapshot the data of a machine that goes?"
        raise typer.BadParameter(what, param_hint="--on-destroy")
    return {
        "secondlock:target": "aws",
        "secondlock:zones": zones,
        "secondlock:onDestroy": on_destroy,
    }


def steps(stack: Stack) -> list[str]:
    """The images, and a look at the account."""
    return [command("image", "pin", stack=stack), command("doctor", stack=stack)]


def networks() -> list[str]:
    """Nobody can guess them."""
    raise typer.BadParameter(
        "say where the researcher logs in from, for example --from 192.0.2.0/24",
        param_hint="--from",
    )


def machine(stack: Stack, asked: Mapping[str, str]) -> str:
    """What was asked for, or as a comment what there is to ask for."""
    kind = setting(stack, "instanceType") or INSTANCE_TYPE
    all_of_it = {"instance_type": kind, **disks(), "spot": "false", "public": "true"}
    return _MACHINE.format(
        mark="" if asked else "# ",
        machine=flow(asked or all_of_it),
        cost_centre=setting(stack, "costCentre") or "4711",
    )


def shared_machine(stack: Stack, asked: Mapping[str, object]) -> str:
    """What was asked for, and the rest as comments."""
    if unfit := [f"--{name.replace('_', '-')}" for name in LOCAL_ONLY if name in asked]:
        what = f"stack {stack.name} is on target aws, where --instance-type says it"
        raise typer.BadParameter(what, param_hint=" and ".join(unfit))
    kind = setting(stack, "instanceType") or INSTANCE_TYPE
    return lines({"instance_type": kind, **disks()}, asked)


def findings(stack: Stack, checked: Checked) -> list[Finding]:
    """The account: credentials, quotas, instance types, images."""
    from cli.aws import doctor

    return doctor.findings(stack, checked)


def reports(stack: Stack, machines: Mapping[str, Machine]) -> list[Report]:
    """The last line of each in CloudWatch Logs, and what EC2 says of it."""
    if not machines:
        return []
    from cli.aws import status

    return status.reports(stack, machines)


def others(stack: Stack, machines: Mapping[str, Machine]) -> list[Problem]:
    """What a killed `up` left in EC2."""
    from cli.aws import status

    return status.others(stack, machines)


def trails(
    stack: Stack, machines: Mapping[str, Machine], since: str | None, *, ends: bool
) -> list[Trail]:
    """Streams of CloudWatch Logs."""
    from cli.aws import trails as of_target

    return of_target.trails(stack, machines, since, ends=ends)


def is_behind(applied: int, wanted: int) -> bool:
    """A parameter that was made anew begins at 1: a higher serial can be the older."""
    return applied != wanted
