"""One-time codes: good once, for a while, and few wrong ones; under pressure too."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pexpect
import pytest

from tests.support.client import PROMPT
from tests.support.waiting import answer_together

if TYPE_CHECKING:
    from tests.support.client import Client
    from tests.support.machine import Machine
    from tests.support.people import Person

# A handshake takes an emulated machine a second or two, and all have to wait at the same time.
WAITING = int(os.environ.get("SECONDLOCK_WAITING", "8"))
ROUNDS = int(os.environ.get("SECONDLOCK_ROUNDS", "2"))
TRIES, AT_ONCE = 3, 5  # in a connection; connections
THREE = ["-o", f"NumberOfPasswordPrompts={TRIES}"]


def test_a_code_is_good_once(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    code = person.code()
    assert client.login(person, code=code).entered
    again = client.login(person, code=code)
    assert again.denied
    assert "used already" in again.errors
    assert client.login(person, code=lambda: person.code(1)).entered


def test_a_wrong_code_is_refused(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    assert client.login(person, code=person.wrong_code()).denied
    assert client.login(person, code="").denied
    assert machine.person_status(person)["wrong_codes"] == 1


def test_a_code_alone_is_refused_and_not_even_asked_for(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    result = client.login(person, options=["-o", "PubkeyAuthentication=no"])
    assert result.denied
    assert result.prompts == ()


def test_an_emergency_code_works_once(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    code = person.emergency_codes[0]
    result = client.login(person, code=code)
    assert result.entered
    assert "4 left" in result.errors
    assert machine.person_status(person)["emergency_codes_left"] == 4
    assert client.login(person, code=code).denied


def test_each_of_several_authenticators_comes_and_goes_alone(
    machine: Machine, client: Client
) -> None:
    person = machine.researcher()
    phone, first, second = person.request.enrollment, os.urandom(16).hex(), os.urandom(16).hex()
    with client.session(person) as session:
        ended = {"end_sessions": True, "authenticators": {"phone": phone, "tablet": first}}
        both = machine.change(person, ended)
        old = both.code(device="tablet")
        assert client.login(both, code=old).entered
        assert client.login(both, code=old).denied
        status = machine.person_status(both)
        assert status["authenticators"] == ["phone", "tablet"]
        assert status["last_authenticator"] == "tablet"
        # Whoever only got a further one goes on working.
        assert session.is_open()
    renewed = machine.change(both, {"authenticators": {"phone": phone, "tablet": second}})
    assert client.login(both, code=lambda: both.code(1, "tablet")).denied
    assert client.login(renewed, code=lambda: renewed.code(device="tablet")).entered
    assert client.login(renewed, code=lambda: renewed.code(1)).entered
    with client.session(renewed, code=renewed.emergency_codes[0]) as session:
        tablet_alone = machine.change(renewed, {"authenticators": {"tablet": second}})
        session.wait_closed()  # the phone is lost
    assert client.login(renewed, code=lambda: renewed.code(1)).denied
    assert client.login(tablet_alone, code=lambda: tablet_alone.code(1, "tablet")).entered


def test_new_emergency_codes_end_the_old_ones_and_leave_the_phone(
    machine: Machine, client: Client
) -> None:
    person = machine.researcher()
    renewed = machine.change(person, {"emergency_codes": os.urandom(16).hex()})
    assert client.login(person, code=person.emergency_codes[0]).denied
    for left in (4, 3, 2):
        last = client.login(renewed, code=renewed.emergency_codes[left])
        assert last.entered
        assert f"Emergency code used; {left} left." in last.errors
    assert "Your admin makes new ones." in last.errors
    assert "Emergency codes left: 2." in client.login(person).errors


@pytest.mark.parametrize(
    "damage",
    [
        "rm {}",
        "truncate --size 0 {}",
        "sed -i 's/secret/secrets/' {}",
        # What somebody else could have written.
        "chown nobody {}",
        "chmod 666 {}",
    ],
    ids=["gone", "empty", "without a secret", "not root's", "open to all"],
)
def test_without_a_sound_enrollment_on_the_machine_nobody_gets_in(
    machine: Machine, client: Client, damage: str
) -> None:
    person = machine.researcher()
    machine.succeed(damage.format(f"/var/lib/secondlock/codes/{person.name}.json"))
    assert client.login(person).denied


def test_a_phone_may_be_one_step_off(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    assert client.login(person, code=lambda: person.code(-1)).entered
    assert client.login(person, code=lambda: person.code(1)).entered


def test_a_phone_may_not_be_two_steps_off(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    assert client.login(person, code=lambda: person.code(-2)).denied
    assert client.login(person, code=lambda: person.code(2)).denied


def _answer_by_app(client: Client, person: Person) -> int:
    """How many get in by one code; it is good for its own time and for another step."""
    codes: list[str] = []
    answers = [lambda: codes[0]] * WAITING
    return answer_together(client, person, answers, before=lambda: codes.append(person.code()))


@pytest.mark.timeout(300 + 300 * ROUNDS, method="signal")
def test_of_all_who_wait_and_answer_one_code_together_one_gets_in(
    machine: Machine, client: Client
) -> None:
    for _ in range(ROUNDS):
        person = machine.researcher()
        assert _answer_by_app(client, person) == 1
        assert answer_together(client, person, [person.emergency_codes[0]] * WAITING) == 1
        assert machine.person_status(person)["wrong_codes"] == 0


@pytest.mark.parametrize("factors", ["key+totp", "password+totp"])
def test_what_is_no_answer_is_no_guess(guarded: Machine, factors: str) -> None:
    person, client = guarded.researcher(factors), guarded.client
    first = [person.password] if factors == "password+totp" else []
    with guarded.counting(0):
        for _ in range(2):
            # Without a terminal, with empty lines, and killed at each prompt.
            assert client.login(person, options=["-o", "BatchMode=yes"]).denied
            assert client.login(person, answers=[], options=THREE).denied
            assert client.login(person, answers=[*first, ""]).denied
            for answers in ([], first):
                with pexpect.spawn(
                    "ssh", client.argv(person)[1:], encoding="utf-8", timeout=90
                ) as child:
                    for answer in answers:
                        child.expect(PROMPT)
                        child.sendline(answer)
                    child.expect(PROMPT)
    status = guarded.status()
    assert status["researchers"][person.name]["wrong_codes"] == 0
    assert status["bans"] == []
    assert client.login(person).entered


def test_a_changed_method_holds_for_those_who_wait_at_the_prompt(
    machine: Machine, client: Client
) -> None:
    person = machine.researcher("password+totp")
    argv = client.argv(person)
    with ExitStack() as waiting:
        before, after = (
            waiting.enter_context(pexpect.spawn(argv[0], argv[1:], encoding="utf-8", timeout=90))
            for _ in range(2)
        )
        before.expect("assword:")
        before.sendline(person.password)
        before.expect("code:")
        after.expect("assword:")
        key = person.key.with_suffix(".pub").read_text().strip()
        renewed = machine.change(person, {"factors": "key+totp", "ssh_keys": (key,)})
        after.sendline(person.password)
        after.expect("code:")
        for each in (before, after):
            each.sendline(person.code())
            each.expect("changed just now.*Permission denied")
    assert client.login(renewed).entered


def test_a_roster_that_fails_half_way_brings_no_code_back(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    drop_in = "/etc/ssh/sshd_config.d/01-broken.conf"
    machine.succeed(f"echo 'NoSuchKeyword yes' >{drop_in}")
    try:
        machine.retire(person, "rotated")
        machine.lab.requests[person.name] = person.request.model_copy(
            update={"enrollment": os.urandom(16).hex()}
        )
        answer = machine.try_apply()
        assert not answer["applied"]
    finally:
        machine.succeed(f"rm {drop_in}")
    renewed = machine.person(person.name)
    code = renewed.emergency_codes[0]
    assert client.login(renewed, code=code).entered
    # Frozen meanwhile, as thirty wrong answers would have it.
    spent = f"/var/lib/secondlock/spent/{person.name}.json"
    machine.succeed(f'sed -i \'s/"frozen": false/"frozen": true/\' {spent}')
    machine.apply()
    assert machine.person_status(renewed)["frozen"]
    machine.succeed(f'sed -i \'s/"frozen": true/"frozen": false/\' {spent}')
    assert client.login(renewed, code=code).denied
    assert client.login(person, code=lambda: person.code(1)).denied


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
    with guarded.counting(0):
        _guess(guarded, victim, 12)
        assert guarded.client.login(colleague).entered
    status = guarded.status()
    assert status["bans"] == []
    assert not status["researchers"][victim.name]["frozen"]


@pytest.mark.long
@pytest.mark.timeout(3600, method="signal")
@pytest.mark.parametrize("factors", ["key+totp", "password+totp"])
def test_five_hundred_reconnects_without_a_terminal_freeze_nobody_and_ban_nobody(
    guarded: Machine, factors: str
) -> None:
    """As an editor, cron or a mount does it that lost its connection: nobody types anything."""
    person, colleague, client = guarded.researcher(factors), guarded.researcher(), guarded.client

    def reconnect(_: int) -> bool:
        return client.login(person, options=["-o", "BatchMode=yes"]).denied

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert all(pool.map(reconnect, range(500)))
    status = guarded.status()
    assert status["bans"] == []
    assert status["researchers"][person.name]["wrong_codes"] == 0
    assert guarded.client.login(person).entered
    assert guarded.client.login(colleague).entered


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
