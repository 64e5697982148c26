"""The factors of a login: what each is to a request, the derivation, the roster and `enroll`.

A module a factor, of its name; what it is to a machine is cloudinit/guest/<name>/. Which of them
one login takes together, cloudinit/guest/methods.py says.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from pydantic import BaseModel

from cloudinit.guest.methods import METHODS, every_factor
from cloudinit.guest.methods import factors as names

DEFAULT = METHODS[0]
"""The method of who chooses none."""

PHONE = "phone"
"""What the authenticator of the enrollment is called where a request names none."""


@dataclass(frozen=True)
class Who:
    """For whom something is issued."""

    stack: str
    machine: str
    researcher: str
    authenticators: Mapping[str, str] | None = None
    """By name, the id of each thing that shows their codes; None: the enrollment's phone alone."""
    codes: str | None = None
    """The id of their emergency codes; None: the enrollment's."""


@dataclass(frozen=True)
class Issued:
    """What a factor derives for a person. Secret."""

    entry: dict[str, Any] = field(default_factory=dict, repr=False)
    """Its fields of their entry in the roster."""
    shown: dict[str, Any] = field(default_factory=dict, repr=False)
    """Its fields of their entry in the stack's output `enrollments`."""


class Streams(Protocol):
    """From a purpose to a reader of as many bytes as are asked for: the same at every run."""

    def __call__(self, purpose: str, issued: str | None = None, /) -> Callable[[int], bytes]:
        """`issued` is the id of what is issued; None: the person's enrollment."""


class Factor(Protocol):
    """What each module has."""

    REQUEST: dict[str, Any]
    """What it asks of a request, as a JSON Schema (2020-12)."""

    FIELDS: tuple[str, ...]
    """Fields of a request that only methods with this factor have."""

    SHOWN: type[BaseModel]
    """What `issue` shows, as it is read back from the stack's outputs."""

    def fault(self, field: str, value: Any) -> tuple[str, str] | None:
        """What is wrong with the value of a request's field for this factor, and what mends it."""

    def issue(self, streams: Streams, who: Who) -> Issued:
        """What one enrollment of the person gives them."""

    def ids(self, entry: Mapping[str, Any]) -> set[str]:
        """Of a person's entry in a roster: the ids of what was issued apart from the enrollment."""

    def scanned(self, shown: Any) -> dict[str, str]:
        """What the QRs hold that a person scans, by the name of what scans each."""

    def steps(self, shown: Any, *, in_words: bool) -> list[str]:
        """What the person does with what was issued; `in_words` also what the QR holds. Secret."""


def factor(name: str) -> Factor:
    """The factor of this name."""
    return cast("Factor", importlib.import_module(f"infra.factors.{name}"))


def ids(entry: Mapping[str, Any]) -> set[str]:
    """Of all that a person's entry in a roster carries, the enrollment's own among them.

    Also in a roster from another version, whose method may be unknown here.
    """
    return {entry["enrollment"]}.union(*(factor(name).ids(entry) for name in every_factor()))


def of(method: str) -> dict[str, Factor]:
    """The factors that a login by `method` takes, by name and in their order."""
    return {name: factor(name) for name in names(method)}
