"""`python -m tools.image`: build the golden image, or do nothing where it is there."""

from __future__ import annotations

import sys

from infra.local.image import GoldenImage
from tools.emulation import require_avx
from tools.image.build import build
from tools.steps import exit_code


def _build() -> None:
    directory = build()
    require_avx(GoldenImage(directory, directory.name).kernel)


if __name__ == "__main__":
    sys.exit(exit_code(_build))
