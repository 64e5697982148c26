"""What the machine knows of a factor: a module `factor` in the folder of its name."""

import functools
import importlib
from dataclasses import dataclass
from typing import Any, Protocol, cast

from guest.methods import every_factor


class Person(Protocol):
    """Whom a factor is bound to."""

    @property
    def name(self) -> str:
        """The account's name."""

    @property
    def method(self) -> str:
        """One of METHODS."""

    @property
    def enrollment(self) -> str:
        """The id of what was issued to them."""


@dataclass(frozen=True)
class Now:
    """In which moment it is bound."""

    anew: bool
    """Something that opens the door for this person is to change, or their account is new."""
    known: frozenset[str]
    """Of the person's ids, those that an earlier roster of this machine carried."""


class Factor(Protocol):
    """What each such module has. `part` is what `read` gave, None for a person who has it not."""

    FIELDS: tuple[str, ...]
    """Those of an entry that are this factor's alone, and secret."""

    def read(self, entry: dict[str, Any], name: str) -> Any:
        """Its part of the roster's entry of `name`. Raises GuestError, which quotes no value."""

    def ids(self, part: Any) -> frozenset[str]:
        """The ids of what was issued apart from the person's enrollment."""

    def marks(self, person: Person, part: Any) -> frozenset[str]:
        """What of it opens the door, in words that are no secret: what was opened by it before
        (remember/) ends where one of them is gone."""

    def differs(self, person: Person, part: Any) -> bool:
        """Whether `bind` would change who gets in. Raises OSError where that cannot be seen."""

    def bind(self, person: Person, part: Any, now: Now) -> str | None:
        """Make it so; what changed, in a word. Raises GuestError."""

    def forget(self, name: str) -> None:
        """Nothing of it opens the door to this person any more. Raises GuestError."""


@functools.cache
def load(name: str) -> Factor:
    """The factor of this name."""
    return cast("Factor", importlib.import_module(f"guest.{name}.factor"))


def every() -> dict[str, Factor]:
    """All that some method takes, by name."""
    return {name: load(name) for name in every_factor()}
