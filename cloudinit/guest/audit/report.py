"""How the record of who did what stands, as the status line has it."""

import json
import time
from typing import Any

from guest.audit import follow

SILENT = 60.0
"""Seconds after which what `secondlock-audit` told last is of before: it tells every other second,
by a clock that nobody sets (clock_gettime(2), CLOCK_MONOTONIC)."""
NOTHING = {"seq": 0, "hash": "", "sent": None, "lost": 0, "error": "nothing is recorded yet"}


def report() -> dict[str, Any]:
    """Its last record's number and hash, how many are off the machine, how many were lost since the
    machine started, and what is wrong."""
    try:
        told = dict(json.loads(follow.STATE.read_text()))
        silent = time.monotonic() - float(told.pop("at"))
    except (OSError, ValueError, KeyError, TypeError):
        return NOTHING
    if silent > SILENT:
        told["error"] = f"nothing is recorded: its program is silent for more than {SILENT:.0f} s"
    return told
