"""Who gets in, and who does not: every combination of the two locks, with stock clients."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.client import drive
from tests.support.people import make_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.client import Client
    from tests.support.machine import Machine


def test_key_and_code_let_in(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    result = client.login(person, "id -un")
    assert (result.exit, result.output) == (0, person.name), result
    assert len(result.prompts) == 1


def test_a_stranger_is_refused_unasked(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    result = client.login(person, options=["-l", "stranger"])
    assert result.denied
    assert result.prompts == ()


def test_root_is_refused_even_with_a_researchers_factors(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    assert client.login(person, options=["-l", "root"]).denied


def test_without_the_shell_that_leads_to_the_workspace_nobody_gets_in(
    machine: Machine, client: Client
) -> None:
    person = machine.researcher()
    machine.succeed(f"usermod --shell /bin/sh {person.name}")
    assert not client.login(person, "id").data
    machine.apply()
    assert client.login(person, code=person.emergency_codes[0]).entered


def test_nothing_but_local_forwarding_is_granted(
    machine: Machine, client: Client, ssh_agent: dict[str, str]
) -> None:
    person = machine.researcher()
    options = ["-o", f"IdentityAgent={ssh_agent['SSH_AUTH_SOCK']}", "-A", "-X", "-v"]
    options += ["-R", "0:127.0.0.1:22"]
    argv = [*client.argv(person, *options), "printenv SSH_AUTH_SOCK DISPLAY; ls /tmp"]
    result = drive(argv, [person.code], env={**ssh_agent, "DISPLAY": "127.0.0.1:7"})
    assert result.exit == 0, result
    assert result.output == ""
    assert "remote port forwarding failed" in result.errors


@pytest.fixture
def ssh_agent(machine: Machine, tmp_path: Path) -> Iterator[dict[str, str]]:
    """An agent with a key in it: ssh asks for its forwarding only when there is one."""
    make_key(tmp_path / "key")
    socket = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        environment = {"SSH_AUTH_SOCK": str(socket)}
        subprocess.run(
            ["sh", "-c", f"until ssh-add -q {tmp_path}/key; do sleep 0.1; done"],
            env={**os.environ, **environment},
            check=True,
            stderr=subprocess.DEVNULL,
            timeout=30,
        )
        yield environment
    finally:
        process.terminate()
        process.wait(10)
