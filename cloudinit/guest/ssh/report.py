"""People's codes and sessions, as the status line has them."""

import contextlib
import time
from pathlib import Path
from typing import Any

from guest.ssh import codes


def of_codes(name: str) -> dict[str, Any]:
    """What became of a person's codes; where that cannot be read, nobody of that name gets in."""
    unknown = {"frozen": True, "wrong_codes": 0, "emergency_codes_left": 0, "codes_void": True}
    try:
        issued = codes.issued(name)
        slate = codes.slate(name, issued["enrollment"]) if issued else None
    except codes.CodesError:
        return unknown
    if issued is None or slate is None:
        return unknown
    left = 0 if slate["void"] else len(set(issued["emergency"]) - set(slate["emergency"]))
    return {
        "frozen": slate["frozen"],
        "wrong_codes": len(codes.wrong_today(slate, time.time())),
        "emergency_codes_left": left,
        "codes_void": slate["void"],
    }


def sessions() -> dict[int, int]:
    """Sessions by uid: sshd's per-session process runs as the researcher."""
    found: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if (entry / "comm").read_text().strip() == "sshd-session":
                uid = entry.stat().st_uid
                found[uid] = found.get(uid, 0) + 1
    return found
