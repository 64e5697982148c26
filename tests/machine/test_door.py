"""The door under pressure: codes that race, connections that say nothing, sessions to be ended."""

from __future__ import annotations

import os
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pexpect
import pytest

from tests.support.client import PROMPT
from tests.support.people import STEP
from tests.support.waiting import answer_together

if TYPE_CHECKING:
    from tests.support.client import Client
    from tests.support.machine import Machine
    from tests.support.people import Person

# A handshake takes an emulated machine a second or two, and all have to wait at the same time.
WAITING = int(os.environ.get("SECONDLOCK_WAITING", "8"))
SILENT = 40
ROUNDS = int(os.environ.get("SECONDLOCK_ROUNDS", "2"))


def _calm() -> None:
    """Many answers take a while: all have to fall into the code's own time."""
    left = STEP - time.time() % STEP
    if left < STEP / 2:
        time.sleep(left + 1)


@pytest.mark.timeout(300 + 300 * ROUNDS, method="signal")
def test_of_all_who_wait_and_answer_one_code_together_one_gets_in(
    machine: Machine, client: Client
) -> None:
    for _ in range(ROUNDS):
        person = machine.researcher()
        assert answer_together(client, person, [person.code] * WAITING, before=_calm) == 1
        assert answer_together(client, person, [person.emergency_codes[0]] * WAITING) == 1
        assert machine.person_status(person)["wrong_codes"] == 0


def test_what_is_no_answer_is_no_guess(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    for _ in range(3):
        # Without a terminal, with an empty line, and killed at the prompt.
        assert client.login(person, options=["-o", "BatchMode=yes"]).denied
        assert client.login(person, code="").denied
        with pexpect.spawn("ssh", client.argv(person)[1:], encoding="utf-8", timeout=90) as child:
            child.expect(PROMPT)
    status = machine.status()
    assert status["researchers"][person.name]["wrong_codes"] == 0
    assert status["bans"] == []
    assert client.login(person).entered


def test_a_changed_method_holds_for_those_who_wait_at_the_prompt(
    machine: Machine, client: Client
) -> None:
    person = machine.researcher("password+totp")
    argv = client.argv(person)
    with ExitStack() as waiting:
        before, after = (
            waiting.enter_context(pexpect.spawn(argv[0], argv[1:], encoding="utf-8", timeout=90))
            for _ in range(2)
        )
        before.expect("assword:")
        before.sendline(person.password)
        before.expect("code:")
        after.expect("assword:")
        key = person.key.with_suffix(".pub").read_text().strip()
        renewed = machine.change(person, {"factors": "key+totp", "ssh_keys": (key,)})
        after.sendline(person.password)
        after.expect("code:")
        for each in (before, after):
            each.sendline(person.code())
            each.expect("changed just now.*Permission denied")
    assert client.login(renewed).entered


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
    machine.fail(f"pgrep -f '[r]unc.* exec .*{person.name}'")


BOMB = "for n in 1 2 3 4; do while :; do sleep 999 & done & done 2>&-; wait"


@pytest.mark.parametrize("end", ["rotate", "revoke"])
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
        machine.wait_for("pgrep -f '[r]unc.* exec .*sleep 1234'", timeout=90)
        uid = machine.succeed(f"id -u {person.name}").strip()
        runc = machine.succeed("pgrep -f '[r]unc.* exec .*sleep 1234' | tail -1").strip()
        assert f"user-{uid}.slice" in machine.succeed(f"cat /proc/{runc}/cgroup")
        child.kill(9)
    machine.wait_for("! pgrep -f '[r]unc.* exec .*sleep 1234'", timeout=60)


def test_a_roster_that_fails_half_way_brings_no_code_back(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    drop_in = "/etc/ssh/sshd_config.d/01-broken.conf"
    machine.succeed(f"echo 'NoSuchKeyword yes' >{drop_in}")
    try:
        machine.retire(person, "rotated")
        machine.lab.requests[person.name] = person.request.model_copy(
            update={"enrollment": os.urandom(16).hex()}
        )
        answer = machine.try_apply()
        assert not answer["applied"]
    finally:
        machine.succeed(f"rm {drop_in}")
    renewed = machine.person(person.name)
    code = renewed.emergency_codes[0]
    assert client.login(renewed, code=code).entered
    # Frozen meanwhile, as thirty wrong answers would have it.
    spent = f"/var/lib/secondlock/spent/{person.name}.json"
    machine.succeed(f'sed -i \'s/"frozen": false/"frozen": true/\' {spent}')
    machine.apply()
    assert machine.person_status(renewed)["frozen"]
    machine.succeed(f'sed -i \'s/"frozen": true/"frozen": false/\' {spent}')
    assert client.login(renewed, code=code).denied
    assert client.login(person, code=lambda: person.code(1)).denied
