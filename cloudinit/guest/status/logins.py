"""Who has logged in: kept apart from the journal, where what people's programs cause has its room
too and pushes out what is older."""

import contextlib
import datetime as dt
import json
import re
from pathlib import Path

from guest import paths
from guest.remember import grants
from guest.system import GuestError, folder, run, write

ACCEPTED = re.compile(r"^Accepted \S+ for (\S+) from ")
RECORD = Path("/var/log/secondlock/logins.log")
# A login takes a code of thirty seconds: this much holds months of one that never stops.
MOST = 8 * 2**20  # bytes, twice
# sshd runs as root: who is not cannot have written these, whatever name they log under.
SSHD = ("_UID=0", "SYSLOG_IDENTIFIER=sshd-session", "SYSLOG_IDENTIFIER=sshd")


def last() -> dict[str, str]:
    """The last login of each person, after a look at the journal since the last one."""
    place = paths.STATE / "logins.json"
    try:
        known: dict[str, str] = json.loads(place.read_text())
    except (OSError, ValueError):
        known = {}
    new = []
    for when, message in _messages():
        if match := ACCEPTED.match(message):
            known[match[1].removesuffix(grants.SUFFIX)] = when
            new.append(f"{when} {message}\n")
    _record(new)
    with contextlib.suppress(GuestError):
        write(place, json.dumps(known, sort_keys=True), 0o600)
    return known


def _messages() -> list[tuple[str, str]]:
    """What sshd has logged since the last look, with its times."""
    cursor = paths.RUN / "logins.cursor"
    lines = run(
        "journalctl", "-q", "-o", "json", "--output-fields=MESSAGE", f"--cursor-file={cursor}",
        *SSHD, check=False,
    )  # fmt: skip
    found = []
    for line in lines.splitlines():
        entry = json.loads(line)
        if isinstance(message := entry.get("MESSAGE"), str):
            seconds = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
            when = dt.datetime.fromtimestamp(seconds, dt.timezone.utc)
            found.append((when.strftime("%Y-%m-%dT%H:%M:%SZ"), message))
    return found


def _record(lines: list[str]) -> None:
    """Append; past `MOST` bytes the older half goes. A full disk costs lines and nothing else."""
    with contextlib.suppress(OSError):
        folder(RECORD.parent, 0o700)
        if RECORD.exists() and RECORD.stat().st_size > MOST:
            RECORD.rename(RECORD.with_suffix(".log.1"))
        with RECORD.open("a") as record:
            record.writelines(lines)
