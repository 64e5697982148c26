"""`python -m tools.image`: build the golden image, or do nothing where it is there.

`--fresh` builds it once more, with the packages of today.
"""

from __future__ import annotations

import sys

from image.build import build
from image.store import GoldenImage
from tools.emulation import require_avx
from tools.steps import exit_code


def _build() -> None:
    require_avx()
    image = GoldenImage(build(fresh="--fresh" in sys.argv[1:]))
    require_avx(image.kernel)


if __name__ == "__main__":
    sys.exit(exit_code(_build))
