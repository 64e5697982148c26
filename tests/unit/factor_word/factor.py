"""A factor that is nowhere but in the tests: a word that the person types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from infra.factors import Issued, Streams, Who

REQUEST: dict[str, Any] = {}
FIELDS: tuple[str, ...] = ()


class SHOWN(BaseModel):
    """What a person is shown."""

    word: str


def fault(field: str, value: Any) -> tuple[str, str] | None:
    """Who types a word needs no key."""
    if field == "ssh_keys" and value:
        return "a key that no login asks for", "remove it"
    return None


def issue(streams: Streams, _who: Who) -> Issued:
    """The word."""
    word = streams("word")(8).hex()
    return Issued({"word": word}, {"word": word})


def ids(_entry: Mapping[str, Any]) -> set[str]:
    """None: all of it is the enrollment's."""
    return set()


def scanned(_shown: SHOWN) -> dict[str, str]:
    """Nothing."""
    return {}


def steps(shown: SHOWN, *, in_words: bool) -> list[str]:
    """To learn it."""
    return [f"Learn this word: {shown.word}"]
