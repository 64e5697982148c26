"""The records of local machines: a file each, to which QEMU adds what the machine sends.

QEMU has it open for as long as the machine runs, so nothing is cut out of it and no line moves:
what has run out is given back to the file system as a hole (fallocate(2), FALLOC_FL_PUNCH_HOLE).
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

from cloudinit.guest.audit import chain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONGEST = 256 * 1024
"""Bytes of a line: what is longer no machine of ours wrote."""


def lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """The whole lines of a record, each with the offset where it begins; none where there is none.

    Raises OSError.
    """
    with suppress(FileNotFoundError), file.open("rb") as opened:
        try:
            offset = os.lseek(opened.fileno(), 0, os.SEEK_DATA)
        except OSError:  # nothing but a hole, or empty
            return
        opened.seek(offset)
        while line := opened.readline(LONGEST):
            begin = offset + len(line) - len(line.lstrip(b"\0"))
            offset += len(line)
            if line.endswith(b"\n"):
                yield begin, line.strip(b"\0\n")


def prune(file: Path, before: str) -> int:
    """Give back the records at the beginning that are older than a time as records have it, but
    the last of them: that the record begins there, and not later, shows that no more is gone.

    How many; none where the file system cannot do it. Raises OSError.
    """
    old, end = -1, 0
    for begin, line in lines(file):
        record = chain.parse(line)
        if record is not None and record["time"] >= before:
            break
        if record is not None:
            old, end = old + 1, begin
    if old < 1:
        return 0
    argv = ["fallocate", "--punch-hole", "--offset", "0", "--length", str(end), str(file)]
    done = subprocess.run(argv, capture_output=True, check=False)
    return old if done.returncode == 0 else 0
