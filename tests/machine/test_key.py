"""The key: whose opens the door, and that it never does alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.people import make_key

if TYPE_CHECKING:
    from tests.support.client import Client
    from tests.support.machine import Machine


def test_a_key_alone_is_refused(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    result = client.login(person, options=["-o", "PreferredAuthentications=publickey"])
    assert result.denied
    assert result.prompts == ()
    assert "keyboard-interactive" in result.errors


def test_another_researchers_key_is_refused_unasked(machine: Machine, client: Client) -> None:
    person, other = machine.researcher(), machine.researcher()
    result = client.login(person, key=other.key)
    assert result.denied
    assert result.prompts == ()


def test_a_new_key_is_refused_unasked(machine: Machine, client: Client, tmp_path: Path) -> None:
    make_key(tmp_path / "new")
    result = client.login(machine.researcher(), key=tmp_path / "new")
    assert result.denied
    assert result.prompts == ()
