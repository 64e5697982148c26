"""Files of this computer's that more than one part of Secondlock keeps.

Python's standard library only: set-up uses it before the project's own environment exists.
"""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder of Secondlock's caches (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "secondlock"
