"""The end of a spot machine, which Amazon announces, reaches who is logged in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.aws_machine import AwsMachine
    from tests.support.people import Person


def test_who_is_logged_in_is_warned_of_the_end_of_a_spot_machine(
    aws: AwsMachine, aws_people: list[Person]
) -> None:
    assert aws.succeed("systemctl is-active secondlock-spot.service") == "active\n"
    code = aws_people[2].emergency_codes[0]
    with aws.client.terminal(aws_people[2], "sleep", "120", code=code, size=(24, 200)) as session:
        aws.wait_for(f"pgrep -u {aws_people[2].name} sleep", timeout=120)
        notice = {"action": "stop", "time": "2026-11-22T12:00:00Z"}
        aws.succeed("cat >/run/notice", json.dumps(notice).encode())
        session.expect("This machine stops at 2026-11-22T12:00:00Z: Amazon needs its spot")
    aws.wait_for("! systemctl is-active secondlock-spot.service")
    assert "stops at 2026-11-22" in "\n".join(aws.lines("sync"))
