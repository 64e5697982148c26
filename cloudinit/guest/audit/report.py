"""How the record of who did what stands, as the status line has it."""

import contextlib
import json
from typing import Any

from guest.audit import follow


def report() -> dict[str, Any]:
    """Its last record's number and hash, how many are off the machine, how many were lost since the
    machine started, and what is wrong."""
    with contextlib.suppress(OSError, ValueError):
        return dict(json.loads(follow.STATE.read_text()))
    return {"seq": 0, "hash": "", "sent": None, "lost": 0, "error": "nothing is recorded yet"}
