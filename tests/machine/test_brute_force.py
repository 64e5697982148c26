"""Guessing codes with a stolen key: it freezes its owner's entry, and nobody else's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.support.waiting import answer_together

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.client import Client
    from tests.support.machine import Machine
    from tests.support.people import Person

TRIES, AT_ONCE = 3, 5  # in a connection; connections
THREE = ["-o", f"NumberOfPasswordPrompts={TRIES}"]
PRODUCT_MAXRETRY = 5


@pytest.fixture
def guarded(machine: Machine) -> Iterator[Machine]:
    """The machine with fail2ban as the product sets it."""
    machine.lift_bans(PRODUCT_MAXRETRY)
    yield machine
    machine.lift_bans()


def _guess(machine: Machine, person: Person, codes: int) -> None:
    """So many wrong codes after the right key, three in a connection."""
    wrong = person.wrong_code()

    def guess(_: int) -> int:
        return machine.client.login(person, answers=[wrong] * TRIES, options=THREE).exit

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert 0 not in pool.map(guess, range(codes // TRIES))
    assert machine.person_status(person)["wrong_codes"] == codes


def test_twelve_wrong_codes_of_one_leave_the_others_of_the_address_alone(
    guarded: Machine,
) -> None:
    victim, colleague = guarded.researcher(), guarded.researcher()
    _guess(guarded, victim, 12)
    assert guarded.client.login(colleague).entered
    status = guarded.status()
    assert status["bans"] == []
    assert not status["researchers"][victim.name]["frozen"]
    assert "Currently failed:\t0" in guarded.succeed("fail2ban-client status sshd")


def test_thirty_guesses_are_looked_at_however_they_are_stacked_until_a_new_enrollment(
    machine: Machine, client: Client
) -> None:
    victim = machine.researcher()
    _guess(machine, victim, 24)
    # Eight prompts are open before any is answered: six answers are looked at.
    wrong = victim.wrong_code()
    assert answer_together(client, victim, [wrong] * 8) == 0
    status = machine.person_status(victim)
    assert (status["wrong_codes"], status["frozen"]) == (30, True)
    refused = client.login(victim)
    assert refused.denied
    assert "Too many wrong codes" in refused.errors
    assert client.login(victim, code=victim.emergency_codes[0]).denied
    renewed = machine.rotate(victim)
    assert not machine.person_status(renewed)["frozen"]
    assert client.login(renewed).entered
