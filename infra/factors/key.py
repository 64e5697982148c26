"""A key: the researcher makes it, and its public half stands in their request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from infra.factors import Issued, Streams, Who

REQUEST: dict[str, Any] = {
    "required": ["ssh_keys"],
    "properties": {"ssh_keys": {"minItems": 1}},
}
FIELDS: tuple[str, ...] = ()


class SHOWN(BaseModel):
    """Nothing: the researcher has it already."""


def fault(field: str, value: Any) -> tuple[str, str] | None:
    """A login takes one of the request's keys."""
    if field != "ssh_keys" or value:
        return None
    return (
        "no SSH key: nobody could log in",
        "ssh-keygen -t ed25519, and write its .pub file's line",
    )


def issue(_streams: Streams, _who: Who) -> Issued:
    """Nothing: the request has the keys."""
    return Issued()


def ids(_entry: Mapping[str, Any]) -> set[str]:
    """None: all of it is the enrollment's."""
    return set()


def scanned(_shown: SHOWN) -> dict[str, str]:
    """Nothing."""
    return {}


def steps(_shown: SHOWN, *, in_words: bool) -> list[str]:  # noqa: ARG001 (the contract's)
    """None: `ssh` finds it."""
    return []
