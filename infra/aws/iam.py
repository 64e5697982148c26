"""IAM's policy documents (IAM User Guide, "IAM JSON policy elements reference")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Document = dict[str, Any]


def document(*statements: Document) -> Document:
    """A policy."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def statement(
    effect: str,
    sid: str,
    actions: str | list[str],
    resource: str | list[str] | None = None,
    *,
    principal: dict[str, str] | None = None,
    **conditions: dict[str, Any],
) -> Document:
    """A statement; conditions by their operators, all of which must hold.

    A `principal` stands in the policies of resources, which say who; a role's own has no resource.
    """
    elements = {
        "Sid": sid,
        "Effect": effect,
        "Principal": principal,
        "Action": actions,
        "Resource": resource,
        "Condition": conditions,
    }
    return {name: value for name, value in elements.items() if value}


def allow(
    sid: str, actions: Sequence[str], resource: str | list[str], **conditions: dict[str, Any]
) -> Document:
    """What the holder of a policy may do."""
    return statement("Allow", sid, list(actions), resource, **conditions)
