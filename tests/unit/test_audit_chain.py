"""A machine's record as a chain: whatever is done to one record is found, and named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudinit.guest.audit import chain
from cloudinit.guest.audit.chain import Break, Head

COUNT = 8
_TEXTS = st.text(max_size=20)


def _said(number: int) -> dict[str, Any]:
    return {
        "time": f"2026-11-27T12:00:{number:02}.000Z",
        "kind": "command",
        "person": "alice",
        "what": f"python3 train.py --run {number}",
        "result": "started",
    }


def _sealed(said: list[dict[str, Any]]) -> tuple[list[str], Head]:
    head, lines = Head(), []
    for each in said:
        line, head = chain.seal(head, each)
        lines.append(line)
    return lines, head


def _records(count: int = COUNT) -> tuple[list[dict[str, Any]], Head]:
    lines, head = _sealed([_said(number) for number in range(count)])
    return [json.loads(line) for line in lines], head


@settings(deadline=None)
@given(st.lists(st.dictionaries(_TEXTS, _TEXTS, max_size=3), max_size=20))
def test_what_nobody_touched_holds(more: list[dict[str, str]]) -> None:
    lines, head = _sealed([{**each, **_said(1)} for each in more])
    records = [record for line in lines if (record := chain.parse(line))]
    assert len(records) == len(more)
    assert list(chain.verify(records, head)) == []


@pytest.mark.parametrize("place", range(COUNT))
@pytest.mark.parametrize("name", ["time", "person", "what", "result", "before", "hash"])
def test_one_changed_field_of_one_record_is_found_and_named(place: int, name: str) -> None:
    records, head = _records()
    records[place][name] = "0" * 64
    breaks = list(chain.verify(records, head))
    # Of the first, this is what stands there.
    if (place, name) != (0, "before"):
        assert Break(place + 1, place + 1, "was changed") in breaks


@pytest.mark.parametrize("place", range(COUNT))
def test_a_changed_record_that_was_sealed_anew_does_not_fit_the_next_one(place: int) -> None:
    records, head = _records()
    before = chain.head_of(records[place - 1]) if place else Head()
    forged, _ = chain.seal(before, {**_said(place), "person": "bob"})
    records[place] = json.loads(forged)
    (found,) = chain.verify(records, head)
    last = place == COUNT - 1
    assert found.first == (COUNT if last else place + 2)
    assert ("another than" if last else "does not follow") in found.what


@pytest.mark.parametrize("place", range(COUNT))
def test_one_removed_record_is_found_and_named(place: int) -> None:
    records, head = _records()
    del records[place]
    breaks = list(chain.verify(records, head))
    # What begins later is an older machine's: retention took its first.
    expected = [] if place == 0 else [Break(place + 1, place + 1, "is missing")]
    assert breaks == expected


@pytest.mark.parametrize("place", range(COUNT - 1))
def test_two_that_changed_places_are_found_and_named(place: int) -> None:
    records, head = _records()
    records[place], records[place + 1] = records[place + 1], records[place]
    (found,) = chain.verify(records, head)
    assert found == Break(place + 1, place + 1, f"stands behind record {place + 2}")


@pytest.mark.parametrize("place", range(COUNT - 1))
def test_two_that_changed_numbers_are_found_and_named(place: int) -> None:
    records, head = _records()
    one, other = records[place], records[place + 1]
    one["seq"], other["seq"] = other["seq"], one["seq"]
    named = {each.first for each in chain.verify(records, head) if each.what == "was changed"}
    assert named == {place + 1, place + 2}


@pytest.mark.parametrize("left", range(COUNT))
def test_what_was_cut_off_at_the_end_is_missing_by_what_the_machine_says(left: int) -> None:
    records, head = _records()
    (found,) = chain.verify(records[:left], head)
    assert (found.first, found.last) == (left + 1, COUNT)


def test_what_was_sent_twice_is_no_fault_and_what_came_twice_otherwise_is() -> None:
    records, head = _records()
    assert list(chain.verify([*records, *records[4:]], head)) == []
    (found,) = chain.verify([*records, {**records[4], "person": "bob"}], head)
    assert found == Break(5, 5, "is there twice, and not the same")


def test_what_begins_later_holds_where_what_was_before_may_have_run_out() -> None:
    records, head = _records()
    assert list(chain.verify(records[3:], head)) == []
    # Of the moment when the fifth was written, and of the one before that.
    assert list(chain.verify(records[3:], head, records[4]["time"])) == []
    (found,) = chain.verify(records[3:], head, records[3]["time"])
    assert found == Break(1, 3, "are missing")
    assert list(chain.verify(records, head, "")) == []


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200))
def test_no_line_of_whoever_wrote_it_stops_the_reader(line: bytes | str) -> None:
    assert chain.parse(line) is None


@pytest.mark.parametrize(
    "line",
    [
        "[" * 100_000,
        '{"kind":"login","seq":NaN,"time":"","before":"","hash":""}',
        '{"kind":"login","seq":true,"time":"","before":"","hash":""}',
        '{"kind":"else","seq":1,"time":"","before":"","hash":""}',
        '{"kind":"login","seq":1,"time":1,"before":"","hash":""}',
        '{"kind":["login"],"seq":1,"time":"","before":"","hash":""}',
    ],
)
def test_what_is_no_record_is_none(line: str) -> None:
    assert chain.parse(line) is None
