"""Log lines on their way to CloudWatch Logs: what PutLogEvents takes, and no secret in them."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

ship: Any = importlib.import_module("guest.ship.journal")

DAY = 86_400_000


def _events(*times: int) -> list[Any]:
    return [ship.Event(time, f"line {number}") for number, time in enumerate(times)]


@given(st.lists(st.integers(0, 10 * DAY), max_size=200))
def test_batches_lose_nothing_and_are_in_order(times: list[int]) -> None:
    events = _events(*times)
    batches = list(ship.batches(events))
    assert sorted(each for batch in batches for each in batch) == sorted(events)
    for batch in batches:
        stamps = [each.timestamp for each in batch]
        assert stamps == sorted(stamps)
        assert stamps[-1] - stamps[0] < DAY


def test_lines_of_one_moment_stay_in_order() -> None:
    events = _events(5, 5, 5, 1)
    assert list(ship.batches(events)) == [[events[3], *events[:3]]]


def test_a_batch_has_at_most_ten_thousand_events() -> None:
    sizes = [len(batch) for batch in ship.batches(_events(*range(25_000)))]
    assert sizes == [10_000, 10_000, 5_000]


def test_a_batch_has_at_most_a_mebibyte_with_26_bytes_an_event() -> None:
    events = [ship.Event(number, "ö" * 100_000) for number in range(12)]
    for batch in ship.batches(events):
        assert sum(len(each.message.encode()) + 26 for each in batch) <= 1_048_576
    assert [len(batch) for batch in ship.batches(events)] == [5, 5, 2]


def _entry(message: Any) -> dict[str, Any]:
    return {
        "MESSAGE": message,
        "SYSLOG_IDENTIFIER": "sshd-session",
        "_PID": "123456",
        "__REALTIME_TIMESTAMP": "1700000000123456",
    }


def test_an_entry_becomes_a_line_with_its_time_in_milliseconds() -> None:
    line = ship.event("auth", _entry("Accepted publickey for alice"))
    assert line == (1700000000123, "sshd-session[123456]: Accepted publickey for alice")


def test_a_status_line_stays_json() -> None:
    assert ship.event("status", _entry('{"serial": 123456}')).message == '{"serial": 123456}'


@pytest.mark.parametrize("message", [list("grün".encode()), [255, 254], None, ""])
def test_what_is_not_text_is_a_line_all_the_same(message: Any) -> None:
    assert ship.event("sync", _entry(message)).message


def test_a_message_too_long_is_cut_between_characters() -> None:
    line = ship.event("sync", _entry("ö" * 300_000))
    assert set(line.message) == {"ö"}
    assert line.size <= ship.LONGEST + ship.OVERHEAD


@pytest.mark.parametrize(
    "message",
    [
        "Invalid user 123456 from 192.0.2.1 port 50000",
        "Invalid user hunter 2 from here from 192.0.2.1 port 50000",
        "Failed none for invalid user 50194780 from 192.0.2.1 port 50000 ssh2",
        "Disconnected from invalid user correct-horse 192.0.2.1 port 5 [preauth]",
        "something said 50194780",
        "something said 019478",
        "secret ABCDEFGHIJKLMNOPQRSTUVWXYZ234567 of alice",
    ],
)
def test_no_code_secret_or_mistyped_password_goes_out(message: str) -> None:
    cleaned = ship.scrub(message)
    assert "[removed]" in cleaned
    for secret in ("123456", "hunter", "50194780", "correct-horse", "019478", "ABCDEFGH"):
        assert secret not in cleaned


@pytest.mark.parametrize(
    "message",
    [
        "Accepted keyboard-interactive/pam for alice from 192.0.2.1 port 50000 ssh2",
        'Connection from 2001:db8::1 port 50000 on 10.77.0.5 port 22 rdomain ""',
        "code of alice from 192.0.2.1: wrong (3 wrong in a day)",
    ],
)
def test_what_an_admin_needs_stays(message: str) -> None:
    assert ship.scrub(message) == message
