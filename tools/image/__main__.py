"""`python -m tools.image`: build the golden image, or do nothing where it is there."""

from __future__ import annotations

import sys

from tools.image.build import build
from tools.steps import exit_code

if __name__ == "__main__":
    sys.exit(exit_code(build))
