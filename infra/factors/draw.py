"""Numbers out of a stream of random bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # no i, l, o, 0, 1
_GROUPS, _GROUP = 4, 5  # 20 characters of 31: 99 bits


def below(limit: int, read: Callable[[int], bytes], size: int) -> Iterator[int]:
    """Uniform numbers in [0, limit) from `size` bytes each: what would favour the low ones is
    thrown away."""
    whole = 256**size // limit * limit
    while True:
        number = int.from_bytes(read(size), "big")
        if number < whole:
            yield number % limit


def password(read: Callable[[int], bytes]) -> str:
    """One of 99 bits, in groups."""
    numbers = below(len(_LETTERS), read, 1)
    letters = [_LETTERS[n] for n in islice(numbers, _GROUPS * _GROUP)]
    return "-".join(
        "".join(letters[start : start + _GROUP]) for start in range(0, len(letters), _GROUP)
    )
