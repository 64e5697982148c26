"""Whom the doorkeeper sends away, by what sshd's processes call themselves."""

from __future__ import annotations

import importlib
from typing import Any

doorkeeper: Any = importlib.import_module("guest.ssh.doorkeeper")


def _process(pid: int, parent: int, title: str, busy: float = 0.5) -> Any:
    return doorkeeper.Process(pid, parent, title, busy)


def _sent_away(
    found: list[Any], idle: float, by_password: frozenset[str] = frozenset()
) -> set[int]:
    watch = doorkeeper.Watch()
    assert watch.idlers(found, 100.0, by_password) == []
    return {each.pid for each in watch.idlers(found, 100.0 + idle, by_password)}


SILENT = _process(10, 1, "sshd-session: [accepted]")
STRANGER = [_process(11, 1, "sshd-session: unknown [priv]"), _process(12, 11, "sshd-auth: x [net]")]
KEYLESS = [
    _process(20, 1, "sshd-session: alice [priv]"),
    _process(21, 20, "sshd-auth: alice [net]"),
]
ASKED = [
    _process(30, 1, "sshd-session: bob [priv]"),
    _process(31, 30, "sshd-auth: bob [net]"),
    _process(32, 30, "sshd-session: bob [pam]"),
]
INSIDE = [
    _process(40, 1, "sshd-session: carol [priv]"),
    _process(41, 40, "sshd-session: carol@pts/0"),
]
EVERYBODY = [SILENT, *STRANGER, *KEYLESS, *ASKED, *INSIDE]


def test_only_who_has_named_nobody_goes_at_once() -> None:
    assert _sent_away(EVERYBODY, 5) == set()
    assert _sent_away(EVERYBODY, 15) == {10, 11}
    assert _sent_away(EVERYBODY, 1000) == {10, 11}


def test_in_a_crowd_who_shows_no_key_goes_too() -> None:
    crowd = [_process(100 + n, 1, "sshd-session: [accepted]") for n in range(20)]
    left = {each.pid for each in (*ASKED, *INSIDE)}
    assert 20 not in _sent_away([*EVERYBODY, *crowd], 15)
    gone = _sent_away([*EVERYBODY, *crowd], 30)
    assert 20 in gone
    assert not gone & left


def test_in_a_crowd_who_gives_no_password_goes_too() -> None:
    crowd = [_process(100 + n, 1, "sshd-session: [accepted]") for n in range(20)]
    by_password = frozenset({"bob"})
    assert 30 not in _sent_away([*ASKED, *crowd], 15, by_password)
    assert 30 in _sent_away([*ASKED, *crowd], 30, by_password)
    assert 30 not in _sent_away(ASKED, 59, by_password)


def test_a_machine_that_is_slow_blames_nobody() -> None:
    watch = doorkeeper.Watch()
    for at in range(0, 60, 2):
        working = _process(10, 1, "sshd-session: [accepted]", busy=float(at))
        assert watch.idlers([working], float(at), set()) == []


def test_chaff_buys_no_time() -> None:
    watch = doorkeeper.Watch()
    gone = [
        at
        for at in range(0, 60, 2)
        if watch.idlers([_process(10, 1, "sshd-session: [accepted]", at / 20)], float(at), set())
    ]
    assert gone[0] == 14
