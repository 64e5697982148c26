"""What the kernel says of programs that people start: auditd writes it into memory."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from guest.audit.events import Event, Reader
from guest.audit.store import loss
from guest.audit.tails import Tail
from guest.system import run

RAW = Path("/run/secondlock-auditd/audit.log")
AUDITCTL = Path("/usr/sbin/auditctl")
MUCH = 512 * 1024  # bytes of one round, after which the next comes at once
_STATUS = re.compile(r"^(enabled|pid|lost) (\d+)$", re.MULTILINE)


class Kernel:
    """`known` is what `places` said when it was left."""

    def __init__(self, known: dict[str, Any]) -> None:
        place = known.get("place")
        self._tail = Tail(RAW, (place[0], place[1]) if place else None)
        self._reader = Reader()
        self._begun: dict[int, tuple[int, int]] = {}
        self._lost = int(known.get("lost", 0))
        self._last = int(known.get("last", 0))
        self._missed = 0
        self.more = False
        """Whether there is more to read at once."""

    def places(self) -> dict[str, Any]:
        """From where to read on: the first line of what is not given out yet."""
        waiting = self._reader.waiting
        place = self._begun[min(waiting)] if waiting else self._tail.place
        return {"place": place, "lost": self._lost, "last": self._last}

    def events(self) -> Iterator[Event]:
        """Those that are whole: of which no line came in this round."""
        fresh: set[int] = set()
        count = 0
        for place, line in self._tail.lines():
            count += len(line)
            if (serial := self._reader.take(line)) is not None:
                fresh.add(serial)
                self._begun.setdefault(serial, place)
        self.more = count > MUCH
        for event in self._reader.finished(fresh):
            del self._begun[event.serial]
            # The kernel leaves no number out: what is not there was pushed out before it was read.
            if 0 < self._last < event.serial - 1:
                self._missed += event.serial - 1 - self._last
            self._last = max(self._last, event.serial)
            yield event

    def losses(self) -> Iterator[dict[str, Any]]:
        """What was lost since the last look, by the kernel's own count and by ours."""
        if self._missed:
            what = "what the kernel had said was gone before it was read"
            yield loss(time.time(), None, what, self._missed)
            self._missed = 0
        lost = _status().get("lost", 0)
        if lost > self._lost:
            what = "the kernel had more to say than was taken"
            yield loss(time.time(), None, what, lost - self._lost)
        self._lost = lost

    @staticmethod
    def fault() -> str | None:
        """Why nothing comes, if so."""
        if not AUDITCTL.exists():
            return "commands are not recorded: this machine's image has no auditd"
        status = _status()
        if not status.get("enabled") or not status.get("pid"):
            return "commands are not recorded: auditd does not run"
        if "execve" not in run(str(AUDITCTL), "-l", check=False):
            return "commands are not recorded: the kernel has none of our rules"
        return None


def _status() -> dict[str, int]:
    """What `auditctl -s` says (auditctl(8)); nothing where there is none."""
    if not AUDITCTL.exists():
        return {}
    said = run(str(AUDITCTL), "-s", check=False)
    return {name: int(value) for name, value in _STATUS.findall(said)}
