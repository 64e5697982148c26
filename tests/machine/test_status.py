"""What a machine says of itself and of logins, and who cannot make it say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.client import Client
    from tests.support.machine import Machine


def test_a_login_is_known_longer_than_the_journal_is_kept(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    assert client.login(person).entered
    machine.status()
    machine.succeed("journalctl --rotate && journalctl --vacuum-time=1s")
    kept = machine.succeed("cat /var/log/secondlock/logins.log")
    assert f"Accepted keyboard-interactive/pam for {person.name} from " in kept
    assert machine.person_status(person)["last_login"] is not None


def test_only_sshd_itself_tells_of_logins(machine: Machine) -> None:
    forged = "Accepted publickey for mallory from 203.0.113.66 port 22 ssh2"
    machine.succeed(f"setpriv --reuid 20001 --clear-groups logger -t sshd-session '{forged}'")
    machine.succeed("journalctl --sync")
    machine.status()
    machine.fail("grep mallory /var/log/secondlock/logins.log /var/lib/secondlock/logins.json")


def test_a_door_that_nobody_keeps_is_told(machine: Machine) -> None:
    assert machine.status()["door"] == "open"
    machine.succeed("systemctl stop ssh.service")
    try:
        assert machine.status()["door"] == "shut"
    finally:
        machine.succeed("systemctl start ssh.service")
    assert machine.status()["door"] == "open"
