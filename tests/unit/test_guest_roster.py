"""The machine's own parser: what is not exactly a roster is refused, and crashes nothing."""

from __future__ import annotations

import base64
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.roster import to_json
from tests.support.documents import document, envelope
from tests.support.request_files import KEY, OF_ORDER_8, P, ed25519_of

# The guest's code is the package `guest` on the machine; mypy checks it under that name.
sys.path.insert(0, str(Path(__file__).parents[2] / "cloudinit"))
roster: Any = importlib.import_module("guest.roster.document")
GuestError: Any = importlib.import_module("guest.system").GuestError

CASES = Path(__file__).parent / "rosters_that_failed"


def alice(**fields: Any) -> dict[str, Any]:
    """What arrives, with some of alice's fields put otherwise."""
    whole = envelope()
    whole["roster"]["researchers"]["alice"].update(fields)
    return whole


def test_a_good_roster_is_taken_as_it_is_written() -> None:
    found = roster.parse(f'{{"serial": 3, "roster": {to_json(document())}}}')
    assert found.allowed_from == ("10.0.0.0/8", "2001:db8::/32")
    assert found.researchers["alice"].parts["key"][0] == f"{KEY} büro: 🦊"
    assert (
        found.researchers["bob"].parts["password"] == document()["researchers"]["bob"]["password"]
    )


@pytest.mark.parametrize(
    "text",
    [
        *((CASES / name).read_text() for name in ("nan.json", "nft-injection.json")),
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"serial": 1, "roster": ' + "[" * 900 + "]" * 900 + "}",
        b"\xff{}",
        "\ufeff{}",
        "{} " * 3,
        "1" * 5_000,
        json.dumps(envelope()) + " " * (1024 * 1024),
        json.dumps(envelope()).replace('"serial": 3', '"serial": 3, "serial": 4'),
        json.dumps(envelope()).replace('"version": 1', '"version": 1, "version": 1'),
        json.dumps(envelope()).replace("1.5", "NaN"),
        json.dumps(envelope()).replace("1.5", "-Infinity"),
        json.dumps(envelope()).replace("1.5", "1e999"),
        json.dumps(envelope()).replace("1.5", "1" + "0" * 400),
    ],
)
def test_what_is_no_roster(text: str | bytes) -> None:
    with pytest.raises(GuestError, match="the roster is refused"):
        roster.parse(text)


@pytest.mark.parametrize(
    "arrives",
    [
        {**envelope(), "serial": True},
        {**envelope(), "serial": 1.0},
        {**envelope(), "serial": 2**70},
        {**envelope(), "modified": True},
        {**envelope(), "modified": -1},
        {**envelope(), "new_volumes": 1},
        envelope(version=True),
        envelope(version=1.0),
        envelope(stack=1),
        envelope(machine="a\nb"),
        envelope(host_key="-----BEGIN OPENSSH PRIVATE KEY-----\n; rm\n"),
        envelope(researchers=[]),
        envelope(retired="f" * 32),
        *(envelope(closes=when) for when in ("noon", -1, 1.5, True, 2**33)),
        *(
            envelope(webhook=url)
            for url in ("http://a/", "https://a b", "https://", 7, ["https://a"])
        ),
        *(
            envelope(allowed_from=[network])
            for network in (
                1,
                True,
                None,
                167772160,
                ["10.0.0.0", 8],
                "10.0.0.0",
                "10.0.0.1/8",
                "010.0.0.0/8",
                "10.0.0.0/255.0.0.0",
                "2001:DB8::/32",
                "fe80::1%eth0/128",
                "fe80::1%x }\nflush ruleset\n#/128",
                " 10.0.0.0/8",
            )
        ),
        alice(factors=["key+totp"]),
        alice(factors="none"),
        alice(password="correct-horse-battery"),
        alice(end_sessions=1),
        alice(end_sessions="true"),
        alice(enrollment="a" * 33),
        alice(enrollment="a" * 31 + "\n"),
        alice(totp_secret=1),
        alice(emergency_codes=[1, 2, 3, 4, 5]),
        alice(emergency_codes={"50194780": 1}),
        alice(ssh_keys=[]),
        *(
            alice(ssh_keys=[key])
            for key in (
                f"{KEY} a\x00b",
                f"{KEY} a\nssh-rsa AAAA",
                f"{KEY} \ud800",
                f"restrict {KEY}",
                KEY[:-4],
                KEY.replace("ssh-ed25519", "ssh-rsa"),
                ed25519_of(0),
                ed25519_of(1, 1),
                ed25519_of(P - 1),
                ed25519_of(P),
                *map(ed25519_of, OF_ORDER_8),
                "ssh-ed25519 " + base64.b64encode(b"\xff" * 9).decode(),
            )
        ),
    ],
)
def test_what_is_not_exactly_one(arrives: dict[str, Any]) -> None:
    with pytest.raises(GuestError, match="the roster is refused") as caught:
        roster.parse(json.dumps(arrives))
    assert len(str(caught.value)) < 200


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_value_in_any_place_is_taken_or_refused(data: st.DataObject) -> None:
    arrives = envelope()
    place: Any = arrives
    while True:
        key = data.draw(
            st.sampled_from(sorted(place) if isinstance(place, dict) else [*range(len(place))])
        )
        if isinstance(place[key], (dict, list)) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(_JSON)
        break
    try:
        roster.parse(json.dumps(arrives))
    except GuestError as error:
        refused = str(error)
    else:
        refused = ""
    assert refused.isprintable() or not refused


# Shared machines

SHARE: dict[str, Any] = {"gpus": [0], "memory": 512, "pids": 600, "home": 1024}


def shared(alice: Any = SHARE, bob: Any = None, **roster: Any) -> dict[str, Any]:
    """What arrives for a machine that two share."""
    whole = envelope(**roster)
    whole["roster"]["researchers"]["alice"]["share"] = alice
    whole["roster"]["researchers"]["bob"]["share"] = bob or {**SHARE, "gpus": [1]}
    return whole


def test_shares_and_homes_are_taken() -> None:
    found = roster.parse(json.dumps(shared(homes={"carol": "delete"})))
    assert found.researchers["alice"].share.gpus == (0,)
    assert (found.researchers["bob"].share.memory, found.homes) == (512, {"carol": "delete"})


@pytest.mark.parametrize(
    "arrives",
    [
        *(shared({**SHARE, **wrong}) for wrong in (
            {"gpus": [1]}, {"gpus": [0, 0]}, {"gpus": "0"}, {"gpus": [True]}, {"gpus": [64]},
            {"gpus": [-1]}, {"gpus": None}, {"memory": 0}, {"memory": -1}, {"memory": 1.5},
            {"memory": 2**40}, {"memory": None}, {"pids": True}, {"home": "1"}, {"cpus": 0},
            {"cpus": True}, {"cpus": "1"},
        )),
        shared([]),
        shared(alice="all"),
        shared(homes={"alice": "delete"}),
        shared(homes={"carol": "keep"}),
        shared(homes={"../etc": "delete"}),
        shared(homes=["carol"]),
        shared(homes={"carol": ["delete"]}),
        alice(share=SHARE),
    ],
)  # fmt: skip
def test_what_is_no_share(arrives: dict[str, Any]) -> None:
    with pytest.raises(GuestError, match="the roster is refused"):
        roster.parse(json.dumps(arrives))


def test_a_share_of_nobodys_is_nobodys() -> None:
    """Who has the whole machine would have the others' too."""
    with pytest.raises(GuestError, match="some have a share of the machine, and some none"):
        roster.parse(json.dumps(alice(share=SHARE)))
