"""A target: a function from bytes that lets through nothing but faults meant for a person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infra.model.text import first_hidden

_LONGEST = 300_000  # characters of all that is told of one input


@dataclass(frozen=True)
class Target:
    """Good inputs to begin with, and what reads them; `place` is a folder of its own.

    It raises AssertionError where a promise does not hold, and any other exception is a fault.
    """

    seeds: list[bytes]
    run: Callable[[bytes, Path], None]


def told(error: Exception) -> None:
    """A fault is in lines that are seen, can be printed, and end."""
    words = str(error)
    words.encode()
    assert len(words) < _LONGEST, "endless"
    assert all(first_hidden(line) is None for line in words.split("\n")), "something unseen"


def encoded(*texts: str) -> list[bytes]:
    """Seeds."""
    return [text.encode() for text in texts]
