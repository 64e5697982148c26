"""Who has logged in, and who has guessed: out of the journal, into files that outlive it."""

import contextlib
import datetime as dt
import fcntl
import json
import re

from guest import kept, paths
from guest.remember import grants
from guest.roster import document
from guest.system import GuestError, run, write

NAME = rf"({document.NAME.pattern})(?:{re.escape(grants.SUFFIX)})?"
ACCEPTED = re.compile(rf"Accepted \S+ for {NAME} from ")
# As guest/totp/verify.py logs it. Whoever is frozen can go on asking: of that nothing is kept.
GUESSED = re.compile(rf"code of {NAME} from \S*: (?:wrong|right, by emergency code)")
# sshd and the verifier run as root: who is not cannot have written these, whatever name they log
# under.
SOURCES = (
    "_UID=0",
    *(f"SYSLOG_IDENTIFIER={name}" for name in ("sshd-session", "sshd", "secondlock-verify")),
)
# Of how far the journal was read: it lies where the journal does, and lasts as long.
CURSOR = kept.PLACE / "cursor"
LAST = paths.STATE / "logins.json"


def last() -> dict[str, str]:
    """The last login of each person, after a look at the journal since the last one."""
    with (paths.RUN / "logins.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _look()


def _look() -> dict[str, str]:
    try:
        known: dict[str, str] = json.loads(LAST.read_text())
    except (OSError, ValueError):
        known = {}
    found, cursor = _messages()
    for name, lines in _by_name(ACCEPTED, found).items():
        known[name] = lines[-1].split()[0]
        kept.logins(name, lines)
    for name, lines in _by_name(GUESSED, found).items():
        kept.guesses(name, lines)
    with contextlib.suppress(GuestError):
        write(LAST, json.dumps(known, sort_keys=True), 0o600)
    if cursor:  # last: what is cut off is kept twice rather than never
        with contextlib.suppress(GuestError):
            write(CURSOR, cursor, 0o600)
    return known


def _by_name(pattern: re.Pattern[str], found: list[tuple[str, str]]) -> dict[str, list[str]]:
    """The lines of each person that begin so."""
    lines: dict[str, list[str]] = {}
    for when, message in found:
        if match := pattern.match(message):
            lines.setdefault(match[1], []).append(f"{when} {message}\n")
    return lines


def _messages() -> tuple[list[tuple[str, str]], str | None]:
    """What the door has logged since the last look, with its times, and how far that is."""
    after = [f"--after-cursor={CURSOR.read_text()}"] if CURSOR.exists() else []
    lines = run(
        "journalctl", "-q", "-o", "json", "--output-fields=MESSAGE", *after, *SOURCES, check=False
    )
    entries = [json.loads(line) for line in lines.splitlines()]
    found = [
        (_written(entry), entry["MESSAGE"])
        for entry in entries
        if isinstance(entry.get("MESSAGE"), str)
    ]
    return found, entries[-1]["__CURSOR"] if entries else None


def _written(entry: dict[str, str]) -> str:
    seconds = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
    return dt.datetime.fromtimestamp(seconds, dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
