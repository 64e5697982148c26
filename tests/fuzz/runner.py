"""Running targets: each input under a time limit, and what fails is kept."""

from __future__ import annotations

import hashlib
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from tests.fuzz.mutate import mutated
from tests.fuzz.target import Target

SECONDS = 20.0
"""That one input may take, on a computer with other work: usual are milliseconds."""


class TooSlowError(BaseException):
    """No Exception: what is fuzzed shall not catch it."""


class FuzzError(AssertionError):
    """An input on which a target broke a promise; `data` is the input."""

    def __init__(self, what: str, data: bytes) -> None:
        super().__init__(what)
        self.data = data


def fuzz(target: Target, count: int, seed: int) -> None:
    """Run `count` inputs. Raises FuzzError at the first that fails."""
    luck = Random(seed)  # noqa: S311 - no secret hangs on it
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        place = Path(folder).resolve()
        for number in range(count):
            good = number < len(target.seeds)
            run_one(target, target.seeds[number] if good else mutated(target.seeds, luck), place)


def run_one(target: Target, data: bytes, place: Path) -> None:
    """Run one input. Raises FuzzError."""
    try:
        with _limit():
            target.run(data, place)
    except (Exception, TooSlowError) as error:
        name = hashlib.sha256(data).hexdigest()[:8]
        raise FuzzError(f"input {name}: {type(error).__name__}: {error!s:.300}", data) from error


@contextmanager
def _limit() -> Iterator[None]:
    def too_slow(*_: object) -> None:
        raise TooSlowError(f"more than {SECONDS:.0f} s")

    before = signal.signal(signal.SIGALRM, too_slow)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
