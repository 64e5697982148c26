"""Clients other than OpenSSH's, as they come."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest

from tests.support.client import PATIENCE, drive

if TYPE_CHECKING:
    from tests.support.client import Client
    from tests.support.machine import Machine


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


def test_asyncssh_gets_in_and_ends_what_it_started(machine: Machine, client: Client) -> None:
    person = machine.researcher()

    class Asked(asyncssh.SSHClient):
        def kbdint_auth_requested(self) -> str:
            return ""  # no method in particular (RFC 4256, section 3.1)

        def kbdint_challenge_received(self, *asked: Any) -> list[str]:
            return [person.code()] * len(asked[-1])

    async def trial() -> asyncssh.SSHCompletedProcess:
        known = f"[{client.address}]:{client.port} {machine.host_key.public_openssh}"
        async with asyncssh.connect(
            client.address, client.port, username=person.name, client_keys=[str(person.key)],
            client_factory=Asked, known_hosts=asyncssh.import_known_hosts(known),
            config=None, agent_path=None, login_timeout=PATIENCE,
        ) as connection:  # fmt: skip
            loop = "echo ready; while :; do sleep 0.1; done"
            process = await connection.create_process(f"trap 'echo ended; exit 9' TERM; {loop}")
            assert await process.stdout.readline() == "ready\n"
            process.terminate()
            return await process.wait()

    done = asyncio.run(trial())
    assert (done.stdout, done.exit_status) == ("ended\n", 9)
