"""The record of who did what, as a target has it: of each machine, of those too that are gone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from cloudinit.guest.audit import chain
from cloudinit.guest.audit.chain import Head


@dataclass(frozen=True)
class Trail:
    """One machine's record, in the order in which it arrived."""

    machine: str
    lines: Iterable[bytes | str]
    end: Head | None = None
    """The last record as the machine itself says, where it was asked and answered."""
    whole: str | None = None
    """The time from which on nothing has run out, where that is known (`chain.verify`)."""

    def records(self) -> Iterator[dict[str, Any]]:
        """Each that can be read: half a line, left by a machine that was cut off, comes again."""
        for line in self.lines:
            if (record := chain.parse(line)) is not None:
                yield record

    def once(self) -> Iterator[dict[str, Any]]:
        """Each once, though a machine may have sent it again."""
        seen = set[tuple[int, str]]()
        for record in self.records():
            mark = (record["seq"], record["hash"])
            if mark not in seen:
                seen.add(mark)
                yield record
