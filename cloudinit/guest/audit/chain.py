"""A machine's record as a chain: each line holds the SHA-256 (FIPS 180-4) of itself and of the line
before it.

Who changes, removes, adds or moves one has to change all that follow, and those are in other hands
within a minute. The machine makes the chain, and the command line verifies it by this same module,
which needs nothing but the standard library.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

BEGIN = "0" * 64
"""What the first record of a chain has in the place of the hash before it."""
KINDS = ("login", "command", "change", "alert")


@dataclass(frozen=True)
class Head:
    """The last record: its number, from 1 on, and its hash."""

    seq: int = 0
    hash: str = BEGIN


@dataclass(frozen=True)
class Break:
    """Where a chain does not hold: the records concerned, from `first` to `last`, and how."""

    first: int
    last: int
    what: str


def seal(head: Head, said: dict[str, Any]) -> tuple[str, Head]:
    """The line of the record that follows `head`, without a line's end; and the new head."""
    more = {key: value for key, value in said.items() if key not in ("seq", "before", "hash")}
    record = {"seq": head.seq + 1, **more, "before": head.hash}
    own = _hash(record)
    return _text({**record, "hash": own}), Head(head.seq + 1, own)


def parse(line: str | bytes) -> dict[str, Any] | None:
    """A line as a record; None where it is none: half a line, or somebody else's."""
    try:
        record = json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or record.get("kind") not in KINDS:
        return None
    numbers = type(record.get("seq")) is int and record["seq"] > 0
    texts = all(isinstance(record.get(name), str) for name in ("time", "before", "hash"))
    return record if numbers and texts else None


def head_of(record: dict[str, Any]) -> Head:
    """The head of a chain whose last record this is."""
    return Head(record["seq"], record["hash"])


def verify(
    records: Iterable[dict[str, Any]], end: Head | None = None, whole: str | None = None
) -> Iterator[Break]:
    """Every place where the chain does not hold, in the order of the records' numbers.

    `records` are in the order in which they were found; one that came twice, the same both times,
    is no fault: what a machine is not sure to have sent it sends again. `end` is what is known of
    the chain's last record, if anything. `whole` is the time, as records have it, from which on
    nothing has run out, if it is known: what was before may be gone, but the last record of then.
    """
    found: dict[int, dict[str, Any]] = {}
    breaks: list[Break] = []
    highest = 0
    for record in records:
        seq = record["seq"]
        if seq not in found:
            found[seq] = record
            if seq < highest:
                breaks.append(Break(seq, seq, f"stands behind record {highest}"))
        elif found[seq] != record:
            breaks.append(Break(seq, seq, "is there twice, and not the same"))
        highest = max(highest, seq)
    breaks += _links(found)
    if whole is not None:
        breaks += _beginning(found, whole)
    if end is not None:
        breaks += _end(found, highest, end)
    yield from sorted(breaks, key=lambda each: (each.first, each.last))


def _links(found: dict[int, dict[str, Any]]) -> Iterator[Break]:
    before: dict[str, Any] | None = None
    for seq in sorted(found):
        record = found[seq]
        if before is not None and before["seq"] < seq - 1:
            first, last = before["seq"] + 1, seq - 1
            yield Break(first, last, "is missing" if first == last else "are missing")
        sound = _hash({key: record[key] for key in record if key != "hash"}) == record["hash"]
        if not sound:
            yield Break(seq, seq, "was changed")
        joined = before is None or before["seq"] != seq - 1 or record["before"] == before["hash"]
        if sound and not joined:
            yield Break(seq, seq, f"does not follow the record {seq - 1} that is there")
        if sound and seq == 1 and record["before"] != BEGIN:
            yield Break(seq, seq, "is the first, and names one before it")
        before = record


def _beginning(found: dict[int, dict[str, Any]], whole: str) -> Iterator[Break]:
    first = min(found, default=1)
    if first > 1 and found[first]["time"] >= whole:
        yield Break(1, first - 1, "is missing" if first == 2 else "are missing")


def _end(found: dict[int, dict[str, Any]], highest: int, end: Head) -> Iterator[Break]:
    if highest < end.seq:
        first = highest + 1
        yield Break(first, end.seq, "is missing" if first == end.seq else "are missing")
    elif end.seq in found and found[end.seq]["hash"] != end.hash:
        yield Break(end.seq, end.seq, "is another than the machine has")


def _hash(record: dict[str, Any]) -> str:
    return hashlib.sha256(_text(record).encode()).hexdigest()


def _text(record: dict[str, Any]) -> str:
    """One spelling: fields in their order, ASCII alone, no blanks."""
    return json.dumps(record, separators=(",", ":"), allow_nan=False)


def _no_number(_: str) -> None:
    raise ValueError("NaN and Infinity are no JSON")
