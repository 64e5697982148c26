"""Who gets in, and who does not: every combination of the two locks, with stock clients."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.client import PATIENCE, Answer, drive
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


def test_a_code_is_good_once(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    code = person.code()
    assert client.login(person, code=code).entered
    again = client.login(person, code=code)
    assert again.denied
    assert "used already" in again.errors
    assert client.login(person, code=lambda: person.code(1)).entered


def test_a_wrong_code_is_refused(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    assert client.login(person, code=person.wrong_code()).denied
    assert client.login(person, code="").denied
    assert machine.person_status(person)["wrong_codes"] == 1


def test_a_key_alone_is_refused(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    result = client.login(person, options=["-o", "PreferredAuthentications=publickey"])
    assert result.denied
    assert result.prompts == ()
    assert "keyboard-interactive" in result.errors


def test_a_code_alone_is_refused_and_not_even_asked_for(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    result = client.login(person, options=["-o", "PubkeyAuthentication=no"])
    assert result.denied
    assert result.prompts == ()


def test_a_stranger_is_refused_unasked(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    result = client.login(person, options=["-l", "stranger"])
    assert result.denied
    assert result.prompts == ()


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


def test_a_password_does_not_stand_in_for_the_key(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    machine.succeed("chpasswd", stdin=f"{person.name}:correct-horse-battery".encode())
    options = [
        *("-o", "PubkeyAuthentication=no"),
        *("-o", "PreferredAuthentications=password,keyboard-interactive"),
    ]
    answers: list[Answer] = ["correct-horse-battery", person.code]
    result = client.login(person, options=options, answers=answers)
    assert result.denied
    assert result.prompts == ()


def test_root_is_refused_even_with_a_researchers_factors(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    assert client.login(person, options=["-l", "root"]).denied


def test_password_mode_takes_the_password_and_then_the_code(
    machine: Machine, client: Client
) -> None:
    person = machine.researcher("password+totp")
    result = client.login(person)
    assert result.entered, result
    assert ["assword" in prompt for prompt in result.prompts] == [True, False]


def test_password_mode_asks_for_no_code_after_a_wrong_password(
    machine: Machine, client: Client
) -> None:
    person = machine.researcher("password+totp")
    result = client.login(person, answers=["not-the-password", person.code])
    assert result.denied
    assert len(result.prompts) == 1


def test_password_mode_refuses_the_password_alone(machine: Machine, client: Client) -> None:
    person = machine.researcher("password+totp")
    result = client.login(person, answers=[person.password, person.wrong_code()])
    assert result.denied
    assert len(result.prompts) == 2
    password_only = ["-o", "PreferredAuthentications=password"]
    assert client.login(person, answers=[person.password], options=password_only).denied


def test_password_mode_takes_no_key(machine: Machine, client: Client) -> None:
    person = machine.researcher("password+totp")
    result = client.login(person, key=person.key, answers=["", person.code])
    assert result.denied
    assert ["assword" in prompt for prompt in result.prompts] == [True]


def test_an_emergency_code_works_once(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    code = person.emergency_codes[0]
    result = client.login(person, code=code)
    assert result.entered
    assert "4 left" in result.errors
    assert machine.person_status(person)["emergency_codes_left"] == 4
    assert client.login(person, code=code).denied


@pytest.mark.parametrize(
    "damage",
    [
        "rm {}",
        "truncate --size 0 {}",
        "sed -i 's/secret/secrets/' {}",
        # What somebody else could have written.
        "chown nobody {}",
        "chmod 666 {}",
    ],
    ids=["gone", "empty", "without a secret", "not root's", "open to all"],
)
def test_without_a_sound_enrollment_on_the_machine_nobody_gets_in(
    machine: Machine, client: Client, damage: str
) -> None:
    person = machine.researcher()
    machine.succeed(damage.format(f"/var/lib/secondlock/codes/{person.name}.json"))
    assert client.login(person).denied


def test_without_the_shell_that_leads_to_the_workspace_nobody_gets_in(
    machine: Machine, client: Client
) -> None:
    person = machine.researcher()
    machine.succeed(f"usermod --shell /bin/sh {person.name}")
    assert not client.login(person, "id").data
    machine.apply()
    assert client.login(person, code=person.emergency_codes[0]).entered


def test_a_phone_may_be_one_step_off(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    assert client.login(person, code=lambda: person.code(-1)).entered
    assert client.login(person, code=lambda: person.code(1)).entered


def test_a_phone_may_not_be_two_steps_off(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    assert client.login(person, code=lambda: person.code(-2)).denied
    assert client.login(person, code=lambda: person.code(2)).denied


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


def _need(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def test_putty_gets_in(machine: Machine, client: Client, tmp_path: Path) -> None:
    _need("plink", "puttygen")
    person = machine.researcher()
    key = tmp_path / "key.ppk"
    subprocess.run(
        ["puttygen", str(person.key), "-O", "private", "-o", str(key)],
        check=True,
        timeout=60,
    )
    host_key = tmp_path / "host.pub"
    host_key.write_text(machine.host_key.public_openssh + "\n")
    listed = subprocess.run(
        ["ssh-keygen", "-lf", str(host_key)], check=True, capture_output=True, text=True, timeout=30
    )
    argv = ["plink", "-ssh", "-P", str(client.port), "-i", str(key), "-noagent"]
    argv += ["-hostkey", listed.stdout.split()[1], f"{person.name}@{client.address}", "id -un"]
    result = drive(argv, [person.code, ""], env={"HOME": str(tmp_path)})
    assert (result.exit, result.output) == (0, person.name), result


def test_dropbear_gets_in(machine: Machine, client: Client, tmp_path: Path) -> None:
    _need("dbclient", "dropbearconvert")
    person = machine.researcher()
    key = tmp_path / "key"
    subprocess.run(
        ["dropbearconvert", "openssh", "dropbear", str(person.key), str(key)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    known_hosts = tmp_path / ".ssh" / "known_hosts"
    known_hosts.parent.mkdir(mode=0o700)
    known_hosts.write_text(f"{client.address} {machine.host_key.public_openssh}\n")
    argv = ["dbclient", "-i", str(key), "-p", str(client.port), "-l", person.name]
    command = "id -un; exit 7"
    result = drive([*argv, client.address, command], [person.code], env={"HOME": str(tmp_path)})
    assert (result.exit, result.output) == (7, person.name), result


def test_paramiko_gets_in(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    with client.transport(person, machine.host_key.public_openssh) as transport:
        channel = transport.open_session(timeout=PATIENCE)
        channel.settimeout(PATIENCE)
        channel.exec_command("id -un")
        assert channel.makefile().read().decode().strip() == person.name
