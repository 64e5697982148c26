"""Who did what, in a file of the host's within a minute: whose doing it was, what was lost, and no
secret."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from cloudinit.guest.audit import chain
from cloudinit.guest.audit.chain import Head
from infra.local import audit
from tests.support.records import WITHIN, arrived, records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.client import Client, Session
    from tests.support.machine import Machine
    from tests.support.people import Person

SECRET = "correct-horse-battery"


def _started(machine: Machine, person: Person, what: str) -> dict[str, Any]:
    """The record of a program that this person has started."""
    return arrived(machine, lambda one: (one.get("person"), one["what"]) == (person.name, what))


def _end(machine: Machine) -> Head:
    said = json.loads(machine.succeed("cat /run/secondlock/audit.json"))
    return Head(said["seq"], said["hash"])


@pytest.fixture(scope="module")
def inside(machine: Machine) -> Iterator[tuple[Person, Session]]:
    """Someone in their workspace, of a container that was made just now."""
    person = machine.researcher()
    with machine.client.session(person) as session:
        assert session.succeed("id -un", timeout=300) == person.name
        yield person, session


def test_a_command_carries_its_person_and_how_they_came(
    machine: Machine, inside: tuple[Person, Session]
) -> None:
    person, session = inside
    session.succeed("python3 -c pass by-ssh")
    command = _started(machine, person, "python3 -c pass by-ssh")
    login = arrived(
        machine, lambda one: one["kind"] == "login" and one.get("person") == person.name
    )
    fingerprint = _fingerprint(machine, person)
    came = {"way": "ssh", "key": fingerprint, "device": "phone", "address": "10.0.2.2"}
    for record in (login, command):
        assert came.items() <= record.items(), record
        assert record["person"] == person.name
    assert (command["kind"], command["where"], command["result"]) == (
        "command", "workspace", "started",
    )  # fmt: skip
    assert login["result"] == "let in"
    whole = [one for one in records(machine) if one.get("session") == command["session"]]
    # What leads into a workspace is no doing of theirs.
    assert {one["where"] for one in whole} == {"workspace"}


def _fingerprint(machine: Machine, person: Person) -> str:
    said = machine.succeed(f"ssh-keygen -lf /etc/secondlock/authorized_keys/{person.name}")
    return f"ED25519 {said.split()[1]}"


def test_what_docker_and_jupyter_start_is_its_persons_for_good(
    machine: Machine, inside: tuple[Person, Session]
) -> None:
    person, session = inside
    assert _started(machine, person, "sleep infinity")["way"] == "workspace"
    # By Docker, as whoever administers the machine may; who is in it tries to be somebody else.
    other = "sh -c 'echo 20002 >/proc/self/loginuid || /bin/true by-docker'"
    uid = session.succeed("id -u")
    machine.succeed(f"docker exec --user {uid}:{uid} workspace-{person.name} {other}")
    assert machine.succeed("cat /proc/self/loginuid") == "4294967295"
    assert _started(machine, person, "/bin/true by-docker")["way"] == "workspace"
    session.succeed("mkdir -p ~/.local/bin")
    again = "echo 20002 >/proc/self/loginuid\n/bin/true by-jupyter-again\n"
    program = f"#!/bin/sh\n/bin/true by-jupyter\n{again}"
    session.run("cat >~/.local/bin/jupyter", stdin=program.encode())
    session.succeed("chmod +x ~/.local/bin/jupyter")
    try:
        machine.run(f"systemctl start secondlock-jupyter@{person.name}.service")
        for what in ("/bin/true by-jupyter", "/bin/true by-jupyter-again"):
            assert _started(machine, person, what)["way"] == "jupyter"
    finally:
        session.succeed("rm ~/.local/bin/jupyter")
        machine.run(f"systemctl reset-failed secondlock-jupyter@{person.name}.service")


def test_who_may_not_enter_is_told_with_the_reason(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    assert client.login(person, code=person.wrong_code()).denied
    refused = arrived(
        machine, lambda one: (one.get("person"), one["result"]) == (person.name, "refused")
    )
    assert refused["what"] == "code: wrong"


def test_no_secret_is_in_it_and_none_stays_on_the_machine(
    machine: Machine, inside: tuple[Person, Session]
) -> None:
    _, session = inside
    session.run(f"/bin/true --password {SECRET} TOKEN={SECRET} after-the-secret")
    session.run("cat >/dev/null", stdin=f"typed {SECRET}\n".encode())
    record = arrived(machine, lambda one: one["what"].endswith("after-the-secret"))
    assert "--password [removed]" in record["what"]
    assert SECRET.encode() not in machine.audit.read_bytes()
    machine.succeed("journalctl --sync")
    # The kernel's words lie in memory, root's alone.
    assert machine.succeed("findmnt -no FSTYPE -T /run/secondlock-auditd").strip() == "tmpfs"
    assert machine.succeed("stat -c %a /run/secondlock-auditd").strip() == "700"
    machine.succeed("cat >/run/wanted", stdin=SECRET.encode())  # no argument: those are logged
    machine.fail("journalctl -b -o cat | grep -F -f /run/wanted")
    machine.fail("grep -rF -f /run/wanted /var/log --exclude-dir=journal")


def test_a_roster_that_is_applied_or_refused_is_a_change(machine: Machine) -> None:
    before = _end(machine).seq
    machine.apply()
    applied = f"roster {machine.lab.serial} applied: nothing changed"
    assert arrived(machine, lambda one: one["what"] == applied)["kind"] == "change"
    assert not machine.deliver(b"{")["applied"]
    refused = arrived(
        machine,
        lambda one: one["seq"] > before and (one["kind"], one["result"]) == ("change", "refused"),
    )
    assert "not JSON" in refused["what"]
    machine.apply()


@pytest.mark.parametrize("programs", [300, pytest.param(10_000, marks=pytest.mark.long)])
def test_a_storm_of_programs_is_recorded_whole_or_the_loss_is_a_number(
    machine: Machine, inside: tuple[Person, Session], programs: int
) -> None:
    person, session = inside
    before = _end(machine).seq
    session.succeed(f"seq {programs} | xargs -n 1 -P 2 true storm-{programs}", timeout=500)
    session.succeed(f"/bin/true after-{programs}")
    after = f"/bin/true after-{programs}"
    last = arrived(machine, lambda one: one["what"] == after, within=4 * WITHIN)
    new = records(machine)
    seen = {one["what"] for one in new if f" storm-{programs} " in one["what"]}
    assert {one["person"] for one in new if one["what"] in seen} == {person.name}
    if len(seen) < programs:
        # The kernel's own count is looked at four times a minute.
        arrived(machine, lambda one: one["seq"] > last["seq"] and one.get("lost"))
        lost = sum(one.get("lost", 0) for one in records(machine) if one["seq"] > before)
        assert len(seen) + lost >= programs


def test_a_full_disk_locks_nobody_out_and_loses_nothing_that_is_soon_mended(
    machine: Machine, client: Client, inside: tuple[Person, Session]
) -> None:
    person = machine.researcher()
    _, session = inside
    machine.succeed("fallocate -l $(($(df --output=avail -B1 / | tail -n 1) + 0)) /full || true")
    machine.run("dd if=/dev/zero of=/fuller bs=1M; dd if=/dev/zero of=/fullest bs=4k")
    try:
        assert client.login(person).entered
        # More than what fits into the last block that is in use.
        session.succeed("for _ in $(seq 50); do /bin/true while-full; done")
        machine.wait_for("grep 'no room' /run/secondlock/audit.json")
    finally:
        machine.succeed("rm -f /full /fuller /fullest")
    _started(machine, inside[0], "/bin/true while-full")
    arrived(machine, lambda one: one["kind"] == "login" and one.get("person") == person.name)


def test_that_nothing_is_recorded_is_told(machine: Machine, inside: tuple[Person, Session]) -> None:
    _, session = inside
    machine.succeed("systemctl stop secondlock-auditd.service")
    try:
        machine.wait_for("grep 'auditd does not run' /run/secondlock/audit.json", timeout=90)
        assert "auditd does not run" in machine.status()["audit"]["error"]
        session.succeed("/bin/true unseen")
    finally:
        machine.succeed("systemctl start secondlock-auditd.service")
    machine.wait_for("grep '\"error\": null' /run/secondlock/audit.json", timeout=90)
    session.succeed("/bin/true seen-again")
    _started(machine, inside[0], "/bin/true seen-again")
    results = [one["result"] for one in records(machine) if one["kind"] == "alert"]
    assert results[-3:] == ["failed", "lost", "mended"]
    # The kernel has it printed nowhere meanwhile, where journald would keep it.
    machine.succeed("journalctl --sync")
    machine.fail("journalctl -b -k -o cat | grep -F unseen")


def test_who_is_killed_in_between_goes_on_and_the_chain_holds(
    machine: Machine, inside: tuple[Person, Session]
) -> None:
    _, session = inside
    for number in range(3):
        session.succeed(f"/bin/true before-{number}")
        machine.succeed("systemctl kill --signal=KILL secondlock-audit.service")
        session.succeed(f"/bin/true meanwhile-{number}")
    for number in range(3):
        for when in ("before", "meanwhile"):
            arrived(machine, lambda one, what=f"/bin/true {when}-{number}": one["what"] == what)  # type: ignore[misc]
    end = _end(machine)
    arrived(machine, lambda one: one["seq"] >= end.seq)
    parsed = [chain.parse(line) for _, line in audit.lines(machine.audit)]
    whole = [record for record in parsed if record is not None]
    assert list(chain.verify(whole, end)) == []
