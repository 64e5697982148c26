"""Binding a person's factors, cut off at any step: the next time does what was left undone."""

from __future__ import annotations

import importlib
import os
import secrets
from pathlib import Path
from typing import Any

import pytest

accounts: Any = importlib.import_module("guest.roster.accounts")
codes: Any = importlib.import_module("guest.totp.codes")
document: Any = importlib.import_module("guest.roster.document")
factors: Any = importlib.import_module("guest.factors")
legacy: Any = importlib.import_module("guest.totp.legacy")
passwords: Any = importlib.import_module("guest.password.factor")
paths: Any = importlib.import_module("guest.paths")

NAME, KEY = "bob", "ssh-ed25519 AAAA bob"


class CutError(Exception):
    """The power went."""


@pytest.fixture
def shadow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of which only the accounts are not real; the file that has their passwords."""
    for name in ("CODES", "SPENT", "WITNESS", "LOCKS"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(codes, name, str(tmp_path / name))
    monkeypatch.setattr(legacy, "TOTP", tmp_path / "totp")
    monkeypatch.setattr(legacy, "FAILLOCK", tmp_path / "faillock")
    monkeypatch.setattr(os, "fchown", lambda *_: None)
    monkeypatch.setattr(paths, "AUTHORIZED_KEYS", tmp_path)
    shadow = tmp_path / "shadow"
    shadow.write_text("")
    monkeypatch.setattr(passwords, "SHADOW", shadow)

    def chpasswd(*_: str, stdin: str) -> None:
        shadow.write_text(f"{NAME}:$y${stdin.split(':')[1].strip()}:1:\n")

    monkeypatch.setattr(passwords, "run", chpasswd)
    monkeypatch.setattr(accounts, "_renew", lambda *_: False)
    monkeypatch.setattr(accounts, "_home", lambda *_: None)
    monkeypatch.setattr(accounts.containers, "is_shut", lambda _: False)
    return shadow


def _person(method: str) -> Any:
    """With an enrollment of this method."""
    codes_of = {
        "totp": importlib.import_module("guest.totp.factor").Codes("ab" * 20, {}, ("10000000",))
    }
    first = {"key": (KEY,)} if method == "key+totp" else {"password": "word-word-word"}
    return document.Researcher(
        name=NAME,
        method=method,
        enrollment=secrets.token_hex(16),
        end_sessions=False,
        parts={**first, **codes_of},
    )


def _apply(person: Any, shadow: Path, *, known: bool) -> Any:
    """As a roster does; what changed."""
    made = not shadow.read_text()
    if made:
        shadow.write_text(f"{NAME}:!*:1:\n")
    groups = None if made else {"secondlock"}
    return accounts.apply(person, 20001, person.ids if known else frozenset(), groups)


def _bound(person: Any, shadow: Path) -> bool:
    """Whether all that opens the door is as the roster says."""
    keys = (paths.AUTHORIZED_KEYS / NAME).read_text()
    issued = codes.issued(NAME)
    word = person.parts.get("password")
    return (
        keys == (f"{KEY}\n" if "key" in person.parts else "")
        and (word is None or word in shadow.read_text())
        and (issued["enrollment"], issued["method"]) == (person.enrollment, person.method)
    )


@pytest.mark.parametrize("cut", ["key", "password", "totp"])
@pytest.mark.parametrize("method", ["key+totp", "password+totp"])
@pytest.mark.parametrize("root_disk", ["the same", "new"])
def test_what_was_cut_off_is_done_the_next_time(
    shadow: Path, monkeypatch: pytest.MonkeyPatch, cut: str, method: str, root_disk: str
) -> None:
    person = _person(method)
    if root_disk == "new":  # the state volume remembers, the accounts are gone
        _apply(person, shadow, known=False)
        shadow.write_text("")
        (paths.AUTHORIZED_KEYS / NAME).unlink()

    def fail(*_: Any) -> None:
        raise CutError

    with monkeypatch.context() as broken:
        broken.setattr(factors.load(cut), "bind", fail)
        with pytest.raises(CutError):
            _apply(person, shadow, known=True)
    _apply(person, shadow, known=True)
    assert _bound(person, shadow)
    assert _apply(person, shadow, known=True) == []


def test_another_method_takes_the_first_ones_key_away(shadow: Path) -> None:
    _apply(_person("key+totp"), shadow, known=False)
    person = _person("password+totp")
    _apply(person, shadow, known=False)
    assert _bound(person, shadow)
