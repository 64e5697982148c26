"""A password in place of a key: of the product's own making, and of 99 bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints

from infra.factors import Issued, Streams, Who, draw

REQUEST: dict[str, Any] = {}
FIELDS: tuple[str, ...] = ()


class SHOWN(BaseModel):
    """What a person is shown."""

    model_config = ConfigDict(hide_input_in_errors=True, frozen=True)

    password: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,128}\z")]


def fault(_field: str, _value: Any) -> None:
    """Nothing: it needs nothing of a request."""


def issue(streams: Streams, _who: Who) -> Issued:
    """The password."""
    password = draw.password(streams("password"))
    return Issued({"password": password}, {"password": password})


def ids(_entry: Mapping[str, Any]) -> set[str]:
    """None: all of it is the enrollment's."""
    return set()


def scanned(_shown: SHOWN) -> dict[str, str]:
    """Nothing."""
    return {}


def steps(shown: SHOWN, *, in_words: bool) -> list[str]:  # noqa: ARG001 (the contract's)
    """To keep it."""
    return [f"The password, asked for before the code:\n   {shown.password}"]
