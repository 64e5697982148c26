"""Ansible over a connection that a person opened, as docs/how-to/programs.md says."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pexpect
import pytest

from cli.engine import Machine as Output
from cli.project import Stack
from cli.ssh_config import ssh_files
from infra.ssh_file import alias, host_key_alias
from tests.support.client import PATIENCE, PROMPT
from tests.support.machine import NAME, STACK
from tests.support.project import wait_until
from tools.setup import ensure_uv
from tools.steps import StepError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.machine import Machine

ANSIBLE = "ansible-core==2.19.14"
CONTROL = 300  # seconds; Ansible asks a machine a dozen times, and emulated ones take their time


@pytest.fixture(scope="module")
def ansible(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command `ansible`, in an environment of this test's own."""
    place = tmp_path_factory.mktemp("ansible")
    try:
        uv = ensure_uv("uv")
    except StepError as error:
        pytest.skip(f"no uv: {error}")
    for command in (["venv", str(place)], ["pip", "install", f"--python={place}", ANSIBLE]):
        done = subprocess.run([uv, *command], capture_output=True, text=True, timeout=CONTROL)
        if done.returncode != 0:
            pytest.skip(f"no Ansible here: {done.stderr[-300:]}")
    return place / "bin" / "ansible"


@pytest.fixture
def host(machine: Machine, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Someone's host and the ssh_config that knows it, their connection open."""
    person = machine.researcher()
    stack = Stack(STACK, tmp_path)
    stack.state.mkdir(parents=True)
    output = Output(
        address=machine.client.address,
        port=machine.client.port,
        host_key=machine.host_key.public_openssh,
        running=True,
        serial=1,
        researchers=(person.name,),
        target="local",
    )
    for path, text in ssh_files(stack, {NAME: output}).items():
        path.write_text(text)
    assert host_key_alias(stack.name, NAME) == machine.client.alias
    name, config = alias(stack.name, person.name), stack.state / "ssh_config"
    ssh = ["ssh", "-F", str(config), "-i", str(person.key)]
    # From a shell that stays, as people's do: what has just gone to the background would be hung up
    # with its terminal.
    typed = ["-c", '"$@"; read -r _', "sh", *ssh, "-fN", name]
    shell = pexpect.spawn("/bin/sh", typed, timeout=PATIENCE, encoding="utf-8")
    try:
        shell.expect(PROMPT)
        shell.sendline(person.code())
        check = [*ssh, "-O", "check", name]
        wait_until(lambda: not subprocess.run(check, capture_output=True).returncode, "it opened")
        yield name, config
    finally:
        subprocess.run([*ssh, "-O", "exit", name], check=True, capture_output=True, timeout=60)
        shell.close(force=True)


@pytest.mark.long
def test_ansible_works_over_a_connection_that_is_open(
    ansible: Path, host: tuple[str, Path]
) -> None:
    name, config = host
    done = subprocess.run(
        [ansible, "-i", f"{name},", "all", "-m", "ping"],
        env={**os.environ, "ANSIBLE_SSH_ARGS": f"-F {config}", "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        timeout=CONTROL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{name} | SUCCESS" in done.stdout
