"""The target `local`, as `cli.targets` asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from cli.scaffold import OPTIONS, disks, flow, lines
from infra.model.machine import MachineSize

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
# The size of the machine; without it, this.
# machine: {machine}"""


def settings(zones: str, on_destroy: str | None) -> dict[str, str]:
    """None: it is the target of a stack that says nothing of it."""
    if zones or on_destroy:
        given = "--zones" if zones else "--on-destroy"
        raise typer.BadParameter("says nothing on target local", param_hint=given)
    return {}


def steps(_stack: Stack) -> list[str]:
    """The golden image, where there is none yet."""
    from image.store import GoldenImage, image_folder

    return [] if GoldenImage(image_folder()).disk.exists() else ["make image"]


def networks() -> list[str]:
    """This computer's own: nobody else reaches the machine's port."""
    return ["127.0.0.0/8"]


def machine(stack: Stack, asked: Mapping[str, str]) -> str:
    """The usual size, to be changed."""
    if asked:
        raise typer.BadParameter(
            f"stack {stack.name} is on target local; EC2's options are for target aws",
            param_hint=" and ".join(OPTIONS[name] for name in asked),
        )
    usual = MachineSize()
    sizes = {"cpus": usual.cpus, "memory_gib": usual.memory_gib, **disks()}
    return _MACHINE.format(machine=flow(sizes))


def shared_machine(stack: Stack, asked: Mapping[str, object]) -> str:
    """What was asked for, and the rest as comments."""
    if "instance_type" in asked:
        what = f"stack {stack.name} is on target local, where a machine has --cpus and --memory-gib"
        raise typer.BadParameter(what, param_hint="--instance-type")
    usual = MachineSize()
    return lines({"cpus": usual.cpus, "memory_gib": usual.memory_gib, **disks()}, asked)


def findings(stack: Stack, checked: Checked) -> list[Finding]:
    """This computer: image, QEMU, room, clocks."""
    from cli.local import doctor

    return doctor.findings(stack, checked)


def reports(stack: Stack, machines: Mapping[str, Machine]) -> list[Report]:
    """Each is asked through its guest agent."""
    from cli.local import status

    return status.reports(stack, machines)


def others(_stack: Stack, _machines: Mapping[str, Machine]) -> list[Problem]:
    """Nothing: what is of a machine here lies in its folder, which `up` takes over or removes."""
    return []


def trails(
    stack: Stack, machines: Mapping[str, Machine], since: str | None, *, ends: bool
) -> list[Trail]:
    """Files beside the machines."""
    from cli.local import trails as of_target

    return of_target.trails(stack, machines, since, ends=ends)


def is_behind(applied: int, wanted: int) -> bool:
    """Serials only grow; the state may have missed the last one."""
    return applied < wanted
