"""How many of a person's commands are recorded.

Whoever starts programs without end neither fills a disk or a bill with that nor takes the room of
others' records. What is too much is a number.
"""

from collections.abc import Iterator
from typing import Any

from guest.audit.store import loss

BURST, EACH_SECOND = 20_000, 2.0
"""Commands at once, and in the long run: 170,000 a day, some 100 MB."""


class Shares:
    """Of each person: what is left, and since when; what was too much, until that is told."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float]] = {}
        self._over: dict[str, int] = {}

    def takes(self, person: str, when: float) -> bool:
        """Whether one more has room, by the time at which it was started: so what is read again
        after a restart is judged as it was before."""
        left, before = self._left.get(person, (BURST, when))
        left = min(left + max(when - before, 0) * EACH_SECOND, BURST)
        fits = left >= 1
        self._left[person] = (left - 1 if fits else left, when)
        if not fits:
            self._over[person] = self._over.get(person, 0) + 1
        return fits

    def losses(self, now: float) -> Iterator[dict[str, Any]]:
        """What was too much since the last look."""
        for person, count in self._over.items():
            what = f"{count} commands were too many to be recorded one by one"
            yield loss(now, person, what, count)
        self._over = {}

    def known(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {"left": dict(self._left), "over": dict(self._over)}

    def know(self, known: dict[str, Any]) -> None:
        """What `known` said earlier in this boot."""
        self._left = {name: (float(one[0]), float(one[1])) for name, one in known["left"].items()}
        self._over = {name: int(count) for name, count in known["over"].items()}
