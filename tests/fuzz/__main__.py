"""`python -m tests.fuzz [COUNT [SEED]]`: so many inputs in all, by default 100,000 and any."""

from __future__ import annotations

import secrets
import sys
import time
from pathlib import Path

from tests.fuzz.runner import FuzzError, fuzz
from tests.fuzz.targets import TARGETS

FAILED = Path("fuzz-failed.bin")


def main() -> int:
    """The exit code; an input that fails is written to a file."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else secrets.randbelow(2**32)
    each = -(-count // len(TARGETS))
    for name, target in TARGETS.items():
        started = time.monotonic()
        try:
            fuzz(target, each, seed)
        except FuzzError as error:
            FAILED.write_bytes(error.data)
            print(f"{name}: {error}; the input is in {FAILED}, the seed was {seed}")
            return 1
        print(f"{name}: {each} inputs, {time.monotonic() - started:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
