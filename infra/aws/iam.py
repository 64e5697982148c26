"""IAM's policy documents (IAM User Guide, "IAM JSON policy elements reference")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Document = dict[str, Any]


def document(*statements: Document) -> Document:
    """A policy."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(
    sid: str, actions: Sequence[str], resource: str | list[str], **conditions: dict[str, Any]
) -> Document:
    """A statement; conditions by their operators, all of which must hold."""
    statement = {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": resource}
    return {**statement, "Condition": conditions} if conditions else statement
