"""Text files that others add to and rotate: read on from where it was last left."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

LARGEST = 1024 * 1024  # bytes at once


class Tail:
    """A file, and what rotation has made of it: `audit.log`, then `audit.log.1`, the newest first.

    A place is an inode and an offset in it.
    """

    def __init__(self, file: Path, place: tuple[int, int] | None = None) -> None:
        self._file = file
        self.place = place

    def lines(self) -> Iterator[tuple[tuple[int, int], str]]:
        """The next whole lines, without their ends, each with the place where it begins."""
        # What is renamed just now is there under its new name in the next round.
        with contextlib.suppress(FileNotFoundError):
            yield from self._lines()

    def _lines(self) -> Iterator[tuple[tuple[int, int], str]]:
        left = LARGEST
        for file in self._files():
            with file.open("rb") as opened:
                inode = os.fstat(opened.fileno()).st_ino
                if self.place is None or self.place[0] != inode:
                    self.place = (inode, 0)
                offset = self.place[1]
                opened.seek(offset)
                for line in opened:
                    if not line.endswith(b"\n"):
                        break
                    yield (inode, offset), line[:-1].decode(errors="backslashreplace")
                    offset += len(line)
                    self.place = (inode, offset)
                    left -= len(line)
                    if left <= 0:
                        return

    def _files(self) -> list[Path]:
        """From the one where it was left on, oldest first."""
        files = [self._file, *(Path(f"{self._file}.{number}") for number in range(1, 10))]
        there = [each for each in files if each.exists()]
        for number, each in enumerate(there):
            if self._was_left_in(each):
                return there[number::-1]
        self.place = None
        return there[::-1]

    def _was_left_in(self, file: Path) -> bool:
        """Its inode may be another file's by now, which then may have less than was read."""
        found = file.stat()
        return self.place is not None and (
            found.st_ino == self.place[0] and found.st_size >= self.place[1]
        )
