"""The machine's own copy of its record: many add to it, some are killed, the disk runs full."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

chain: Any = importlib.import_module("guest.audit.chain")
port: Any = importlib.import_module("guest.audit.port")
store: Any = importlib.import_module("guest.audit.store")
kept: Any = importlib.import_module("guest.kept")
paths: Any = importlib.import_module("guest.paths")

ROOT = Path(__file__).parents[2]
WRITERS, EACH = 20, 25
# A program that adds records until it is ended, or so many.
WRITER = """
import sys, pathlib
sys.path.insert(0, "cloudinit")
from guest import kept, paths
from guest.audit import store
place = pathlib.Path(sys.argv[1])
kept.PLACE, store.PLACE = place, place / "audit"
store.HEAD, store.LOST = place / "head.json", place / "lost"
for number in range(int(sys.argv[3])):
    store.note("command", "x" * (number % 50) * 100, "started", person=sys.argv[2])
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where it lies."""
    monkeypatch.setattr(kept, "PLACE", tmp_path)
    monkeypatch.setattr(store, "PLACE", tmp_path / "audit")
    monkeypatch.setattr(store, "HEAD", tmp_path / "head.json")
    monkeypatch.setattr(store, "LOST", tmp_path / "lost")
    monkeypatch.setattr(store, "SENT", tmp_path / "sent")
    monkeypatch.setattr(store, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(paths, "RUN", tmp_path)
    return tmp_path


def _records() -> list[dict[str, Any]]:
    found = [chain.parse(line) for line in store.Following(0).lines(1 << 30)]
    return [record for record in found if record is not None]


def _breaks() -> list[Any]:
    return list(chain.verify(_records()))


def _note(what: str = "made") -> None:
    store.note("change", what, "done")


def test_twenty_who_write_at_once_make_one_chain(place: Path) -> None:
    argv = [sys.executable, "-c", WRITER, str(place)]
    writers = [
        subprocess.Popen([*argv, f"r{number}", str(EACH)], cwd=ROOT) for number in range(WRITERS)
    ]
    assert [each.wait(120) for each in writers] == [0] * WRITERS
    records = _records()
    assert [each["seq"] for each in records] == list(range(1, WRITERS * EACH + 1))
    assert _breaks() == []
    people = [each["person"] for each in records]
    assert {people.count(f"r{number}") for number in range(WRITERS)} == {EACH}


def test_who_is_killed_leaves_a_chain_that_others_go_on_with(place: Path) -> None:
    argv = [sys.executable, "-c", WRITER, str(place), "alice", "1000000"]
    for _ in range(6):
        writer = subprocess.Popen(argv, cwd=ROOT)
        before, deadline = len(_records()), time.monotonic() + 60
        while len(_records()) == before:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    _note()
    assert _breaks() == []
    assert _records()[-1]["what"] == "made"


def test_half_a_line_goes_and_the_chain_goes_on(place: Path) -> None:
    _note("one")
    (segment,) = (place / "audit").glob("*.jsonl")
    with segment.open("ab") as file:
        file.write(b'{"seq":2,"time":"2026')
    _note("two")
    assert [each["what"] for each in _records()] == ["one", "two"]
    assert _breaks() == []


def test_what_was_cut_off_is_told_and_the_chain_goes_on_behind_it(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda _: True)
    monkeypatch.setattr(os, "fchown", lambda *_: None)
    for number in range(5):
        _note(f"{number}")
    sent = _records()
    (segment,) = (place / "audit").glob("*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[:3]))
    assert store.end() == chain.head_of(sent[-1])
    _note("later")
    *_, told, later = _records()
    assert told["what"] == "records 4 to 5 are not on this machine any more"
    assert (told["seq"], later["seq"]) == (6, 7)
    assert list(chain.verify([*sent, told, later])) == []


def test_a_new_system_disk_goes_on_with_the_chain_of_the_old_one(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda _: True)
    monkeypatch.setattr(os, "fchown", lambda *_: None)
    _note("before")
    sent = _records()
    for each in (place / "audit").iterdir():
        each.unlink()
    _note("after")
    assert list(chain.verify([*sent, *_records()])) == []
    assert [each["seq"] for each in _records()] == [2, 3]


def test_a_full_disk_costs_a_number_and_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    _note("before")
    written = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) > 20:
            return written(descriptor, data[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    for _ in range(3):
        _note("lost")
    monkeypatch.setattr(os, "write", written)
    assert len(_records()) == 1
    _note("after")
    before, after, told = _records()
    assert (before["what"], after["what"]) == ("before", "after")
    assert told["lost"] == 3
    assert _breaks() == []


def test_a_clock_that_is_set_back_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for now in (2e9, 1e9, 0):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        _note()
    assert [each["time"][:4] for each in _records()] == ["2033", "2001", "1970"]
    assert _breaks() == []


def test_it_is_bounded_and_what_is_left_holds(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    monkeypatch.setattr(store, "SEGMENT", 4000)
    monkeypatch.setattr(store, "SEGMENTS", 3)
    for number in range(200):
        store.SENT.write_text(f"{number}")
        _note(f"{number}")
    segments = list((place / "audit").glob("*.jsonl"))
    assert len(segments) == 3
    assert sum(each.stat().st_size for each in segments) <= 12_000
    records = _records()
    assert records[-1]["seq"] == 200
    assert 1 < records[0]["seq"] < 190
    assert _breaks() == []
    assert store.lost() == 0


def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SEGMENT", 4000)
    monkeypatch.setattr(store, "SEGMENTS", 6)
    monkeypatch.setattr(store, "COMMANDS", 4)


def test_a_storm_pushes_out_nothing_that_is_not_sent_and_is_a_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _small(monkeypatch)
    _note("before")
    store.SENT.write_text("0")
    for _ in range(200):
        store.append([store.record("command", 0, "bob", "\U0001f600" * 20, "started")])
    store.note("login", "login", "let in", person="alice")
    records = _records()
    assert (records[0]["what"], records[-1]["person"]) == ("before", "alice")
    commands = [one for one in records if one["kind"] == "command"]
    assert 0 < len(commands) < 200
    assert store.lost() == 200 - len(commands)
    store.SENT.write_text(f"{len(records)}")
    _note("after")
    assert [one.get("lost") for one in _records()[-2:]] == [None, 200 - len(commands)]
    assert list(chain.verify([*records, *_records()])) == []


def test_what_is_not_sent_stays_however_much_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    _small(monkeypatch)
    _note("0")
    store.SENT.write_text("0")
    for number in range(1, 200):
        _note(f"{number}")
    records = _records()
    assert [one["what"] for one in records] == [f"{number}" for number in range(len(records))]
    assert store.lost() == 200 - len(records) > 0
    store.SENT.write_text(f"{len(records)}")
    _note("after")
    assert [one.get("lost") for one in _records()[-2:]] == [None, 200 - len(records)]


def test_where_nothing_is_ever_sent_what_goes_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    _small(monkeypatch)
    for number in range(200):
        _note(f"{number}")
    records = _records()
    told = sum(one.get("lost", 0) for one in records)
    assert records[0]["seq"] - 1 == store.lost() >= told > 0


def test_who_follows_gets_each_record_once_over_all_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SEGMENT", 2000)
    following, found = store.Following(0), list[int]()
    for number in range(60):
        _note(f"{number}")
        if number % 7 == 0:
            found += [json.loads(line)["seq"] for line in following.lines(500)]
    while lines := following.lines(500):
        found += [json.loads(line)["seq"] for line in lines]
    assert found == list(range(1, 61))
    assert json.loads(store.Following(41).lines(1)[0])["seq"] == 42


def test_what_is_sent_arrives_whole_however_little_is_taken_at_once(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fchown", lambda *_: None)
    monkeypatch.setattr(port, "PORT", place / "port")
    (place / "port").touch()
    written, taken = os.write, 0

    def little(descriptor: int, data: bytes) -> int:
        nonlocal taken
        taken += 1
        if taken % 3 == 0:
            raise BlockingIOError
        return written(descriptor, data[:700])

    for number in range(30):
        _note(f"{number}")
    way = port.Port()
    monkeypatch.setattr(os, "write", little)
    while way.sent != 30:
        way.send()
    monkeypatch.setattr(os, "write", written)
    for number in range(30, 40):
        _note(f"{number}")
    again = port.Port()  # what sent it was killed
    again.send()
    lines = (place / "port").read_bytes().splitlines()
    records = [record for line in lines if (record := chain.parse(line))]
    assert list(chain.verify(records, store.end())) == []
    assert {each["seq"] for each in records} == set(range(1, 41))
