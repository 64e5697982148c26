"""Security keys: the machine demands touch and PIN of them, whatever the client says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fido_token import (
    TOUCHED,
    VERIFIED,
    Manner,
    Token,
    make_ecdsa,
    make_ed25519,
    plugged_in,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.client import Client, Result
    from tests.support.machine import Machine
    from tests.support.people import Person

KINDS = ("ed25519", "ecdsa")


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Token]:
    """One with a key of each kind, and one that is nobody's."""
    keys = {"ed25519": make_ed25519(), "ecdsa": make_ecdsa(), "another": make_ed25519()}
    with plugged_in(tmp_path_factory.mktemp("token"), **keys) as token:
        yield token


def _change(machine: Machine, person: Person, factors: str, *keys: str) -> Person:
    return machine.change(person, {"factors": factors, "ssh_keys": keys})


@pytest.fixture(scope="module")
def owner(machine: Machine, token: Token) -> Person:
    """Whose token it is; they had a plain key before."""
    keys = [token.keys[kind].line for kind in KINDS]
    return _change(machine, machine.researcher(), "fido2", *keys)


def _login(
    client: Client, person: Person, token: Token, key: str = "ed25519", **how: Any
) -> Result:
    agent = ["-o", f"IdentityAgent={token.socket}"]
    answers = how.pop("answers", ())
    return client.login(person, key=token.public(key), options=agent, answers=answers, **how)


@pytest.mark.parametrize("kind", KINDS)
def test_touch_and_pin_let_in_and_no_code_is_asked(
    client: Client, owner: Person, token: Token, kind: str
) -> None:
    result = _login(client, owner, token, kind, command="id -un")
    assert (result.exit, result.output, result.prompts) == (0, owner.name, ()), result


@pytest.mark.parametrize(
    "manner",
    [
        Manner(flags=TOUCHED),
        Manner(flags=VERIFIED),
        Manner(flags=0),
        Manner(flags=TOUCHED, claimed=TOUCHED | VERIFIED),
        Manner(application="ssh:another"),
        Manner(application="https://example.org"),
        Manner(replay=True),
    ],
    ids=["no PIN", "no touch", "neither", "a PIN made up", "another's", "the web's", "replayed"],
)
def test_a_signature_that_vouches_for_less_lets_nobody_in(
    client: Client, owner: Person, token: Token, manner: Manner
) -> None:
    assert _login(client, owner, token).entered
    with token.signing(manner):
        refused = _login(client, owner, token)
    assert refused.denied
    assert refused.prompts == ()


@pytest.mark.parametrize(
    "factors",
    [*(pytest.param(one, marks=pytest.mark.long) for one in ("fido2", "key+totp")), "fido2+totp"],
)
def test_a_touch_that_does_not_come_bans_nobody_and_a_false_one_counts(
    guarded: Machine, token: Token, factors: str
) -> None:
    person = _change(guarded, guarded.researcher(), factors, token.keys["ed25519"].line)
    with guarded.counting(0), token.signing(Manner(refuses=True)):
        for _ in range(6):
            assert _login(guarded.client, person, token).denied
    assert guarded.status()["bans"] == []
    with guarded.counting(1), token.signing(Manner(application="ssh:another")):
        assert _login(guarded.client, person, token).denied


def test_no_other_key_opens_the_door(
    machine: Machine, client: Client, owner: Person, token: Token
) -> None:
    assert client.login(owner, key=owner.key, answers=()).denied  # of before, on no token
    assert _login(client, owner, token, "another").denied
    neighbour = _change(machine, machine.researcher(), "fido2", token.keys["another"].line)
    assert _login(client, neighbour, token, "another").entered
    assert _login(client, neighbour, token).denied


def test_with_a_code_too_it_takes_both(machine: Machine, client: Client, token: Token) -> None:
    person = machine.researcher()
    careful = _change(machine, person, "fido2+totp", token.keys["ed25519"].line)
    assert _login(client, careful, token, answers=[careful.wrong_code()]).denied
    entered = _login(client, careful, token, answers=[careful.code])
    assert entered.entered
    assert len(entered.prompts) == 1
    with token.signing(Manner(flags=TOUCHED)):
        assert _login(client, careful, token, answers=[careful.emergency_codes[0]]).prompts == ()
    assert client.login(careful, key=person.key, answers=()).denied


def test_a_token_serves_as_a_plain_key_beside_a_code(
    machine: Machine, client: Client, token: Token
) -> None:
    person = _change(machine, machine.researcher(), "key+totp", token.keys["ed25519"].line)
    with token.signing(Manner(flags=TOUCHED)):
        entered = _login(client, person, token, answers=[person.code])
    assert entered.entered
    assert len(entered.prompts) == 1


def test_a_changed_method_holds_while_the_token_waits_for_its_touch(
    machine: Machine, client: Client, token: Token
) -> None:
    person = _change(machine, machine.researcher(), "fido2", token.keys["ed25519"].line)
    plain = person.key.with_suffix(".pub").read_text().strip()
    renewed: list[Person] = []

    def meanwhile() -> None:
        if not renewed:
            renewed.append(_change(machine, person, "key+totp", plain))

    with token.signing(Manner(before=meanwhile)):
        assert _login(client, person, token).denied
    # The machine still knows which of their codes were used.
    (person,) = renewed
    assert client.login(person).entered
    assert not machine.person_status(person)["codes_void"]


def test_status_tells_of_no_codes(machine: Machine, owner: Person) -> None:
    seen = machine.person_status(owner)
    assert (seen["factors"], seen["frozen"], seen["emergency_codes_left"]) == ("fido2", False, None)
