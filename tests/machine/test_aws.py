"""A machine whose bundle and roster come from AWS: S3, SSM and KMS as moto plays them."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

from infra.local.qmp import monitor
from tests.support.aws_machine import CONNECT, DENIED, DIGEST, PARAMETER, answering
from tests.support.bundles import LIBRARY, SSHD, changed, sha256
from tests.support.client import free_port

if TYPE_CHECKING:
    from tests.support.aws_machine import AwsMachine
    from tests.support.people import Person


def test_the_bundle_came_by_the_role_and_what_it_brings_runs(aws: AwsMachine) -> None:
    known = json.loads(aws.succeed("cat /etc/secondlock/machine.json"))
    assert (known["bundle"], "/bundle" in known["bundles"]) == (DIGEST, True)
    aws.wait_for("systemctl is-active secondlock.target")
    aws.succeed("systemctl is-enabled secondlock.target")
    for unit in ("fetch.timer", "ship.timer", "status.timer", "spot.service"):
        aws.succeed(f"systemctl is-active secondlock-{unit}")


def test_the_enrollment_arrives_and_opens_the_door(
    aws: AwsMachine, aws_people: list[Person]
) -> None:
    code = aws_people[0].code()
    assert aws.client.login(aws_people[0], code=code).entered
    assert aws.client.login(aws_people[0], code=code).denied
    status = aws.status()
    assert (status["serial"], status["error"]) == (aws.serial, None)


def test_the_volume_is_parted_and_mounted(aws: AwsMachine) -> None:
    found = {
        place: aws.succeed(
            f"part=$(findmnt -no SOURCE {place}); blkid -po value -s PART_ENTRY_NAME $part; "
            "blkid -po value -s LABEL $part"
        ).split()
        for place in ("/var/lib/secondlock", "/home")
    }
    assert found == {"/var/lib/secondlock": ["sl-state"] * 2, "/home": ["sl-home"] * 2}
    size = "lsblk -bno SIZE $(findmnt -no SOURCE /var/lib/secondlock)"
    assert int(aws.succeed(size)) == 2**30


def test_a_grown_volume_gives_home_more_room(aws: AwsMachine) -> None:
    room = "df --output=size -B1 /home | tail -n 1"
    before = int(aws.succeed(room))
    monitor(aws.directory, "block_resize", device="home", size=7 * 2**30)
    assert aws.fetch() is None
    assert int(aws.succeed(room)) > before + 1.8 * 2**30


def test_a_rotation_arrives(aws: AwsMachine, aws_people: list[Person]) -> None:
    renewed = aws.rotate(aws_people[1])
    assert aws.client.login(aws_people[1]).denied
    assert aws.client.login(renewed).entered


def test_an_unchanged_roster_is_not_applied_again(aws: AwsMachine) -> None:
    with aws.unchanged():
        before = aws.succeed("stat -c %Z /run/secondlock/applied")
        assert aws.fetch() is None
        assert aws.succeed("stat -c %Z /run/secondlock/applied") == before


def test_an_absent_aws_leaves_the_last_roster(aws: AwsMachine, aws_people: list[Person]) -> None:
    with aws.endpoint(f"http://127.0.0.1:{free_port()}"):
        with aws.unchanged():
            assert "not reached" in str(aws.fetch())
        # Too early for another try: it is not made.
        before = aws.succeed("cat /run/secondlock/fetch.patience")
        aws.succeed("systemctl start secondlock-fetch.service")
        assert aws.succeed("cat /run/secondlock/fetch.patience") == before
        assert aws.client.login(aws_people[2]).entered
    assert aws.fetch() is None


def test_a_denied_roster_says_so_and_changes_nothing(aws: AwsMachine) -> None:
    with answering(400, DENIED) as url, aws.endpoint(url), aws.unchanged():
        error = str(aws.fetch())
        assert "AccessDeniedException: User is not authorized" in error
    assert aws.fetch() is None


def test_a_roster_that_is_none_says_so_and_changes_nothing(aws: AwsMachine) -> None:
    with aws.unchanged():
        for value in ("null", "{", "nobody"):
            aws.put(value)
            assert "the roster is refused" in str(aws.fetch())
    assert "the roster is refused" in aws.status()["error"]
    aws.apply()
    assert aws.status()["error"] is None


def test_an_older_answer_is_refused(aws: AwsMachine) -> None:
    now = aws.ssm.get_parameter(Name=PARAMETER, WithDecryption=True)["Parameter"]
    old = {
        "Name": PARAMETER,
        "Type": "SecureString",
        "Value": now["Value"],
        "Version": now["Version"] - 1,
        "LastModifiedDate": now["LastModifiedDate"].timestamp() - 60,
    }
    with answering(200, {"Parameter": old}) as url, aws.endpoint(url), aws.unchanged():
        assert "older" in str(aws.fetch())
    assert aws.fetch() is None


def test_a_parameter_made_anew_shuts_nobody_out(aws: AwsMachine) -> None:
    aws.ssm.delete_parameter(Name=PARAMETER)
    assert "ParameterNotFound" in str(aws.fetch())
    (person,) = aws.add()
    aws.apply()
    assert aws.serial == 1
    assert aws.client.login(person).entered


def test_the_machine_goes_on_to_the_bundle_that_its_roster_names(
    aws: AwsMachine, aws_people: list[Person]
) -> None:
    later = changed(SSHD, "MaxAuthTries 4", "MaxAuthTries 3", "aws")
    for key in (sha256(later), sha256(b"another")):
        aws.cloud.client("s3").put_object(Bucket="bundles", Key=f"bundle/{key}", Body=later)
    current = f"basename $(readlink /{LIBRARY}/current)"

    aws.put_bundle(sha256(b"another"))
    assert "the bundle arrived damaged" in str(aws.fetch())
    assert aws.succeed(current).strip() == DIGEST
    aws.put_bundle(sha256(later))
    assert aws.fetch() is None
    assert aws.succeed(current).strip() == sha256(later)
    assert "maxauthtries 3" in aws.succeed("sshd -T")
    assert aws.client.login(aws_people[0], code=aws_people[0].emergency_codes[1]).entered
    aws.put_bundle(DIGEST)
    aws.fetch()
    assert "replaced here by a newer one" in aws.status()["bundle"]["error"]
    aws.put_bundle(DIGEST, older_bundle=True)
    assert aws.fetch() is None
    assert aws.succeed(current).strip() == DIGEST
    aws.apply()


def test_the_role_is_roots_alone(aws: AwsMachine, aws_people: list[Person]) -> None:
    ask = f"python3 -c {shlex.quote(CONNECT)}"
    assert aws.succeed(ask) == "in\n"
    assert aws.succeed(f"setpriv --reuid {aws_people[0].name} --clear-groups {ask}") == "out\n"


def test_a_workspace_has_the_machines_gpu(aws: AwsMachine, aws_people: list[Person]) -> None:
    seen = aws.client.login(aws_people[3], "head -c 2 /dev/nvidia0 | od -An -tx1", timeout=180)
    assert seen.output.split() == ["00", "00"], seen.errors
