"""Guessing codes with a stolen key: it freezes its owner's entry, and nobody else's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.machine.client import Client
    from tests.machine.machine import Machine
    from tests.machine.people import Person

TRIES, AT_ONCE = 3, 5  # in a connection; connections
THREE = ["-o", f"NumberOfPasswordPrompts={TRIES}"]
FAILLOCK = "faillock --dir /var/lib/secondlock/faillock"
PRODUCT_MAXRETRY = 5


@pytest.fixture
def guarded(machine: Machine) -> Iterator[Machine]:
    """The machine with fail2ban as the product sets it."""
    machine.lift_bans(PRODUCT_MAXRETRY)
    yield machine
    machine.lift_bans()


def _guess(machine: Machine, person: Person, codes: int) -> None:
    """At least `codes` wrong codes after the right key, three in a connection.

    The module asks for none while its own limit holds (three in 30 s); that too is a wrong code.
    """
    wrong = person.wrong_code()

    def guess(_: int) -> int:
        return machine.client.login(person, answers=[wrong] * TRIES, options=THREE).exit

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in range(codes // AT_ONCE + 1):
            assert 0 not in pool.map(guess, range(AT_ONCE))
            counted = machine.succeed(f"{FAILLOCK} --user {person.name} | grep -c V$ || true")
            if int(counted) >= codes:
                return
    pytest.fail(f"{codes} wrong codes were not counted")


def test_ten_wrong_codes_of_one_leave_the_others_of_the_address_alone(guarded: Machine) -> None:
    victim, colleague = guarded.researcher(), guarded.researcher()
    _guess(guarded, victim, 10)
    assert guarded.client.login(colleague).entered
    status = guarded.status()
    assert status["bans"] == []
    assert not status["researchers"][victim.name]["frozen"]
    assert "Currently failed:\t0" in guarded.succeed("fail2ban-client status sshd")


def test_thirty_wrong_codes_freeze_until_a_new_enrollment(machine: Machine, client: Client) -> None:
    victim = machine.researcher()
    _guess(machine, victim, 30)
    assert machine.person_status(victim)["frozen"]
    assert client.login(victim).denied
    assert client.login(victim, code=victim.emergency_codes[0]).denied
    renewed = machine.rotate(victim)
    assert not machine.person_status(renewed)["frozen"]
    assert client.login(renewed).entered
