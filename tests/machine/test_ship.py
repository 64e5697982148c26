"""Log lines leave a machine on AWS: whole, once, and without a secret."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from cloudinit.guest.audit import chain
from tests.support.aws_machine import DENIED, answering
from tests.support.machine import NAME
from tests.support.records import WITHIN

if TYPE_CHECKING:
    from tests.support.aws_machine import AwsMachine
    from tests.support.people import Person


def test_lines_arrive_and_hold_no_secret(aws: AwsMachine, aws_people: list[Person]) -> None:
    mistyped = aws.client.login(aws_people[0], code=aws_people[0].emergency_codes[4])
    assert mistyped.entered
    aws.apply()
    with answering(400, DENIED) as url, aws.endpoint(url):
        aws.fetch()
    assert aws.fetch() is None
    auth = "\n".join(aws.lines("auth"))
    assert f"Accepted keyboard-interactive/pam for {aws_people[0].name}" in auth
    status = [json.loads(line) for line in aws.lines("status")]
    assert status[-1]["machine"] == NAME
    assert status[-1]["clock"].keys() == {"synchronised", "offset_seconds", "source"}
    sync = "\n".join(aws.lines("sync"))
    assert '"applied": true' in sync
    assert "AccessDeniedException" in sync
    everything = "\n".join([auth, sync, json.dumps(status)])
    for person in aws.everyone():
        for secret in (person.enrollment.entry["totp_secret"], *person.emergency_codes):
            assert secret not in everything


def test_no_line_is_shipped_twice(aws: AwsMachine) -> None:
    before = aws.lines("sync")
    aws.apply()
    lines = aws.lines("sync")
    assert lines[: len(before)] == before
    assert len([line for line in lines[len(before) :] if '"applied": true' in line]) == 1
    again = aws.lines("sync")
    assert again[: len(lines)] == lines
    assert not [line for line in again[len(lines) :] if '"applied": true' in line]


def test_who_did_what_leaves_the_machine_as_a_chain(aws: AwsMachine) -> None:
    (person,) = aws.add()
    aws.apply()
    assert aws.client.login(person, code=person.emergency_codes[3]).entered
    deadline = time.monotonic() + WITHIN
    while not [one for one in aws.record() if one.get("person") == person.name]:
        assert time.monotonic() < deadline
        time.sleep(1)
    records = aws.record()
    assert [one["seq"] for one in records] == list(range(1, len(records) + 1))
    assert list(chain.verify(records)) == []
    (login,) = (one for one in records if one.get("person") == person.name)
    assert (login["kind"], login["device"]) == ("login", "emergency code")
    said = aws.status()["audit"]
    assert (said["error"], said["seq"] >= len(records)) == (None, True)
