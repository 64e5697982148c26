"""The machine's clock, measured from this computer, whose time it is to have."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.client import Client
    from tests.support.machine import Machine

EXACT = 0.05  # seconds
CORRECTED = 60  # seconds after any pause


def _wait_exact(machine: Machine) -> None:
    deadline = time.monotonic() + CORRECTED
    while abs((offset := machine.offset).seconds) - offset.bound > EXACT:
        assert time.monotonic() < deadline, offset
        time.sleep(1)


@contextmanager
def _uncorrected(machine: Machine) -> Iterator[None]:
    machine.succeed("systemctl stop secondlock-clock.service")
    try:
        yield
    finally:
        machine.succeed("systemctl start secondlock-clock.service")
        _wait_exact(machine)


def test_it_is_this_computers_to_a_twentieth_of_a_second(machine: Machine) -> None:
    _wait_exact(machine)
    shown = machine.status()["clock"]["offset_seconds"]
    assert abs(shown - machine.offset.seconds) < EXACT + machine.offset.bound


def test_after_a_halt_it_is_right_within_a_minute_and_codes_open(
    machine: Machine, client: Client
) -> None:
    person = machine.researcher()
    with machine.halted(60):
        _wait_exact(machine)
        assert client.login(person).entered
    assert machine.person_status(person)["wrong_codes"] == 0


def test_until_it_is_right_the_status_names_how_far_it_is_off(machine: Machine) -> None:
    with _uncorrected(machine), machine.halted(30):
        assert abs(machine.offset.seconds - 30) < 5
        assert abs(machine.status()["clock"]["offset_seconds"] - machine.offset.seconds) < 1.5
