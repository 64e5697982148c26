"""The password, in place of a key: it opens nothing alone and stands in for nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.client import Answer

if TYPE_CHECKING:
    from tests.support.client import Client
    from tests.support.machine import Machine


def test_password_mode_takes_the_password_and_then_the_code(
    machine: Machine, client: Client
) -> None:
    person = machine.researcher("password+totp")
    result = client.login(person)
    assert result.entered, result
    assert ["assword" in prompt for prompt in result.prompts] == [True, False]


def test_password_mode_asks_for_no_code_after_a_wrong_password(
    machine: Machine, client: Client
) -> None:
    person = machine.researcher("password+totp")
    result = client.login(person, answers=["not-the-password", person.code])
    assert result.denied
    assert len(result.prompts) == 1


def test_password_mode_refuses_the_password_alone(machine: Machine, client: Client) -> None:
    person = machine.researcher("password+totp")
    result = client.login(person, answers=[person.password, person.wrong_code()])
    assert result.denied
    assert len(result.prompts) == 2
    password_only = ["-o", "PreferredAuthentications=password"]
    assert client.login(person, answers=[person.password], options=password_only).denied


def test_password_mode_takes_no_key(machine: Machine, client: Client) -> None:
    person = machine.researcher("password+totp")
    result = client.login(person, key=person.key, answers=["", person.code])
    assert result.denied
    assert ["assword" in prompt for prompt in result.prompts] == [True]


def test_a_password_does_not_stand_in_for_the_key(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    machine.succeed("chpasswd", stdin=f"{person.name}:correct-horse-battery".encode())
    options = [
        *("-o", "PubkeyAuthentication=no"),
        *("-o", "PreferredAuthentications=password,keyboard-interactive"),
    ]
    answers: list[Answer] = ["correct-horse-battery", person.code]
    result = client.login(person, options=options, answers=answers)
    assert result.denied
    assert result.prompts == ()
