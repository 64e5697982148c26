"""The roster: exactly the document that the machine knows, byte for byte the same each time."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from infra.enrollment import derive, derive_host_key
from infra.model.person import InstanceRequest
from infra.model.retired import RetiredEnrollment
from infra.model.settings import Settings
from infra.roster import build_roster, to_json

SEED = "9f1c6d0e7b2a4f538c9d0e1f2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAKSeavuRQzefndtPOEcGo7plvaQRAvlEEmYvNRDgeAq alice"
HOST_KEY = derive_host_key(SEED, stack="demo", machine="lab")
ALICE = InstanceRequest(
    researcher="alice",
    ssh_keys=(KEY,),
    allowed_from=("198.51.100.128/25", "198.51.100.0/25"),
    enrollment="0" * 31 + "1",
)
BOB = InstanceRequest(
    researcher="bob",
    factors="password+totp",
    allowed_from=("198.51.100.7/32", "127.0.0.0/8"),
    enrollment="0" * 31 + "2",
    end_sessions=True,
)


def retired(number: int, researcher: str) -> RetiredEnrollment:
    return RetiredEnrollment(
        enrollment=f"{number:032x}",
        researcher=researcher,
        reason="rotated",
        date=dt.date(2026, 11, 22),
    )


def text(requests: list[InstanceRequest], gone: list[RetiredEnrollment]) -> str:
    enrollments = {
        one.researcher: derive(
            SEED,
            stack="demo",
            machine="lab",
            researcher=one.researcher,
            enrollment=one.enrollment,
            method=one.factors,
        )
        for one in requests
    }
    return to_json(
        build_roster(
            settings=Settings(stack="demo"),
            machine="lab",
            requests=requests,
            enrollments=enrollments,
            host_key=HOST_KEY,
            retired=gone,
        )
    )


def test_the_document() -> None:
    roster = json.loads(text([ALICE, BOB], [retired(9, "bob"), retired(8, "stranger")]))
    alice, bob = roster["researchers"].pop("alice"), roster["researchers"].pop("bob")
    assert roster == {
        "version": 1,
        "stack": "demo",
        "machine": "lab",
        "host_key": HOST_KEY.private_openssh,
        "allowed_from": ["127.0.0.0/8", "198.51.100.0/24"],
        "retired": [f"{9:032x}"],
        "researchers": {},
    }
    assert len(alice.pop("totp_secret")) == 32
    assert len(alice.pop("emergency_codes")) == 5
    assert alice == {
        "ssh_keys": [KEY],
        "factors": "key+totp",
        "enrollment": ALICE.enrollment,
        "end_sessions": False,
    }
    assert len(bob["password"]) == 23
    assert (bob["ssh_keys"], bob["end_sessions"]) == ([], True)


def test_same_bytes_whatever_the_order() -> None:
    gone = [retired(9, "bob"), retired(7, "alice")]
    assert text([ALICE, BOB], gone) == text([BOB, ALICE], gone[::-1])


def test_nobody_is_left_out_in_silence() -> None:
    with pytest.raises(KeyError):
        build_roster(
            settings=Settings(stack="demo"),
            machine="lab",
            requests=[ALICE],
            enrollments={},
            host_key=HOST_KEY,
            retired=[],
        )
