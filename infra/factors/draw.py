"""Numbers out of a stream of random bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator


def below(limit: int, read: Callable[[int], bytes], size: int) -> Iterator[int]:
    """Uniform numbers in [0, limit) from `size` bytes each: what would favour the low ones is
    thrown away."""
    whole = 256**size // limit * limit
    while True:
        number = int.from_bytes(read(size), "big")
        if number < whole:
            yield number % limit
