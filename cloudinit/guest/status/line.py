"""secondlock-status: the machine in one JSON line."""

import datetime as dt
import json
import os
import sys
from typing import Any

from guest import paths, services
from guest.alerts import watch as alerts
from guest.audit import report as audit
from guest.bans import report as bans
from guest.clock import report as clock
from guest.closing import closing
from guest.gateway import door, places
from guest.gpu import devices
from guest.remember import grants
from guest.remember import person as remembered
from guest.roster import accounts, state
from guest.ssh import report as ssh
from guest.status import logins
from guest.system import GuestError, write
from guest.totp import report as totp
from guest.upgrade import change
from guest.volumes import room
from guest.workspace import containers


def _now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


def _workspaces(names: list[str]) -> dict[str, tuple[str, bool]]:
    try:
        return containers.states(names)
    except GuestError:
        return dict.fromkeys(names, ("unknown", False))


def _method(groups: set[str]) -> str:
    """That of an account in these groups; sshd takes the first for whoever is in none."""
    first, *_ = every = services.methods()
    return next((name for name, each in every.items() if each["group"] in groups), first)


def _researcher(
    name: str, workspace: tuple[str, bool], sessions: int, last: str | None
) -> dict[str, Any]:
    method = _method(accounts.groups_of(name))
    workspace_state, has_gpu = workspace
    return {
        "factors": method,
        **totp.of_codes(name, method),
        "sessions": sessions,
        "last_login": last,
        "remembered_until": _until(name),
        "workspace": workspace_state,
        "gpu": has_gpu,
    }


def _until(name: str) -> str | None:
    """When the last certificate of a remembered person ends."""
    until = remembered.until(name)
    return None if until is None else _written(dt.datetime.fromtimestamp(until, dt.timezone.utc))


def _written(time: dt.datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


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
    sessions, last = ssh.sessions(), logins.last()
    people = sorted(known.enrollments)
    workspaces = _workspaces(people)
    return {
        "time": _written(_now()),
        "stack": machine["stack"],
        "machine": machine["machine"],
        "serial": known.serial,
        "error": error,
        "bundle": change.report(),
        "clock": clock.report(),
        "door": ssh.door(),
        "web": ssh.door(door.PORT[machine["target"]]) if places.HUB_CONFIG.exists() else None,
        "certificate_days": door.days_left(),
        "bans": bans.report(),
        "disks": room.report(),
        "alerts": alerts.report(),
        "closes": closing.report(),
        "audit": audit.report(),
        "gpu": devices.report(),
        "researchers": {
            name: _researcher(
                name, workspaces[name], sessions.get(known.uids[name], 0), last.get(name)
            )
            for name in people
        },
        "idle": {"load1": round(os.getloadavg()[0], 2), "sessions": sum(sessions.values())},
    }


def main() -> int:
    """Write the line to its file and, without `--quiet`, print it."""
    paths.RUN.mkdir(mode=0o755, exist_ok=True)
    grants.tidy()
    line = json.dumps(collect(), sort_keys=True)
    write(paths.STATUS, line + "\n", 0o600)
    if "--quiet" not in sys.argv and sys.argv[0].endswith("status"):
        print(line)
    return 0
