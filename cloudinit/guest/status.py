"""secondlock-status: the machine in one JSON line."""

import contextlib
import datetime as dt
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from guest import accounts, clock, codes, gpu, logins, paths, state, upgrade, workspace
from guest.system import GuestError, run, write


def _now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


def _clock() -> dict[str, Any]:
    """The distance is a measurement of ours: chrony's own (chronyc(1), `tracking`) is that from
    what it makes of its source, and stays small while the machine is minutes behind."""
    fields = run("chronyc", "-c", "tracking", check=False).strip().split(",")
    known, offset = len(fields) >= 14, clock.offset()
    return {
        "synchronised": known and fields[13] != "Not synchronised",
        "offset_seconds": None if offset is None else round(offset, 3),
        "source": (fields[1] or fields[0]) if known else None,
    }


def _bans() -> list[str]:
    """What the kernel refuses: fail2ban's own client takes seconds to start when emulated."""
    listed = run("nft", "-j", "list", "table", "inet", "f2b-table", check=False)
    objects = json.loads(listed)["nftables"] if listed else []
    return sorted(
        str(address) for each in objects for address in each.get("set", {}).get("elem", [])
    )


def _codes(name: str) -> dict[str, Any]:
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


def _sessions() -> dict[int, int]:
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


def _workspace(name: str) -> tuple[str, bool]:
    try:
        return workspace.state(name)
    except GuestError:
        return "unknown", False


def _researcher(name: str, uid: int, sessions: dict[int, int], last: str | None) -> dict[str, Any]:
    groups = accounts.groups_of(name)
    workspace_state, has_gpu = _workspace(name)
    return {
        "factors": "password+totp" if "secondlock-password" in groups else "key+totp",
        **_codes(name),
        "sessions": sessions.get(uid, 0),
        "last_login": last,
        "workspace": workspace_state,
        "gpu": has_gpu,
    }


def _full() -> str | None:
    """A full state volume lets nobody in: say so before they call."""
    if not os.path.ismount(paths.STATE):
        return "the state volume is not mounted"
    space = os.statvfs(paths.STATE)
    if space.f_bavail * space.f_frsize < 64 * 1024:
        return "the state volume is full: codes cannot be used up, so logins are refused"
    root = os.statvfs("/")
    if root.f_bavail * root.f_frsize < 64 * 1024 * 1024:
        return "the system disk is full: workspaces cannot be made, and logins are not recorded"
    return None


def collect() -> dict[str, Any]:
    """Everything `secondlock status` shows; a part that cannot be read says so in `error`."""
    machine = json.loads(paths.MACHINE.read_text())
    error = paths.ERROR.read_text().strip() if paths.ERROR.exists() else _full()
    try:
        known = state.load()
    except GuestError as fault:
        known, error = state.State(), str(fault)
    sessions, last = _sessions(), logins.last()
    return {
        "time": _now().strftime("%Y-%m-%dT%H:%M:%SZ"),
        "stack": machine["stack"],
        "machine": machine["machine"],
        "serial": known.serial,
        "error": error,
        "bundle": upgrade.report(),
        "clock": _clock(),
        "bans": _bans(),
        "gpu": gpu.report(),
        "researchers": {
            name: _researcher(name, known.uids[name], sessions, last.get(name))
            for name in sorted(known.enrollments)
        },
        "idle": {"load1": round(os.getloadavg()[0], 2), "sessions": sum(sessions.values())},
    }


def main() -> int:
    """Write the line to its file and, without `--quiet`, print it."""
    paths.RUN.mkdir(mode=0o755, exist_ok=True)
    line = json.dumps(collect(), sort_keys=True)
    write(paths.STATUS, line + "\n", 0o600)
    if "--quiet" not in sys.argv and sys.argv[0].endswith("status"):
        print(line)
    return 0
