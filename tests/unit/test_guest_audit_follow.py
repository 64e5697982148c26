"""From what auditd, the door and fail2ban wrote to records, whatever comes in between."""

from __future__ import annotations

import importlib
import json
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

chain: Any = importlib.import_module("guest.audit.chain")
follow: Any = importlib.import_module("guest.audit.follow")
journal: Any = importlib.import_module("guest.audit.journal")
kernel: Any = importlib.import_module("guest.audit.kernel")
port: Any = importlib.import_module("guest.audit.port")
recorder: Any = importlib.import_module("guest.audit.recorder")
report: Any = importlib.import_module("guest.audit.report")
store: Any = importlib.import_module("guest.audit.store")
kept: Any = importlib.import_module("guest.kept")
paths: Any = importlib.import_module("guest.paths")

SYSCALL = (
    "type=SYSCALL msg=audit(1764258896.123:{0}): arch=c000003e syscall=59 success=yes exit=0 ppid=1"
    ' pid=2 auid=20001 uid=20001 ses=7 comm="x" exe="/bin/x" subj=docker-default (enforce) key="p"'
)
EXECVE = 'type=EXECVE msg=audit(1764258896.123:{0}): argc=2 a0="x" a1="{0}"'
LOGIN = "Accepted publickey for alice from 192.0.2.7 port 5 ssh2: ED25519 SHA256:abc"
# Of a machine's /var/log/fail2ban.log.
BANNED = (
    "2026-11-27 16:00:00,500 fail2ban.filter [700]: INFO    [sshd] Found 192.0.2.9 - now\n"
    "2026-11-27 16:00:01,234 fail2ban.actions [700]: NOTICE  [sshd] Ban 192.0.2.9\n"
    "2026-11-27 16:00:02,000 fail2ban.actions [700]: NOTICE  [sshd] Restore Ban 192.0.2.9\n"
    "2026-11-27 16:10:01,234 fail2ban.actions [700]: NOTICE  [sshd] Unban 192.0.2.9\n"
)


class Place:
    """A machine's files, and what its journal says next."""

    def __init__(self, place: Path) -> None:
        self.raw, self.bans = place / "audit.log", place / "fail2ban.log"
        self.raw.touch()
        self.bans.touch()
        self.said: list[str] = []

    def start(self, *serials: int) -> None:
        """Programs that somebody starts."""
        with self.raw.open("a") as log:
            for serial in serials:
                log.write(f"{SYSCALL.format(serial)}\n{EXECVE.format(serial)}\n")

    def lines(self) -> list[tuple[float, int, str]]:
        """What the journal gives out."""
        said, self.said = self.said, []
        return [(1764258890.0, 700, line) for line in said]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Everything of this program's in one folder."""
    found = Place(tmp_path)
    for module, name, value in (
        (kept, "PLACE", tmp_path), (store, "PLACE", tmp_path / "audit"),
        (store, "HEAD", tmp_path / "head"), (store, "LOST", tmp_path / "lost"),
        (paths, "RUN", tmp_path), (follow, "BANS", found.bans), (kernel, "RAW", found.raw),
        (kernel, "AUDITCTL", tmp_path / "none"), (follow, "PLACES", tmp_path / "places"),
        (follow, "KEPT_PLACES", tmp_path / "kept"), (follow, "STATE", tmp_path / "state"),
        (port, "PORT", tmp_path / "no" / "port"), (store, "SENT", tmp_path / "sent"),
        (store, "SHIPPED", tmp_path / "shipped"),
        (os, "fchown", lambda *_: None), (follow, "_name_of", {20001: "alice"}.get),
        (journal.Journal, "lines", lambda _: found.lines()),
        (kernel.Kernel, "fault", staticmethod(lambda: None)),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    return found


def _said() -> list[str]:
    records = [chain.parse(line) for line in store.Following(0).lines(1 << 30)]
    assert list(chain.verify(records)) == []
    return [one["what"] for one in records]


def _fails(_: object) -> str:
    raise ZeroDivisionError


def test_each_start_is_recorded_once_whenever_it_is_ended_in_between(place: Place) -> None:
    place.said.append(LOGIN)
    place.start(1, 2)
    follower = follow.Follower()
    follower.round()  # the lines are new: more of them may come
    follower.round()
    place.start(3)
    follower.round()
    follower = follow.Follower()  # the one before was killed, with one event read and not recorded
    place.start(4)
    for _ in range(3):
        follower.round()
    assert _said() == ["login", "x 1", "x 2", "x 3", "x 4"]


def test_a_full_disk_holds_it_up_and_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    follower = follow.Follower()
    append = store.append

    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "append", full)
    place.start(1, 2)
    place.said.append(LOGIN)
    for _ in range(3):
        follower.round()
    assert _said() == []
    assert "no room" in json.loads(follow.STATE.read_text())["error"]
    monkeypatch.setattr(store, "append", append)
    follower.round()
    assert _said() == ["login", "x 1", "x 2"]
    assert json.loads(follow.STATE.read_text())["error"] is None


@contextmanager
def _full(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A follower that has room for ten records, of which thirty wait; afterwards there is room."""
    monkeypatch.setattr(follow, "MOST", 10)
    append = store.append
    monkeypatch.setattr(store, "append", lambda _: (_ for _ in ()).throw(OSError(28, "full")))
    follower = follow.Follower()
    place.start(*range(1, 31))
    for _ in range(3):
        follower.round()
    yield follower
    monkeypatch.setattr(store, "append", append)
    follower.round()


def test_what_has_no_room_for_too_long_is_a_number(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _full(place, monkeypatch):
        pass
    said = _said()
    assert said[:10] == [f"x {number}" for number in range(1, 11)]
    assert said[10:] == ["20 records could not be kept"]
    assert json.loads(follow.STATE.read_text())["lost"] == 20


def test_a_login_has_room_before_commands_that_came_earlier(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _full(place, monkeypatch) as follower:
        place.said.append(LOGIN)
        follower.round()
    assert _said() == [*(f"x {number}" for number in range(1, 10)), "login",
                       "21 records could not be kept"]  # fmt: skip


def test_a_ban_and_its_end_are_told_at_their_times(place: Place) -> None:
    place.bans.write_text(BANNED)
    follow.Follower().round()
    banned, lifted = (chain.parse(line) for line in store.Following(0).lines(1 << 20))
    assert (banned["kind"], banned["address"]) == ("alert", "192.0.2.9")
    assert banned["time"] == "2026-11-27T16:00:01.000Z"
    assert (lifted["kind"], lifted["result"]) == ("change", "lifted")


def test_that_nothing_is_recorded_is_told_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "LOOKS", 0)
    follower = follow.Follower()
    for fault in (None, "auditd does not run", "auditd does not run", None, None):
        monkeypatch.setattr(kernel.Kernel, "fault", staticmethod(lambda fault=fault: fault))
        follower.round()
    assert _said() == ["auditd does not run", "commands are recorded"]


def test_a_program_that_hangs_or_fails_again_and_again_is_told(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert report.report()["error"] == "nothing is recorded yet"
    follower = follow.Follower()
    follower.round()
    follower.round()
    assert report.report()["error"] is None
    now += 61  # it hangs
    assert "silent for more than 60 s" in report.report()["error"]
    follower.round()
    assert report.report()["error"] is None
    monkeypatch.setattr(store, "append", _fails)  # a fault of ours
    place.start(1)
    for _ in range(3):  # systemd starts it anew each time
        follower = follow.Follower()
        follower.round()
        with pytest.raises(ZeroDivisionError):
            follower.round()
        now += 30
    assert "silent for more than 60 s" in report.report()["error"]


def test_what_one_cannot_be_recorded_for_is_a_number_and_the_others_are(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def recorded(argv: list[str]) -> str:
        return "x 1" if argv[1] == "1" else _fails(argv)

    monkeypatch.setattr(recorder.words, "recorded", recorded)
    place.start(2, 1)
    follower = follow.Follower()
    follower.round()
    follower.round()
    assert _said() == ["x 1", "something could not be recorded: ZeroDivisionError"]
    assert json.loads(follow.STATE.read_text())["lost"] == 1
