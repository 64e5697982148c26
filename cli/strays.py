"""Machines of a stack in EC2 that its state does not know: they cost, and nobody minds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.aws import client_config, explained
from cli.engine import state
from infra.aws.living import Living, living

if TYPE_CHECKING:
    from collections.abc import Collection

    import boto3

    from cli.project import Stack


def strays(stack: Stack, here: boto3.Session, told: Collection[str] = ()) -> list[Living]:
    """Those in the session's region; the stack's outputs tell of `told`. Raises ProblemsError.

    The state is read only where the outputs do not tell of all: they are those of the last good
    `up`.
    """
    with explained(stack, "ec2"):
        there = living(here.client("ec2", config=client_config()), stack.name)
    found = [one for one in there if one.id not in told]
    if not found:
        return []
    known = {one.id for one in state(stack).resources}
    return [one for one in found if one.id not in known]


def said_of(one: Living) -> str:
    """What is wrong."""
    return f"the stack's state does not know {one.id}, a machine of {one.machine}: {one.state}"
