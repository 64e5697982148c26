"""What of a machine's faults is told to the lab, how often, and what is not told to anybody."""

from __future__ import annotations

import datetime as dt
import importlib
import json
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.webhook import Webhook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

watch: Any = importlib.import_module("guest.alerts.watch")
faults: Any = importlib.import_module("guest.alerts.faults")
system: Any = importlib.import_module("guest.system")

NOW = "2026-11-27T12:00:00Z"
ALICE = {"frozen": False, "codes_void": False}
STATUS: dict[str, Any] = {
    "time": NOW,
    "serial": 3,
    "error": None,
    "bundle": {"error": None},
    "clock": {"synchronised": True, "offset_seconds": 0.01},
    "door": "open",
    "bans": [],
    "disks": {"system": 0.4, "state": 0.1, "homes": 0.89},
    "audit": {"lost": 0, "error": None},
    "gpu": None,
    "researchers": {"alice": ALICE, "bob": ALICE},
}
FROZEN = {"researchers": {"alice": {**ALICE, "frozen": True}, "bob": ALICE}}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    """A machine whose lab has a webhook."""
    for name in ("PLACE", "WEBHOOK", "TOLD"):
        place = tmp_path / "alerts" / (name.lower() if name != "PLACE" else "")
        monkeypatch.setattr(watch, name, place)
    monkeypatch.setattr(watch, "ERROR", tmp_path / "error")
    monkeypatch.setattr(watch.paths, "STATUS", tmp_path / "status")
    monkeypatch.setattr(watch.paths, "MACHINE", tmp_path / "machine")
    (tmp_path / "machine").write_text('{"stack": "lab", "machine": "gpu1"}')
    for name in ("chown", "fchown"):
        monkeypatch.setattr(os, name, lambda *_, **__: None)
    clock = SimpleNamespace(datetime=_Clock, timezone=dt.timezone)
    monkeypatch.setattr(watch, "dt", clock)  # not its `datetime`: that is everybody's
    with Webhook(tmp_path).open() as lab:
        monkeypatch.setenv("SSL_CERT_FILE", str(lab.certificate))
        watch.keep(lab.url)
        yield lab


class _Clock(dt.datetime):
    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> _Clock:
        return cls(2026, 11, 27, 12, 0, 30, tzinfo=tz)


def minute(**changes: Any) -> int:
    """The status line of another minute, and a look at it."""
    watch.paths.STATUS.write_text(json.dumps({**STATUS, **changes}))
    return int(watch.main())


def test_a_fault_is_told_once_and_once_that_it_is_over(lab: Webhook) -> None:
    assert [minute() for _ in range(2)] == [0, 0]
    assert lab.got == []
    for _ in range(3):
        assert minute(**FROZEN) == 0
    (told,) = lab.got
    what = "alice is frozen after too many wrong codes: the key may be stolen"
    assert told["text"] == f"lab/gpu1: {what}"
    assert (told["new"], told["over"], told["machine"]) == ([what], [], "gpu1")
    for _ in range(3):
        assert minute(bans=["198.51.100.7"]) == 0
    assert len(lab.got) == 2
    assert lab.got[1]["new"] == ["198.51.100.7 is banned for guessing"]
    assert lab.got[1]["over"] == [what]


def test_of_a_certificate_one_is_told_the_nearer_the_more(lab: Webhook) -> None:
    for days in (None, 400, 30, 29, 28, 7, 6, 3, 1, 0, -1, -2, 399):
        assert minute(certificate_days=days) == 0
    assert [(len(each["new"]), len(each["over"])) for each in lab.got] == [
        *[(1, 0)] * 4,
        (0, 4),
    ]
    assert lab.got[3]["new"] == ["its certificate for browsers has ended: no browser takes it"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"error": "the roster is refused: no serial"}, "the roster is refused: no serial"),
        ({"bundle": {"error": "sshd -t"}}, "it was not upgraded: sshd -t"),
        ({"door": "shut"}, "its sshd does not run"),
        ({"clock": {"synchronised": True, "offset_seconds": -6.2}}, "its clock is off by 6 s"),
        ({"clock": {"synchronised": False, "offset_seconds": None}}, "nothing sets it"),
        ({"disks": {"homes": 0.9}}, "its disk for homes is full to 90%"),
        ({"gpu": {"listed": False}}, "its GPU cannot be used"),
        ({"audit": {"lost": 7, "error": None}}, "7 records of who did what were lost"),
        ({"audit": {"lost": 0, "error": "auditd does not run"}}, "auditd does not run"),
        ({"researchers": {"bob": {**ALICE, "codes_void": True}}}, "bob's emergency codes are void"),
        ({"certificate_days": 29}, "its certificate for browsers ends within 30 days"),
        ({"time": "2026-11-27T11:55:00Z"}, "it has not looked at itself since"),
    ],
)
def test_each_fault_is_told(lab: Webhook, changes: dict[str, Any], told: str) -> None:
    assert minute(**changes) == 0
    ((said,),) = [each["new"] for each in lab.got]
    assert told in said


def test_a_machine_that_has_no_roster_yet_is_no_fault(lab: Webhook) -> None:
    assert minute(door="shut", serial=0) == 0
    assert lab.got == []


def test_nothing_is_over_while_nobody_looks(lab: Webhook) -> None:
    minute(**FROZEN)
    minute(time="2026-11-27T11:00:00Z")
    minute(**FROZEN)
    assert [each["over"] for each in lab.got[:2]] == [[], []]
    assert lab.got[2]["new"] == []
    assert len(lab.got) == 3


@pytest.mark.parametrize("answer", [500, 404, 302])
def test_what_does_not_arrive_is_told_later_and_the_status_says_so(
    lab: Webhook, answer: int, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.answer = answer
    assert minute(**FROZEN) == 1
    said = watch.report()["error"]
    assert f"it answered {answer}" in said
    assert "s3cret" not in said + capsys.readouterr().out
    assert lab.got == []
    lab.answer = 200
    assert minute(**FROZEN) == 0
    assert len(lab.got) == 1
    assert watch.report() == {"error": None}


def test_one_whom_nobody_vouches_for_is_told_nothing(
    lab: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    assert minute(**FROZEN) == 1
    assert lab.got == []
    assert "s3cret" not in watch.report()["error"]


def test_who_is_cut_off_after_the_post_tells_it_again(
    lab: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise system.GuestError("cannot write: no space left")

    with monkeypatch.context() as patched:
        patched.setattr(watch, "write", full)
        with pytest.raises(system.GuestError):
            minute(**FROZEN)
    minute(**FROZEN)
    assert [len(each["new"]) for each in lab.got] == [1, 1]


def test_a_hundred_faults_are_one_message_that_can_be_read(lab: Webhook) -> None:
    minute(bans=[f"198.51.100.{number}" for number in range(100)])
    (told,) = lab.got
    assert len(told["text"].splitlines()) == 21
    assert told["text"].endswith("and 80 more")
    assert len(told["new"]) == 100


def test_without_a_webhook_nobody_is_told(lab: Webhook) -> None:
    watch.keep(None)
    assert watch.report() is None
    assert not watch.WEBHOOK.exists()


def test_the_webhook_can_be_read_by_root_alone(lab: Webhook) -> None:
    assert watch.WEBHOOK.stat().st_mode & 0o777 == 0o600
    assert watch.PLACE.stat().st_mode & 0o777 == 0o700
