"""What shows a person's codes: which there are, by which id, and when one is over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from infra.factors import PHONE
from infra.model.yaml_lines import Location

MOST = 5
"""Of a person: each makes a guess likelier."""

Part = Literal["authenticator", "emergency_codes"]
"""What can be over alone, of an enrollment that has both."""

Issued = Mapping[Location, str]
"""Ids by the field of the request that has each."""


def mark(issued: str, part: Part | None) -> str:
    """What the record of a stack calls an id that is over, or a part of what it stands for."""
    return f"{issued} {part}" if part else issued


def marks(field: Location, issued: str) -> set[str]:
    """By any of these it is seen that the id in this field is over."""
    if field[0] == "authenticators":
        return {issued, mark(issued, "authenticator")}
    if field[0] == "emergency_codes":
        return {issued, mark(issued, "emergency_codes")}
    return {issued}


def parts(
    enrollment: str, authenticators: Mapping[str, str] | None, emergency_codes: str | None
) -> Issued:
    """All that is issued to a person besides the enrollment itself, as if the request said it."""
    named = {PHONE: enrollment} if authenticators is None else authenticators
    return {
        **{("authenticators", name): issued for name, issued in named.items()},
        ("emergency_codes",): emergency_codes or enrollment,
    }
