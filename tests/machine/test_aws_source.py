"""A machine whose roster comes from AWS: SSM, KMS and CloudWatch Logs as moto plays them.

The guest is the one that EC2 gets, booted here: target aws, its bundle from S3, its one data volume
under the name that EC2 gives it. moto listens on this computer's loopback, which the guest's root
reaches by QEMU's gateway.
"""

from __future__ import annotations

import json
import shlex
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from infra.local import qemu
from infra.local.qmp import monitor
from tests.support.aws_machine import (
    CONNECT,
    DENIED,
    DIGEST,
    GROUP,
    PARAMETER,
    AwsMachine,
)
from tests.support.bundles import LIBRARY, SSHD, changed, sha256
from tests.support.client import free_port
from tests.support.cloud import Cloud
from tests.support.machine import BOOT, NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.people import Person


@contextmanager
def answering(status: int, answer: dict[str, Any]) -> Iterator[str]:
    """An endpoint that gives everyone who asks for a roster this answer; its URL.

    Whatever else is asked of AWS is refused: log lines that it took would be lost.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked = self.headers["X-Amz-Target"] == "AmazonSSM.GetParameter"
            text = json.dumps(answer if asked else DENIED).encode()
            self.send_response(status if asked else 400)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's)
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """moto's server, with a log group."""
    cloud = Cloud(tmp_path_factory.mktemp("cloud"))
    try:
        cloud.client("logs").create_log_group(logGroupName=GROUP)
        yield cloud
    finally:
        cloud.end()


@pytest.fixture(scope="module")
def machine(
    image: None, cloud: Cloud, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AwsMachine]:
    """A machine on AWS whose first roster has arrived."""
    machine = AwsMachine(tmp_path_factory.mktemp("aws"), cloud)
    try:
        qemu.create_data(machine.data, 5)
        machine.add(count=4)
        machine.put()
        machine.boot()
        machine.wait_for("systemctl is-active ssh.service", timeout=BOOT)
        machine.lift_bans()
        yield machine
    finally:
        machine.end()


@pytest.fixture(scope="module")
def people(machine: AwsMachine) -> list[Person]:
    """Those in the first roster."""
    return machine.everyone()


def test_the_bundle_came_by_the_role_and_what_it_brings_runs(machine: AwsMachine) -> None:
    known = json.loads(machine.succeed("cat /etc/secondlock/machine.json"))
    assert (known["bundle"], "/bundle" in known["bundles"]) == (DIGEST, True)
    machine.wait_for("systemctl is-active secondlock.target")
    machine.succeed("systemctl is-enabled secondlock.target")
    for unit in ("fetch.timer", "ship.timer", "status.timer", "spot.service"):
        machine.succeed(f"systemctl is-active secondlock-{unit}")


def test_the_enrollment_arrives_and_opens_the_door(
    machine: AwsMachine, people: list[Person]
) -> None:
    code = people[0].code()
    assert machine.client.login(people[0], code=code).entered
    assert machine.client.login(people[0], code=code).denied
    status = machine.status()
    assert (status["serial"], status["error"]) == (1, None)


def test_the_volume_is_parted_and_mounted(machine: AwsMachine) -> None:
    found = {
        place: machine.succeed(
            f"part=$(findmnt -no SOURCE {place}); blkid -po value -s PART_ENTRY_NAME $part; "
            "blkid -po value -s LABEL $part"
        ).split()
        for place in ("/var/lib/secondlock", "/home")
    }
    assert found == {"/var/lib/secondlock": ["sl-state"] * 2, "/home": ["sl-home"] * 2}
    size = "lsblk -bno SIZE $(findmnt -no SOURCE /var/lib/secondlock)"
    assert int(machine.succeed(size)) == 2**30


def test_a_grown_volume_gives_home_more_room(machine: AwsMachine) -> None:
    room = "df --output=size -B1 /home | tail -n 1"
    before = int(machine.succeed(room))
    monitor(machine.directory, "block_resize", device="home", size=7 * 2**30)
    assert machine.fetch() is None
    assert int(machine.succeed(room)) > before + 1.8 * 2**30


def test_a_rotation_arrives(machine: AwsMachine, people: list[Person]) -> None:
    renewed = machine.rotate(people[1])
    assert machine.client.login(people[1]).denied
    assert machine.client.login(renewed).entered


def test_an_unchanged_roster_is_not_applied_again(machine: AwsMachine) -> None:
    with machine.unchanged():
        before = machine.succeed("stat -c %Z /run/secondlock/applied")
        assert machine.fetch() is None
        assert machine.succeed("stat -c %Z /run/secondlock/applied") == before


def test_an_absent_aws_leaves_the_last_roster(machine: AwsMachine, people: list[Person]) -> None:
    with machine.endpoint(f"http://127.0.0.1:{free_port()}"):
        with machine.unchanged():
            assert "not reached" in str(machine.fetch())
        # Too early for another try: it is not made.
        before = machine.succeed("cat /run/secondlock/fetch.patience")
        machine.succeed("systemctl start secondlock-fetch.service")
        assert machine.succeed("cat /run/secondlock/fetch.patience") == before
        assert machine.client.login(people[2]).entered
    assert machine.fetch() is None


def test_a_denied_roster_says_so_and_changes_nothing(machine: AwsMachine) -> None:
    with answering(400, DENIED) as url, machine.endpoint(url), machine.unchanged():
        error = str(machine.fetch())
        assert "AccessDeniedException: User is not authorized" in error
    assert machine.fetch() is None


def test_a_roster_that_is_none_says_so_and_changes_nothing(machine: AwsMachine) -> None:
    with machine.unchanged():
        for value in ("null", "{", "nobody"):
            machine.put(value)
            assert "the roster is refused" in str(machine.fetch())
    assert "the roster is refused" in machine.status()["error"]
    machine.apply()
    assert machine.status()["error"] is None


def test_an_older_answer_is_refused(machine: AwsMachine) -> None:
    now = machine.ssm.get_parameter(Name=PARAMETER, WithDecryption=True)["Parameter"]
    old = {
        "Name": PARAMETER,
        "Type": "SecureString",
        "Value": now["Value"],
        "Version": now["Version"] - 1,
        "LastModifiedDate": now["LastModifiedDate"].timestamp() - 60,
    }
    with answering(200, {"Parameter": old}) as url, machine.endpoint(url), machine.unchanged():
        assert "older" in str(machine.fetch())
    assert machine.fetch() is None


def test_a_parameter_made_anew_shuts_nobody_out(machine: AwsMachine) -> None:
    machine.ssm.delete_parameter(Name=PARAMETER)
    assert "ParameterNotFound" in str(machine.fetch())
    (person,) = machine.add()
    machine.apply()
    assert machine.serial == 1
    assert machine.client.login(person).entered


def test_lines_arrive_and_hold_no_secret(machine: AwsMachine, people: list[Person]) -> None:
    mistyped = machine.client.login(people[0], code=people[0].emergency_codes[4])
    assert mistyped.entered
    machine.apply()
    with answering(400, DENIED) as url, machine.endpoint(url):
        machine.fetch()
    assert machine.fetch() is None
    auth = "\n".join(machine.lines("auth"))
    assert f"Accepted keyboard-interactive/pam for {people[0].name}" in auth
    status = [json.loads(line) for line in machine.lines("status")]
    assert status[-1]["machine"] == NAME
    assert status[-1]["clock"].keys() == {"synchronised", "offset_seconds", "source"}
    sync = "\n".join(machine.lines("sync"))
    assert '"applied": true' in sync
    assert "AccessDeniedException" in sync
    everything = "\n".join([auth, sync, json.dumps(status)])
    for person in machine.everyone():
        for secret in (person.enrollment.entry["totp_secret"], *person.emergency_codes):
            assert secret not in everything


def test_no_line_is_shipped_twice(machine: AwsMachine) -> None:
    before = machine.lines("sync")
    machine.apply()
    lines = machine.lines("sync")
    assert lines[: len(before)] == before
    assert len([line for line in lines[len(before) :] if '"applied": true' in line]) == 1
    again = machine.lines("sync")
    assert again[: len(lines)] == lines
    assert not [line for line in again[len(lines) :] if '"applied": true' in line]


def test_the_machine_goes_on_to_the_bundle_that_its_roster_names(
    machine: AwsMachine, people: list[Person]
) -> None:
    later = changed(SSHD, "MaxAuthTries 4", "MaxAuthTries 3", "aws")
    for key in (sha256(later), sha256(b"another")):
        machine.cloud.client("s3").put_object(Bucket="bundles", Key=f"bundle/{key}", Body=later)
    current = f"basename $(readlink /{LIBRARY}/current)"

    machine.put_bundle(sha256(b"another"))
    assert "the bundle arrived damaged" in str(machine.fetch())
    assert machine.succeed(current).strip() == DIGEST
    machine.put_bundle(sha256(later))
    assert machine.fetch() is None
    assert machine.succeed(current).strip() == sha256(later)
    assert "maxauthtries 3" in machine.succeed("sshd -T")
    assert machine.client.login(people[0], code=people[0].emergency_codes[1]).entered
    machine.put_bundle(DIGEST)
    machine.fetch()
    assert "replaced here by a newer one" in machine.status()["bundle"]["error"]
    machine.put_bundle(DIGEST, older_bundle=True)
    assert machine.fetch() is None
    assert machine.succeed(current).strip() == DIGEST
    machine.apply()


def test_the_role_is_roots_alone(machine: AwsMachine, people: list[Person]) -> None:
    ask = f"python3 -c {shlex.quote(CONNECT)}"
    assert machine.succeed(ask) == "in\n"
    assert machine.succeed(f"setpriv --reuid {people[0].name} --clear-groups {ask}") == "out\n"


def test_a_workspace_has_the_machines_gpu(machine: AwsMachine, people: list[Person]) -> None:
    seen = machine.client.login(people[3], "head -c 2 /dev/nvidia0 | od -An -tx1", timeout=180)
    assert seen.output.split() == ["00", "00"], seen.errors


def test_who_is_logged_in_is_warned_of_the_end_of_a_spot_machine(
    machine: AwsMachine, people: list[Person]
) -> None:
    assert machine.succeed("systemctl is-active secondlock-spot.service") == "active\n"
    code = people[2].emergency_codes[0]
    with machine.client.terminal(people[2], "sleep", "120", code=code, size=(24, 200)) as session:
        machine.wait_for(f"pgrep -u {people[2].name} sleep", timeout=120)
        notice = {"action": "stop", "time": "2026-11-22T12:00:00Z"}
        machine.succeed("cat >/run/notice", json.dumps(notice).encode())
        session.expect("This machine stops at 2026-11-22T12:00:00Z: Amazon needs its spot")
    machine.wait_for("! systemctl is-active secondlock-spot.service")
    assert "stops at 2026-11-22" in "\n".join(machine.lines("sync"))
