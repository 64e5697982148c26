"""What has to outlive the journal, where all that people's programs cause has its room too and
pushes out what is older: who came in, who guessed, which rosters were applied.

Each person's logins, each person's wrong codes and the rosters have files of their own, each
bounded: whoever logs in without end pushes out none but their own logins.
"""

import contextlib
import time
from pathlib import Path

from guest.system import folder

PLACE = Path("/var/log/secondlock")
# Twice, the newer half and the older: some five thousand logins of one person.
MOST = 512 * 1024  # bytes


def logins(name: str, lines: list[str]) -> None:
    """Keep these of one person, whole lines."""
    _append(PLACE / "logins" / f"{name}.log", lines)


def guesses(name: str, lines: list[str]) -> None:
    """Wrong codes of one person, and emergency codes used."""
    _append(PLACE / "codes" / f"{name}.log", lines)


def roster(what: str) -> None:
    """What became of a roster, just now."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    _append(PLACE / "rosters.log", [f"{now} {' '.join(what.split())}\n"])


def _append(file: Path, lines: list[str]) -> None:
    """Past `MOST` bytes the older half goes. A full disk costs lines and nothing else."""
    new = "".join(lines)[-MOST:]
    with contextlib.suppress(OSError):
        folder(PLACE, 0o700)
        folder(file.parent, 0o700)
        if file.exists() and file.stat().st_size + len(new) > MOST:
            file.rename(file.with_suffix(".log.1"))
        with file.open("a") as kept:
            kept.write(new)
