"""Clients other than OpenSSH's, as they come: those of every day. All of them: tests/clients/."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncssh

from tests.clients.conftest import by_certificate, by_code, people  # noqa: F401 (fixtures)
from tests.clients.test_programs import (  # noqa: F401 (a fixture, and tests)
    config,
    test_dropbear,
    test_jetbrains_gateway_connects_its_way,
    test_putty,
    test_vs_code_remote_connects_its_way,
    test_windows_openssh_which_shares_no_connection_and_asks_its_agent,
)
from tests.support.client import PATIENCE

if TYPE_CHECKING:
    from tests.support.client import Client
    from tests.support.machine import Machine


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
