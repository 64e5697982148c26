"""JupyterHub and nginx for the tests of the HTTPS door that need no machine.

What machines have is pinned in image/hub-requirements.txt, for their Python alone;
tests/hub-requirements.txt has the same versions for this computer's.
"""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING

from infra.files import cache_folder
from tools.steps import ROOT, Step, appears_whole, uv_install

if TYPE_CHECKING:
    from pathlib import Path

REQUIREMENTS = ROOT / "tests" / "hub-requirements.txt"
OLDEST = (3, 11)
"""The first Python that these versions are for."""


def hub_place() -> Path:
    """Where the packages are, or will be."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:16]
    return cache_folder() / f"hub-{sys.version_info.major}.{sys.version_info.minor}-{digest}"


def ensure_hub(step: Step, uv: Path, mend: str) -> bool:
    """Install them for the Python that runs this, where it is new enough; whether that was needed.

    Raises StepError.
    """
    if sys.version_info < OLDEST or hub_place().exists():
        return False
    with appears_whole(hub_place()) as part, step.heartbeat(f"installing {REQUIREMENTS.name}"):
        where = [f"--python={sys.executable}", f"--target={part}", "--no-deps"]
        uv_install(uv, [*where, "--only-binary=:all:"], REQUIREMENTS, mend=mend)
    return True
