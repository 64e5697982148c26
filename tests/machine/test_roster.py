"""Rosters on a running machine: who comes, who goes, and what is refused."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.client import Client
    from tests.support.machine import Machine


def test_a_new_researcher_gets_in_without_a_reboot(machine: Machine, client: Client) -> None:
    before = machine.succeed("cat /proc/sys/kernel/random/boot_id; pidof -s sshd")
    (person,) = machine.add()
    assert machine.apply() == [
        f"{person.name}: {what}" for what in ("account", "keys", "enrollment")
    ]
    assert client.login(person).entered
    assert machine.succeed("cat /proc/sys/kernel/random/boot_id; pidof -s sshd") == before


def test_the_same_roster_again_changes_nothing(machine: Machine) -> None:
    machine.apply()
    with machine.unchanged():
        document = machine.envelope(serial=machine.lab.serial)
        answer = machine.deliver(json.dumps(document).encode())
    assert answer == {"applied": True, "serial": machine.lab.serial, "changed": []}


def test_rotation_shuts_out_the_old_phone_and_leaves_open_sessions(
    machine: Machine, client: Client
) -> None:
    person = machine.researcher()
    with client.session(person) as session:
        renewed = machine.rotate(person)
        assert session.succeed("id -un") == person.name
        assert client.login(person, code=lambda: person.code(1)).denied
        assert client.login(person, code=person.emergency_codes[0]).denied
        assert client.login(renewed).entered
        assert session.is_open()


def test_rotation_ends_open_sessions_where_the_request_says_so(
    machine: Machine, client: Client
) -> None:
    person = machine.researcher()
    with client.session(person) as session:
        session.succeed("nohup sleep 1000 >/dev/null 2>&1 &")
        renewed = machine.rotate(person, end_sessions=True)
        session.wait_closed()
    machine.fail(f"pgrep -u {person.name}")
    assert client.login(renewed).entered


def test_removal_ends_everything_but_the_home(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    machine.succeed(f"echo '* * * * * true' | crontab -u {person.name} -")
    with client.session(person) as session:
        session.succeed("echo work >thesis; nohup sleep 1000 >/dev/null 2>&1 &")
        machine.succeed(f"docker container inspect workspace-{person.name}")
        machine.revoke(person)
        session.wait_closed()
    machine.fail(f"pgrep -u {person.name}")
    machine.fail(f"docker container inspect workspace-{person.name}")
    machine.fail(f"crontab -l -u {person.name}")
    assert client.login(person, code=lambda: person.code(1)).denied
    assert client.login(person, code=person.emergency_codes[0]).denied
    assert person.name not in machine.status()["researchers"]
    assert machine.succeed(f"cat /home/{person.name}/thesis") == "work\n"


def test_a_leaver_comes_back_only_with_a_new_enrollment(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    uid = machine.succeed(f"id -u {person.name}")
    machine.revoke(person)
    with machine.draft() as lab, machine.unchanged():
        lab.requests[person.name] = person.request
        answer = machine.deliver(json.dumps(machine.envelope()).encode())
        assert "retired" in answer["error"]
        assert machine.status()["error"] == answer["error"]
        # The commit that wrote it into retired.yaml was reverted too: the machine remembers.
        lab.retired.pop()
        assert "retired" in machine.deliver(json.dumps(machine.envelope()).encode())["error"]
    back = machine.change(person, {"enrollment": secrets.token_hex(16)})
    assert machine.status()["error"] is None
    assert client.login(person, code=person.emergency_codes[0]).denied
    assert client.login(back).entered
    assert machine.succeed(f"id -u {person.name}") == uid


def test_a_uid_is_never_anothers(machine: Machine) -> None:
    person = machine.researcher()
    uid = machine.succeed(f"id -u {person.name}")
    machine.revoke(person)
    (newcomer,) = machine.add()
    machine.apply()
    assert machine.succeed(f"id -u {newcomer.name}") != uid


def test_a_used_emergency_code_stays_used_after_a_roster_update(
    machine: Machine, client: Client
) -> None:
    person = machine.researcher()
    code = person.emergency_codes[0]
    assert client.login(person, code=code).entered
    machine.add()
    machine.apply()
    assert client.login(person, code=code).denied


def test_a_password_that_was_not_set_when_a_roster_was_cut_off_is_set_at_the_next(
    machine: Machine, client: Client
) -> None:
    person = machine.researcher("password+totp")
    machine.retire(person, "rotated")
    request = person.request.model_copy(update={"enrollment": secrets.token_hex(16)})
    machine.lab.requests[person.name] = request
    machine.succeed("mount --bind /bin/false /usr/sbin/chpasswd")
    try:
        assert not machine.try_apply()["applied"]
    finally:
        machine.succeed("umount /usr/sbin/chpasswd")
    machine.apply()
    renewed = machine.person(person.name)
    assert renewed.password != person.password
    assert client.login(person, code=renewed.code).denied
    assert client.login(renewed, code=renewed.emergency_codes[0]).entered


def test_whom_a_roster_made_that_was_cut_off_the_next_one_removes(
    machine: Machine, client: Client
) -> None:
    made, in_the_way = machine.add(count=2)
    machine.succeed(f"useradd --uid 4242 {in_the_way.name}")
    try:
        assert not machine.try_apply()["applied"]
        assert client.login(made).entered
        for each in (made, in_the_way):
            del machine.lab.requests[each.name]
        machine.apply()
    finally:
        machine.succeed(f"userdel {in_the_way.name}")
    assert client.login(made, code=made.emergency_codes[0]).denied
    machine.fail(f"id -nG {made.name} | grep -w secondlock")


BEGIN = "-----BEGIN OPENSSH PRIVATE KEY-----"


def _half(machine: Machine) -> bytes:
    document = json.dumps(machine.envelope()).encode()
    return document[: len(document) // 2]


def _edited(**changes: Any) -> Any:
    def make(machine: Machine) -> bytes:
        envelope = machine.envelope()
        envelope["roster"] |= changes
        return json.dumps(envelope).encode()

    return make


def _older(machine: Machine) -> bytes:
    machine.apply()
    return json.dumps(machine.envelope(serial=machine.lab.serial - 1)).encode()


def _without_keys(machine: Machine) -> bytes:
    envelope = machine.envelope()
    for entry in envelope["roster"]["researchers"].values():
        entry["ssh_keys"] = []
    return json.dumps(envelope).encode()


REFUSED = {
    "half": (_half, "part of it"),
    "empty": (lambda _: b"", "empty"),
    "no JSON": (lambda _: b"researchers: none", "not JSON"),
    "null": (lambda _: b"null", "not a mapping"),
    "older": (_older, "older"),
    "foreign": (_edited(machine="another"), "another machine"),
    "of a later version": (_edited(version=2), "version"),
    "without a host key": (_edited(host_key=""), "host key"),
    "with half a host key": (_edited(host_key=f"{BEGIN}\nx\n"), "host key"),
    "without keys": (_without_keys, "SSH key"),
}


def test_a_roster_that_is_refused_changes_nothing_and_status_says_why(machine: Machine) -> None:
    documents = {name: make(machine) for name, (make, _) in REFUSED.items()}
    error = ""
    with machine.unchanged():
        for name, (_, word) in REFUSED.items():
            answer = machine.deliver(documents[name])
            assert not answer["applied"], name
            error = answer["error"]
            assert word in error, name
            assert machine.succeed("cat /run/secondlock/error") == f"{error}\n"
        assert machine.status()["error"] == error
    machine.apply()
    assert machine.status()["error"] is None


def test_an_hour_off_only_an_emergency_code_opens_and_status_names_the_offset(
    machine: Machine, client: Client
) -> None:
    person = machine.researcher()
    with machine.clock_off(3600):
        assert client.login(person).denied
        assert client.login(person, code=person.emergency_codes[0]).entered
        clock = machine.status()["clock"]
        assert abs(abs(clock["offset_seconds"]) - 3600) < 60, clock
    assert abs(machine.status()["clock"]["offset_seconds"]) < 1
    assert client.login(person, code=lambda: person.code(1)).entered


def test_a_full_state_volume_lets_nobody_in_and_status_says_so(
    machine: Machine, client: Client
) -> None:
    person = machine.researcher()
    # One large file leaves crumbs, which small ones take.
    fill = "cat /dev/zero >filler; sync; n=0; while echo x >filler.$n; do n=$((n + 1)); done"
    machine.succeed(f"cd /var/lib/secondlock && ( {fill} ); true")
    try:
        assert client.login(person).denied
        assert client.login(person, code=person.emergency_codes[0]).denied
        assert "full" in machine.status()["error"]
    finally:
        machine.succeed("rm /var/lib/secondlock/filler*")
    assert machine.status()["error"] is None
    assert client.login(person, code=lambda: person.code(1)).entered
