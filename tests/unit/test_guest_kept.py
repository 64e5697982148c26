"""What outlives a machine's journal: bounded for each person, and nobody's pushes out another's."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

kept: Any = importlib.import_module("guest.kept")
logins: Any = importlib.import_module("guest.status.logins")
paths: Any = importlib.import_module("guest.paths")

ENTERED = "Accepted publickey for {} from 192.0.2.1 port 5 ssh2: ED25519-CERT SHA256:x"
GUESSED = "code of {} from 192.0.2.1: {}"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of what is kept."""
    monkeypatch.setattr(os, "fchown", lambda *_: None)
    monkeypatch.setattr(os, "chown", lambda *_, **__: None)
    monkeypatch.setattr(kept, "PLACE", tmp_path / "kept")
    monkeypatch.setattr(logins, "CURSOR", tmp_path / "kept" / "cursor")
    monkeypatch.setattr(logins, "LAST", tmp_path / "logins.json")
    monkeypatch.setattr(paths, "RUN", tmp_path)
    return tmp_path / "kept"


class Journal:
    """What journalctl says of a journal with these messages."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.messages: list[str] = []
        monkeypatch.setattr(logins, "run", self._run)

    def _run(self, *argv: str, check: bool) -> str:
        after = [int(each.partition("=")[2]) for each in argv if each.startswith("--after-cursor=")]
        first = after[0] + 1 if after else 0
        return "".join(
            json.dumps({"MESSAGE": text, "__CURSOR": f"{number}", "__REALTIME_TIMESTAMP": "1"})
            + "\n"
            for number, text in enumerate(self.messages)
            if number >= first
        )


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> Journal:
    """The machine's."""
    return Journal(monkeypatch)


def _lines(place: Path, kind: str, name: str) -> list[str]:
    files = [place / kind / f"{name}.log.1", place / kind / f"{name}.log"]
    return [line for file in files if file.exists() for line in file.read_text().splitlines()]


def test_who_logs_in_without_end_pushes_out_nobody_elses_logins_and_no_guess(
    place: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "MOST", 20_000)
    journal.messages += [ENTERED.format("bob"), GUESSED.format("alice", "wrong (30 in a day)")]
    logins.last()
    for _ in range(6):
        journal.messages += [ENTERED.format("alice.day")] * 100
        logins.last()
    assert len(_lines(place, "logins", "bob")) == 1
    assert len(_lines(place, "codes", "alice")) == 1
    assert 200 <= len(_lines(place, "logins", "alice")) < 600
    assert sum(file.stat().st_size for file in (place / "logins").glob("alice.*")) <= 40_000


def test_each_line_is_kept_once_and_of_the_frozen_nothing_more(
    place: Path, journal: Journal
) -> None:
    journal.messages += [
        ENTERED.format("alice"),
        GUESSED.format("alice", "wrong (29 wrong in a day)"),
        GUESSED.format("alice", "wrong (30 wrong in a day, frozen)"),
        GUESSED.format("alice", "frozen (30 wrong in a day, frozen)"),
        GUESSED.format("bob", "right, by phone (0 wrong in a day)"),
        GUESSED.format("bob", "right, by emergency code (0 wrong in a day)"),
        "Failed publickey for alice from 192.0.2.1 port 5 ssh2",
    ]
    for _ in range(2):
        assert logins.last().keys() == {"alice"}
    assert [line.split(": ", 1)[1] for line in _lines(place, "codes", "alice")] == [
        "wrong (29 wrong in a day)",
        "wrong (30 wrong in a day, frozen)",
    ]
    assert len(_lines(place, "codes", "bob")) == 1
    assert len(_lines(place, "logins", "alice")) == 1
