"""A machine that closes at a time: nobody is left on it, and nobody comes in until it opens."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING

from tests.support.project import wait_until

if TYPE_CHECKING:
    from tests.support.machine import Machine


def test_at_its_time_nobody_is_left_and_nobody_comes_in(machine: Machine) -> None:
    sitter, stubborn, late = (machine.researcher() for _ in range(3))
    client = machine.client
    with client.session(sitter) as sits, client.session(stubborn) as asks:
        sits.succeed("echo answer >exam; setsid -f sleep 3600 >/dev/null 2>&1 </dev/null")
        asks.succeed("true")
        machine.closed_from = dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=35)
        assert "closing" in machine.apply()
        try:
            assert sits.succeed("pgrep -x sleep")
            assert machine.status()["closes"]["closed"] is False
            while time.time() < machine.closed_from.timestamp() + 1:
                asks.run("true")
            sits.wait_closed()
            asks.wait_closed()
            wait_until(lambda: machine.status()["closes"]["closed"], "it is closed")
            for person in (sitter, stubborn):
                machine.fail(f"pgrep -u {person.name}")
                machine.fail(f"docker container inspect workspace-{person.name}")
            refused = client.login(late, code=late.emergency_codes[0])
            assert not refused.entered
            assert "closed since" in refused.errors + "".join(refused.prompts)
            # Another roster opens nothing, nor does a restart of what watches.
            machine.rotate(sitter)
            machine.succeed("systemctl start secondlock-closing.service")
            assert not client.login(stubborn, code=stubborn.emergency_codes[0]).entered
        finally:
            machine.closed_from = None
            machine.apply()
    assert machine.status()["closes"] is None
    again = machine.person(sitter.name)
    assert client.login(again, "cat exam", timeout=300).output == "answer"
    assert client.login(late, code=late.emergency_codes[0]).entered
