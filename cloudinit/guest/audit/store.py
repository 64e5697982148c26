"""The machine's own copy of its record: files of whole lines, as one chain, bounded.

Many programs add to it, one at a time. Each looks at the end of what is there first: half a line,
left by one that was killed, is taken away; and where less is there than was (the power was cut, or
somebody cut it off), the chain goes on behind what was, and says so. A full disk costs records and
nothing else; how many is counted, and is a record as soon as there is room.

What is not off the machine yet is pushed out by nothing. When much of it waits, there is no room
for more commands, so that logins, changes and alerts still have some.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from guest import kept, paths
from guest.audit import chain
from guest.audit.chain import Head
from guest.system import GuestError, folder, write

PLACE = kept.PLACE / "audit"
SEGMENT, SEGMENTS = 4 * 1024 * 1024, 16  # bytes; the oldest of so many files goes
COMMANDS = 12  # files that are not sent, behind which no command has room
LONGEST = 64 * 1024  # bytes of a line
_SEQ = re.compile(rb'\{"seq":([0-9]{1,15}),')
# What is known of the chain's end, beside the codes: it outlives the system disk, and a new disk's
# chain goes on from there.
HEAD = paths.STATE / "audit-head.json"
# In memory: how many records could not be kept, and how many of those a record has told of.
LOST = paths.RUN / "audit-lost"
# The number of the last record that is off the machine, by the port or with the other log lines.
SENT = PLACE / "sent"
SHIPPED = Path("/var/spool/secondlock/record")


def written(seconds: float) -> str:
    """A time as records have it (RFC 3339, UTC), with milliseconds."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds * 1000) % 1000:03}Z"


def record(
    kind: str, when: float, person: str | None, what: str, result: str, **more: Any
) -> dict[str, Any]:
    """What a record says; `more` are fields that only some have. What is None is left out."""
    said = {"time": written(when), "kind": kind, "person": person, "what": what, "result": result}
    return {key: value for key, value in (said | more).items() if value is not None}


def loss(when: float, person: str | None, what: str, count: int) -> dict[str, Any]:
    """What a record says of so many that are missing."""
    return record("alert", when, person, what, "lost", lost=count)


def note(kind: str, what: str, result: str, person: str | None = None, **more: Any) -> None:
    """Record what happens just now. Whatever becomes of that, the caller's work goes on."""
    try:
        append([record(kind, time.time(), person, what, result, **more)])
    except OSError:
        lose(1)


def append(said: Sequence[dict[str, Any]]) -> Head:
    """Put records behind the others. Raises OSError where there is no room: then none of them is
    there."""
    folder(kept.PLACE, 0o700)
    folder(PLACE, 0o700)
    with (PLACE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = _known_head()
        head = there = _end(mend=True)
        if there.seq < known.seq:
            gone = f"records {there.seq + 1} to {known.seq} are not on this machine any more"
            head = known
            said = [record("alert", time.time(), None, gone, "lost"), *said]
        full = len(_unsent()) > COMMANDS
        fitting = [one for one in said if not full or one["kind"] != "command"]
        left_out = len(said) - len(fitting)
        count, told = _lost()
        if count > told and not full:
            what = f"{count - told} records could not be kept"
            fitting.append(loss(time.time(), None, what, count - told))
            told = count
        head = _write(head, fitting)
        _keep_lost(lost() + left_out, told)
        with contextlib.suppress(GuestError):
            if os.path.ismount(paths.STATE):
                write(HEAD, json.dumps({"seq": head.seq, "hash": head.hash}), 0o600)
    return head


def lose(count: int) -> None:
    """Count records that could not be kept."""
    before, told = _lost()
    _keep_lost(before + count, told)


def lost() -> int:
    """How many could not be kept since the machine started."""
    return _lost()[0]


def sent() -> int | None:
    """The number of the last record that is off the machine; None where none ever was."""
    numbers = []
    for file in (SENT, SHIPPED):
        with contextlib.suppress(OSError, ValueError):
            numbers.append(int(file.read_text()))
    return max(numbers, default=None)


def end() -> Head:
    """The last record that is there, or that is known to have been."""
    there, known = _end(), _known_head()
    return known if known.seq > there.seq else there


class Following:
    """The records that come after one, as they are added: read on from where it was last left."""

    def __init__(self, after: int) -> None:
        self.seq = after
        self._segment, self._offset = 0, 0

    def lines(self, most: int) -> list[bytes]:
        """The next whole lines, some `most` bytes of them; `seq` is then the last one's number."""
        found: list[bytes] = []
        for segment in _segments(max(self.seq, self._segment - 1)):
            number = int(segment.stem)
            if number != self._segment:
                self._segment, self._offset = number, 0
            with segment.open("rb") as file:
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._offset += len(line)
                    if (seq := _number(line)) > self.seq:
                        self.seq = seq
                        found.append(line)
                        most -= len(line)
                    if most <= 0:
                        return found
        return found


def _number(line: bytes) -> int:
    found = _SEQ.match(line)
    return int(found[1]) if found else 0


def _segments(after: int = 0) -> list[Path]:
    """The files, oldest first, less those that hold only records up to this number. Each is called
    by its first record."""
    with contextlib.suppress(FileNotFoundError):
        every = sorted(each for each in PLACE.iterdir() if each.suffix == ".jsonl")
        old = [each for each in every if int(each.stem) <= after + 1]
        return every[max(len(old) - 1, 0) :]
    return []


def _write(head: Head, said: Sequence[dict[str, Any]]) -> Head:
    if not said:
        return head
    text = []
    for each in said:
        line, after = chain.seal(head, each)
        if len(line) > LONGEST:
            line, after = chain.seal(head, {**each, "what": "[too long]"})
        text.append(f"{line}\n")
        head = after
    data = "".join(text).encode()
    every = _segments()
    last = every[-1] if every else None
    if last is None or last.stat().st_size + len(data) > SEGMENT:
        _make_room(every)
        last = PLACE / f"{head.seq + 1 - len(said):015}.jsonl"
    _add(last, data)
    return head


def _make_room(every: list[Path]) -> None:
    """For one more file. Raises OSError where even the oldest is not sent yet; where nothing is
    ever sent, what goes is counted."""
    off = sent()
    for old, after in list(pairwise(every))[: max(len(every) + 1 - SEGMENTS, 0)]:
        first, following = int(old.stem), int(after.stem)
        if off is None:
            lose(following - first)
        elif off < following - 1:
            raise OSError(errno.ENOSPC, "what is there is not sent yet")
        old.unlink()


def _unsent() -> list[Path]:
    """The files with records that are still to be sent."""
    off = sent()
    return [] if off is None else _segments(off)


def _add(file: Path, data: bytes) -> None:
    """All or nothing, and on the disk before the head that names it is. Raises OSError."""
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        before = os.fstat(descriptor).st_size
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fdatasync(descriptor)
        except OSError:
            os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)


def _end(mend: bool = False) -> Head:
    """The last whole record. To `mend` is to take away half a line behind it, which only whoever
    has the lock may: another's write may be under way."""
    for segment in reversed(_segments()):
        with segment.open("rb+" if mend else "rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = max(size - 2 * LONGEST, 0)
            file.seek(start)
            tail = file.read()
            whole = tail[: tail.rfind(b"\n") + 1]
            if mend and len(whole) < len(tail):
                file.truncate(start + len(whole))
        for line in reversed(whole.splitlines()):
            if found := chain.parse(line):
                return chain.head_of(found)
    return Head()


def _known_head() -> Head:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(HEAD.read_text())
        return Head(int(known["seq"]), str(known["hash"]))
    return Head()


def _lost() -> tuple[int, int]:
    """How many records could not be kept, and how many of them were told of."""
    try:
        lost, told = LOST.read_text().split()
        return int(lost), int(told)
    except (OSError, ValueError):
        return 0, 0


def _keep_lost(lost: int, told: int) -> None:
    if lost:
        with contextlib.suppress(OSError, GuestError):
            write(LOST, f"{lost} {told}", 0o600)
