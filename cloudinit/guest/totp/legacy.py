"""Codes as machines of earlier releases kept them: pam_google_authenticator(8), pam_faillock(8).

A state volume outlives its machine: what was used or frozen there stays so.
"""

import re
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from guest import paths
from guest.totp import codes

TOTP, FAILLOCK = paths.STATE / "totp", paths.STATE / "faillock"
# struct tally (faillock.h): source, reserved, status (1: valid), time in seconds since 1970.
TALLY = struct.Struct("=52sHHQ")


def slate(name: str, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """What became of the codes in `wanted` there; None where the volume has no such file."""
    try:
        lines = (TOTP / name).read_text(errors="replace").splitlines()
    except OSError:
        return None
    found = codes.fresh(wanted["enrollment"])
    left = {line for line in lines if re.fullmatch(r"[0-9]{8}", line)}
    if "codes" not in wanted:  # else there are others by now
        found["emergency"] = [code for code in wanted["emergency"] if code not in left]
    for line in lines:
        if line.startswith('" DISALLOW_REUSE'):
            steps = [int(word) for word in line.split()[2:] if word.isdecimal()]
            found["floor"] = max(steps, default=0)
    found["wrong"] = _wrong(FAILLOCK / name)
    found["frozen"] = len(found["wrong"]) >= codes.LIMIT
    return found


def _wrong(path: Path) -> list[float]:
    with suppress(OSError):
        content = path.read_bytes()
        whole = content[: len(content) // TALLY.size * TALLY.size]
        since = time.time() - codes.DAY
        tallies = TALLY.iter_unpack(whole)
        return [float(at) for _, _, status, at in tallies if status & 1 and at > since]
    return []


def forget(name: str) -> None:
    """Remove the files of one person."""
    for place in (TOTP, FAILLOCK):
        (place / name).unlink(missing_ok=True)
