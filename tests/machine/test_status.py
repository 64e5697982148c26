"""What a machine says of itself and of logins, and who cannot make it say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.client import Client
    from tests.support.machine import Machine


KEPT = "/var/log/secondlock"


def test_what_happened_at_the_door_is_known_longer_than_the_journal_is_kept(
    machine: Machine, client: Client
) -> None:
    person = machine.researcher()
    assert client.login(person, code=person.wrong_code()).denied
    assert client.login(person).entered
    machine.apply()
    machine.status()
    machine.succeed("rm -f /run/secondlock/logins.*")  # as a restart does
    machine.status()
    machine.succeed("journalctl --rotate && journalctl --vacuum-time=1s")
    status = machine.person_status(person)
    assert status["last_login"] is not None
    logins = machine.succeed(f"cat {KEPT}/logins/{person.name}.log").splitlines()
    entered = f"Accepted keyboard-interactive/pam for {person.name} from "
    assert [entered in line for line in logins] == [True]
    guesses = machine.succeed(f"cat {KEPT}/codes/{person.name}.log").splitlines()
    assert [line.endswith("wrong (1 wrong in a day)") for line in guesses] == [True]
    last = machine.succeed(f"tail -n 1 {KEPT}/rosters.log")
    assert last.endswith(f" {machine.lab.serial} applied: nothing changed\n")


def test_only_sshd_itself_tells_of_logins(machine: Machine) -> None:
    forged = "Accepted publickey for mallory from 203.0.113.66 port 22 ssh2"
    machine.succeed(f"setpriv --reuid 20001 --clear-groups logger -t sshd-session '{forged}'")
    machine.succeed("journalctl --sync")
    machine.status()
    machine.fail(f"grep -r mallory {KEPT}/logins {KEPT}/codes /var/lib/secondlock/logins.json")
    machine.fail(f'grep -r \'"person":"mallory"\' {KEPT}/audit')


def test_a_door_that_nobody_keeps_is_told(machine: Machine) -> None:
    assert machine.status()["door"] == "open"
    machine.succeed("systemctl stop ssh.service")
    try:
        assert machine.status()["door"] == "shut"
    finally:
        machine.succeed("systemctl start ssh.service")
    assert machine.status()["door"] == "open"
