"""The same on the machine."""

import re
from typing import Any

from guest.factors import Now, Person
from guest.reading import text

FIELDS = ("word",)


def read(entry: dict[str, Any], name: str) -> str:
    """The word of the entry of `name`."""
    return text(entry.get("word"), re.compile("[0-9a-f]{16}"), f"the word of {name}")


def ids(_: object) -> frozenset[str]:
    """None: all of it is the enrollment's."""
    return frozenset()


def marks(_: Any, __: Any) -> frozenset[str]:
    """None: another comes with another enrollment."""
    return frozenset()


def differs(_person: Person, _word: str | None) -> bool:
    """Never."""
    return False


def bind(_person: Person, word: str | None, _now: Now) -> str | None:
    """Nothing, in tests."""
    return word and "word"


def forget(_name: str) -> None:
    """Nothing, in tests."""


def main() -> int:
    """What PAM asks."""
    return 1
