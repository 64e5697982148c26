"""Pieces of the files that the command line writes for people."""

from __future__ import annotations

from collections.abc import Mapping

from cli.project import Stack
from infra.model.machine import MachineSize
from infra.model.problems import ProblemsError
from infra.model.settings import setting_problems

OPTIONS = {"instance_type": "--instance-type", "spot": "--spot", "public": "--private"}
"""What on the command line sets a field of `machine`."""


def flow(fields: Mapping[str, object]) -> str:
    """A mapping of YAML in one line."""
    return "{" + ", ".join(f"{name}: {value}" for name, value in fields.items()) + "}"


def lines(usual: Mapping[str, object], asked: Mapping[str, object]) -> str:
    """Fields of YAML, a line each: what is asked for, and as comments what is usual."""
    return "\n".join(
        f"{name}: {asked[name]}" if name in asked else f"# {name}: {value}"
        for name, value in usual.items()
    )


def disks() -> dict[str, object]:
    """The sizes that a machine has on every target, where nothing is said of them."""
    usual = MachineSize()
    return {"root_disk_gib": usual.root_disk_gib, "home_disk_gib": usual.home_disk_gib}


def setting(stack: Stack, key: str) -> str | None:
    """A setting that goes into a file. Raises ProblemsError for what the stack may not have."""
    value = stack.value(f"secondlock:{key}")
    problems = setting_problems(stack.name, key, value) if value else []
    if problems:
        raise ProblemsError(problems)
    return value
