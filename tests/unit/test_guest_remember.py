"""Who is remembered, and when that ends: what the machine keeps of it, without a machine."""

from __future__ import annotations

import importlib
import json
import os
import secrets
import threading
from pathlib import Path
from typing import Any

import pytest

codes: Any = importlib.import_module("guest.totp.codes")
document: Any = importlib.import_module("guest.roster.document")
factor: Any = importlib.import_module("guest.totp.factor")
grants: Any = importlib.import_module("guest.remember.grants")
person: Any = importlib.import_module("guest.remember.person")

NAME = "alice"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAKSeavuRQzefndtPOEcGo7plvaQRAvlEEmYvNRDgeAq alice"
BY_KEY = f"publickey {' '.join(KEY.split()[:2])}\n"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of which only the accounts and the signing key are not real."""
    for name in ("CODES", "SPENT", "WITNESS", "LOCKS"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(codes, name, str(tmp_path / name))
    for name in ("STATE", "PRINCIPALS", "OPEN", "GRANTS"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(grants, name, str(tmp_path / name))
        if hasattr(person, name):
            monkeypatch.setattr(person, name, tmp_path / name)
    monkeypatch.setattr(os, "fchown", lambda *_: None)
    monkeypatch.setattr(os, "chown", lambda *_, **__: None)
    monkeypatch.setattr(person, "_make_ca", lambda: None)
    monkeypatch.setattr(person, "_make_account", lambda _: None)
    monkeypatch.setattr(grants, "connection", lambda: "1-2")
    monkeypatch.setenv("SSH_AUTH_INFO_0", BY_KEY)
    return tmp_path


def _researcher(**changes: Any) -> Any:
    fields = {
        "name": NAME,
        "method": "key+totp",
        "enrollment": "0c" * 16,
        "end_sessions": False,
        "parts": {"key": (KEY,), "totp": factor.Codes("ab" * 20, {}, ("10000000",))},
        "remember_hours": 8,
        "networks": ("198.51.100.0/24",),
    }
    return document.Researcher(**{**fields, **changes})


def _apply(researcher: Any) -> None:
    """As a roster does."""
    person.close(researcher)
    issued = factor._wanted(researcher, researcher.parts["totp"])
    codes.enroll(researcher.name, issued, researcher.ids)
    person.open_again(researcher)


def _open(name: str = NAME) -> str | None:
    """The generation that sshd takes."""
    try:
        return str((person.PRINCIPALS / f"{name}.day").read_text().strip())
    except FileNotFoundError:
        return None


def test_the_same_roster_again_and_a_restart_end_nothing() -> None:
    _apply(_researcher())
    first = _open()
    assert first is not None
    _apply(_researcher())
    assert _open() == first
    (person.PRINCIPALS / f"{NAME}.day").unlink()
    person.boot()
    assert _open() == first


def test_a_state_volume_of_before_brings_no_certificate_back(machine: Path) -> None:
    _apply(_researcher())
    first = _open()
    yesterday = (person.STATE / f"{NAME}.json").read_text()
    for change in ({"remember_hours": 0}, {"remember_hours": 1}):
        _apply(_researcher(**change))
        (person.STATE / f"{NAME}.json").write_text(yesterday)
        (person.PRINCIPALS / f"{NAME}.day").unlink(missing_ok=True)
        person.boot()
        assert _open() is None
        _apply(_researcher())
        assert _open() not in {None, first}


def test_who_is_frozen_is_let_in_by_no_certificate_however_it_came(machine: Path) -> None:
    _apply(_researcher())
    first = _open()
    spent = Path(codes.SPENT, f"{NAME}.json")
    slate = json.loads(spent.read_text())
    spent.write_text(json.dumps(slate | {"frozen": True}))
    _apply(_researcher())
    assert _open() is None
    person.boot()
    assert _open() is None
    kept = (person.STATE / f"{NAME}.json").stat()
    _apply(_researcher())
    assert (person.STATE / f"{NAME}.json").stat() == kept  # nothing was written again
    spent.write_text(json.dumps(slate))
    person.boot()
    assert _open() is None
    _apply(_researcher())
    assert _open() not in {None, first}
    _apply(_researcher(enrollment="0d" * 16))
    assert _open() is not None
    # Damaged: nobody knows how many wrong codes there were.
    spent.write_text("{")
    _apply(_researcher(enrollment="0d" * 16))
    assert _open() is None


def test_only_a_key_that_is_still_theirs_is_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    _apply(_researcher())
    grants.write(NAME)
    assert grants.read()["generation"] == _open()
    Path(grants.GRANTS, "1-2").unlink()
    other = KEY.replace("AAAAIAKS", "AAAAIBKS")
    _apply(_researcher(parts={**_researcher().parts, "key": (other,)}))
    grants.write(NAME)
    assert grants.read() is None
    monkeypatch.setenv("SSH_AUTH_INFO_0", "keyboard-interactive/pam\n")
    grants.write("nobody")
    assert grants.read() is None


def test_two_who_tidy_up_at_once_get_in_nobodys_way() -> None:
    for number in range(200):
        Path(grants.GRANTS, f"{10**9 + number}-{secrets.token_hex(2)}").touch()
    failed: list[BaseException] = []

    def tidy() -> None:
        try:
            grants.tidy()
        except BaseException as error:  # noqa: BLE001 (whatever it is, the test tells it)
            failed.append(error)

    threads = [threading.Thread(target=tidy) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert not [*Path(grants.GRANTS).iterdir()]
