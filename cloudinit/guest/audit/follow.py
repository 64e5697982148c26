"""secondlock-audit: makes the record of who did what, and sends it off the machine.

What the kernel and the door say is read on from where it was left, whatever ended this program
meanwhile. It goes on being there until it is recorded: a full disk holds it up and stops nobody.
"""

import calendar
import contextlib
import json
import pwd
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from guest import kept, paths
from guest.audit import store
from guest.audit.journal import Journal
from guest.audit.kernel import Kernel
from guest.audit.port import Port
from guest.audit.recorder import NAME, Recorder
from guest.audit.store import loss, record
from guest.audit.tails import Tail
from guest.system import GuestError, folder, write

# Seconds: what the kernel said before is whole, and the journal has the login by then.
INTERVAL = 2.0
LOOKS = 15.0  # seconds between two looks at what was lost
MOST = 50_000  # records that wait for room
AT_ONCE = 1000  # of them
BANS = Path("/var/log/fail2ban.log")
PLACES = paths.RUN / "audit-places.json"  # for this boot, as is what it speaks of
KEPT_PLACES = store.PLACE / "places.json"
STATE = paths.RUN / "audit.json"
# fail2ban's own log (fail2ban.actions), in the machine's time, which is UTC.
_BAN = re.compile(
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d{3} .* NOTICE +\[([\w-]{1,40})\] (Ban|Unban)"
    r" ([0-9a-fA-F.:]{2,45})$"
)


class Follower:
    """All of it, from one round to the next."""

    def __init__(self) -> None:
        known, boot = _read(KEPT_PLACES), _read(PLACES)
        self._journal = Journal(known.get("journal"))
        self._kernel = Kernel(boot.get("kernel", {}))
        self._bans = Tail(BANS, _place(known.get("bans")))
        self._recorder = Recorder(_name_of)
        self._recorder.know(boot.get("people", {}))
        self._port = Port()
        self._waiting: list[dict[str, Any]] = []
        self._error: str | None = None
        self._lost = int(boot.get("lost", 0))
        self._looked = 0.0
        self._places: Any = None
        self._rounds = 0

    def round(self) -> bool:
        """Record and send what is new; whether there is more to be had at once."""
        self._waiting += self._news()
        if (over := len(self._waiting) - MOST) > 0:
            store.lose(over)
            self._waiting = _fewer(self._waiting, over)
        if self._record():
            self._keep_places()
        self._port.send()
        self._tell()
        return self._kernel.more and not self._waiting

    def _news(self) -> Iterator[dict[str, Any]]:
        """The door first: who comes is known before what they do."""
        for when, process, message in self._journal.lines():
            yield from _whole(self._recorder.heard(when, process, message))
        for event in self._kernel.events():
            yield from _whole(self._recorder.seen(event))
        for _, line in self._bans.lines():
            yield from _ban(line)
        if time.monotonic() - self._looked >= LOOKS:
            self._looked = time.monotonic()
            yield from self._kernel.losses()
            yield from self._recorder.shares.losses(time.time())
            yield from self._fault()

    def _fault(self) -> Iterator[dict[str, Any]]:
        """That commands are not recorded, or are again, once each."""
        error = self._kernel.fault()
        if error != self._error:
            self._error = error
            what, result = (error, "failed") if error else ("commands are recorded", "mended")
            yield record("alert", time.time(), None, what, result)

    def _record(self) -> bool:
        """Whether all that is known is on the disk."""
        while some := self._waiting[:AT_ONCE]:
            try:
                store.append(some)
            except OSError:
                return False
            self._lost += sum(int(one.get("lost", 0)) for one in some)
            del self._waiting[:AT_ONCE]
        return True

    def _keep_places(self) -> None:
        people = self._recorder.known()
        places = (
            self._journal.cursor, self._kernel.places(), self._bans.place, people["shares"],
        )  # fmt: skip
        if places == self._places:
            return
        kernel = {"kernel": self._kernel.places(), "lost": self._lost}
        with contextlib.suppress(GuestError):
            kept_ones = {"journal": self._journal.cursor, "bans": self._bans.place}
            write(KEPT_PLACES, json.dumps(kept_ones), 0o600)
            write(PLACES, json.dumps({**kernel, "people": people}), 0o600)
            self._places = places

    def _tell(self) -> None:
        """For the status line (guest/audit/report.py).

        Not in the first round: what that reads is recorded in the second. Whoever is ended in each
        second one, and begun again, is as silent as who hangs.
        """
        self._rounds += 1
        if self._rounds < 2:
            return
        head = store.end()
        said = {
            "at": time.monotonic(),
            "seq": head.seq,
            "hash": head.hash,
            "sent": self._port.sent,
            "lost": self._lost + store.lost(),
            "error": "there is no room for records" if self._waiting else self._error,
        }
        with contextlib.suppress(GuestError):
            write(STATE, json.dumps(said), 0o600)


def _whole(records: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """What one line or event makes. A fault of ours in it costs that one, and is told: it would
    come again after each start, and nobody's record would go on."""
    try:
        return list(records)
    except Exception as error:  # noqa: BLE001
        what = f"something could not be recorded: {type(error).__name__}"
        return [loss(time.time(), None, what, 1)]


def _fewer(waiting: list[dict[str, Any]], over: int) -> list[dict[str, Any]]:
    """So many less: the newest commands, and only then what else there is."""
    kept_ones = []
    for one in reversed(waiting):
        if over > 0 and one["kind"] == "command":
            over -= 1
        else:
            kept_ones.append(one)
    return kept_ones[over:][::-1]


def _ban(line: str) -> Iterator[dict[str, Any]]:
    if found := _BAN.match(line):
        time_of_it, jail, what, address = found.groups()
        when = calendar.timegm(time.strptime(time_of_it, "%Y-%m-%d %H:%M:%S"))
        kind, result = ("alert", "banned") if what == "Ban" else ("change", "lifted")
        yield record(kind, when, None, f"ban by {jail}", result, address=address)


def _name_of(uid: int) -> str | None:
    """Asked anew each time: an account may have been made since."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return None
    return name if re.fullmatch(NAME, name) else None


def _place(value: Any) -> tuple[int, int] | None:
    return (int(value[0]), int(value[1])) if value else None


def _read(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def main() -> NoReturn:
    """Follow for ever."""
    folder(paths.RUN, 0o755)
    folder(kept.PLACE, 0o700)
    folder(store.PLACE, 0o700)
    follower = Follower()
    while True:
        if not follower.round():
            time.sleep(INTERVAL)
