"""`python -m tools.image`: build the golden image, or do nothing where it is there."""

from __future__ import annotations

import sys

from tools.image.build import build
from tools.steps import StepError


def main() -> int:
    """Build; 1 when a step failed, 130 when interrupted."""
    try:
        build()
    except StepError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command again: it goes on from here.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
