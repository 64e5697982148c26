"""What there is of a stack in EC2 that its state does not know: it costs, and nobody minds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.aws.session import client_config, explained
from cli.engine import state
from infra.aws.inventory import Item, inventory

if TYPE_CHECKING:
    from collections.abc import Collection

    import boto3

    from cli.project import Stack


def strays(stack: Stack, here: boto3.Session, told: Collection[str] = ()) -> list[Item]:
    """Those in the session's region, in the order in which to end them. Raises ProblemsError.

    The stack's outputs tell of `told`. The state is read only where there is more: they are those
    of the last good `up`.
    """
    with explained(stack, "ec2"):
        there = inventory(here.client("ec2", config=client_config()), stack.name)
    found = [one for one in there if one.id not in told]
    if not found:
        return []
    known = {one.id for one in state(stack).resources}
    return [one for one in found if not known & {one.id, one.version}]
