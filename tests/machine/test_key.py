"""The key: whose opens the door, and that it never does alone."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import paramiko
import pytest

from tests.support.client import PATIENCE
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


def test_a_name_that_there_is_is_offered_what_another_is(machine: Machine, client: Client) -> None:
    person, gone = machine.researcher(), machine.researcher()
    machine.revoke(gone)
    for name in (person.name, gone.name, "nobody-here", "root"):
        with closing(paramiko.Transport((client.address, client.port))) as transport:
            transport.banner_timeout = transport.auth_timeout = PATIENCE
            transport.start_client(timeout=PATIENCE)
            with pytest.raises(paramiko.BadAuthenticationType) as refused:
                transport.auth_none(name)
            assert refused.value.allowed_types == ["publickey"], name
