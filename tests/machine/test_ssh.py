"""The door: what sshd asks, connections that say nothing, sessions to be ended."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pytest

from tests.support.client import PROMPT

if TYPE_CHECKING:
    from tests.support.client import Client
    from tests.support.machine import Machine
    from tests.support.people import Person

SILENT = 40
FAILURE, UNREACHED = 3, 1  # ssh-audit(1), exit codes


def test_ssh_audit_finds_no_failure(machine: Machine, client: Client) -> None:
    program = Path(sys.executable).with_name("ssh-audit")
    argv = [str(program), "--skip-rate-test", "-n", "-p", str(client.port), client.address]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300)
    assert done.returncode not in {FAILURE, UNREACHED}, done.stdout


def test_sshd_asks_everyone_for_two_factors(machine: Machine) -> None:
    person, other = machine.researcher(), machine.researcher("password+totp")
    methods = "sshd -T -C user={},host=x,addr=10.0.2.2 | grep -i ^authenticationmethods"
    first = machine.succeed(methods.format(person.name)).split()[1:]
    assert first == ["publickey,keyboard-interactive:pam"]
    assert machine.succeed(methods.format(other.name)).split()[1:] == ["keyboard-interactive:pam"]
    assert machine.succeed(methods.format("root")).split()[1:] == first


def test_who_says_nothing_is_sent_away_and_others_get_in_meanwhile(
    machine: Machine, client: Client
) -> None:
    """By the doorkeeper; a few that an emulated machine greets late, by sshd itself in a minute."""
    person = machine.researcher()
    ended = "journalctl -b -t secondlock-doorkeeper -g 'Silent connection from' | grep -c Silent"
    before = int(machine.run(ended)[1])
    silent = [socket.create_connection((client.address, client.port)) for _ in range(SILENT)]
    deadline = time.monotonic() + 180
    try:
        assert client.login(person).entered
        for each in silent:
            each.settimeout(max(deadline - time.monotonic(), 0.1))
            while each.recv(1024):  # sshd's greeting, and then the end
                pass
    finally:
        for each in silent:
            each.close()
    assert int(machine.succeed(ended)) > before
    count = "fail2ban-client status sshd-flood | grep -qE 'Total failed:[[:space:]]+[1-9][0-9]'"
    machine.wait_for(count, timeout=60)


def _nothing_runs(machine: Machine, person: Person) -> None:
    machine.fail(f"pgrep -u {person.name}")
    machine.fail(f"docker container inspect workspace-{person.name}")
    machine.fail(f"pgrep -f '[c]run.* exec .*{person.name}'")


BOMB = "for n in 1 2 3 4; do while :; do sleep 999 & done & done 2>&-; wait"


@pytest.mark.parametrize("end", ["rotate", pytest.param("revoke", marks=pytest.mark.long)])
def test_nothing_outruns_its_end(machine: Machine, client: Client, end: str) -> None:
    """Neither six loops that go on asking for a workspace nor a fork bomb in it."""
    person = machine.researcher()
    with client.session(person) as session, ExitStack() as loops:
        session.succeed("true", timeout=300)
        for _ in range(6):
            loops.enter_context(session.keep_asking("true"))
        bomb = session.start(BOMB)
        machine.wait_for(f"test $(pgrep -c -u {person.name}) -gt 150", timeout=300)
        if end == "rotate":
            machine.rotate(person, end_sessions=True)
        else:
            machine.revoke(person)
        session.wait_closed()
        bomb.communicate()
        _nothing_runs(machine, person)
    time.sleep(3)
    _nothing_runs(machine, person)


def test_what_a_cut_off_client_leaves_ends_with_its_connection(
    machine: Machine, client: Client
) -> None:
    person = machine.researcher()
    argv = [*client.argv(person, "-T"), "sleep 1234"]
    with pexpect.spawn(argv[0], argv[1:], encoding="utf-8", timeout=90) as child:
        child.expect(PROMPT)
        child.sendline(person.code())
        machine.wait_for("pgrep -f '[c]run.* exec .*sleep 1234'", timeout=90)
        uid = machine.succeed(f"id -u {person.name}").strip()
        entered = machine.succeed("pgrep -f '[c]run.* exec .*sleep 1234' | tail -1").strip()
        assert f"user-{uid}.slice" in machine.succeed(f"cat /proc/{entered}/cgroup")
        child.kill(9)
    machine.wait_for("! pgrep -f '[c]run.* exec .*sleep 1234'", timeout=60)
