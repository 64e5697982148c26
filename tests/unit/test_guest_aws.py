"""What the machine's programs for AWS decide, without a machine: patience, order, faults."""

from __future__ import annotations

import datetime as dt
import hashlib
import importlib
import json
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st

from infra.enrollment import derive, derive_host_key
from infra.model.person import InstanceRequest
from infra.model.settings import Settings
from infra.roster import build_roster, to_json
from tests.support.web_page import web_page

if TYPE_CHECKING:
    from pathlib import Path

aws: Any = importlib.import_module("guest.aws.api")
paths: Any = importlib.import_module("guest.paths")
roster: Any = importlib.import_module("guest.roster.document")
ssm: Any = importlib.import_module("guest.aws.ssm")
spot: Any = importlib.import_module("guest.spot.notice")
state: Any = importlib.import_module("guest.roster.state")
sync: Any = importlib.import_module("guest.roster.sync")
system: Any = importlib.import_module("guest.system")

SEED = "9f1c6d0e7b2a4f538c9d0e1f2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAKSeavuRQzefndtPOEcGo7plvaQRAvlEEmYvNRDgeAq alice"
MACHINE = {"region": "eu-central-1", "parameter": "/secondlock/demo/roster/lab"}


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_the_wait_grows_and_is_bounded(failures: int, luck: float) -> None:
    wait = aws.delay(failures, luck)
    assert aws.BASE / 2 <= wait <= aws.LONGEST
    assert wait <= aws.delay(failures + 1, luck)


def test_machines_spread() -> None:
    assert aws.delay(10, 0.0) == aws.LONGEST / 2
    assert aws.delay(10, 1.0) == aws.LONGEST


def test_after_a_failure_the_next_try_waits_until_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "RUN", tmp_path)
    now = [1000.0]
    monkeypatch.setattr(aws.time, "monotonic", lambda: now[0])
    assert not aws.Patience("job").waits()
    aws.Patience("job").failed()
    assert aws.Patience("job").waits()
    assert not aws.Patience("another").waits()
    now[0] += aws.BASE
    assert not aws.Patience("job").waits()
    aws.Patience("job").failed()
    now[0] += aws.BASE - 1
    assert aws.Patience("job").waits()
    aws.Patience("job").worked()
    assert not aws.Patience("job").waits()


def test_damaged_notes_of_failures_hold_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "RUN", tmp_path)
    (tmp_path / "job.patience").write_text("")
    assert not aws.Patience("job").waits()


def _document() -> dict[str, Any]:
    request = InstanceRequest(
        researcher="alice", ssh_keys=(KEY,), allowed_from=("198.51.100.0/24",),
        enrollment="0" * 31 + "1",
    )  # fmt: skip
    enrollment = derive(
        SEED, stack="demo", machine="lab", researcher="alice", enrollment=request.enrollment,
        method="key+totp",
    )  # fmt: skip
    return build_roster(
        settings=Settings(stack="demo"),
        machine="lab",
        requests=[request],
        enrollments={"alice": enrollment},
        host_key=derive_host_key(SEED, stack="demo", machine="lab"),
        retired=[],
    )


def _served(monkeypatch: pytest.MonkeyPatch) -> Stubber:
    client = botocore.session.get_session().create_client(
        "ssm", "eu-central-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    monkeypatch.setattr(aws, "client", lambda *_: client)
    return Stubber(client)


def test_the_parameters_version_is_the_serial(monkeypatch: pytest.MonkeyPatch) -> None:
    with _served(monkeypatch) as stub:
        when = dt.datetime(2026, 11, 22, 12, 0, 0, 250_000, dt.timezone.utc)
        stub.add_response(
            "get_parameter",
            {"Parameter": {"Version": 7, "LastModifiedDate": when, "Value": to_json(_document())}},
            {"Name": MACHINE["parameter"], "WithDecryption": True},
        )
        found = roster.parse(ssm.get(MACHINE))
    assert (found.serial, found.modified) == (7, when.timestamp())
    assert found.new_volumes
    assert list(found.researchers) == ["alice"]


@pytest.mark.parametrize("value", ["", " ", "{", "null", "[]", '"text"', "hello"])
def test_a_value_that_is_no_roster_is_refused(value: str) -> None:
    with pytest.raises(system.GuestError, match="refused"):
        roster.parse(ssm.envelope(3, 1.5, value))


@pytest.mark.parametrize("status", [200, 403])
def test_a_web_page_in_the_place_of_aws_is_not_quoted(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with web_page(status) as address, pytest.raises(system.GuestError) as caught:
        ssm.get({**MACHINE, "endpoint": address})
    assert "with a web page" in str(caught.value)
    assert "hotel" not in str(caught.value)


def test_a_denial_says_so_in_awss_words(monkeypatch: pytest.MonkeyPatch) -> None:
    with _served(monkeypatch) as stub:
        stub.add_client_error("get_parameter", "AccessDeniedException", "not authorized")
        with pytest.raises(system.GuestError, match=r"refuses: AccessDeniedException: not auth"):
            ssm.get(MACHINE)


def test_an_absent_aws_says_where_it_was_looked_for() -> None:
    error = EndpointConnectionError(endpoint_url="https://ssm.example/")
    assert "https://ssm.example/" in str(aws.fault(error))


def test_a_time_that_is_no_number_is_refused() -> None:
    envelope = json.loads(ssm.envelope(3, 1.5, to_json(_document())))
    with pytest.raises(system.GuestError, match="time"):
        roster.parse(json.dumps({**envelope, "modified": "now"}))


@pytest.mark.parametrize(
    ("notice", "word"),
    [
        ({"action": "stop", "time": "2026-11-22T12:00:00Z"}, "stops at 2026-11-22T12:00:00Z"),
        ({"action": "terminate", "time": "2026-11-22T12:00:00Z"}, "taken away for good at"),
        ({"action": "hibernate"}, "put to sleep at any moment"),
        ({}, "taken away for good at any moment"),
    ],
)
def test_the_notice_in_words(notice: dict[str, str], word: str) -> None:
    assert word in spot.words(notice)


def test_a_terminal_that_takes_nothing_holds_nobody_up(tmp_path: Path) -> None:
    (tmp_path / "0").touch()
    (tmp_path / "1").mkdir()
    (tmp_path / "ptmx").touch()
    assert spot.tell("Save your work", tmp_path) == 1
    assert "Save your work" in (tmp_path / "0").read_text()
    assert (tmp_path / "ptmx").read_text() == ""


@pytest.mark.parametrize(
    ("applied", "delivered", "let_in"),
    [
        ((3, 100.0), (3, 100.0), True),
        ((3, 100.0), (4, 200.0), True),
        ((3, 100.0), (2, 50.0), False),
        ((3, 100.0), (4, 50.0), False),
        ((3, 100.0), (2, 100.0), False),
        # Made anew: it counts from 1 again, later than all that was before.
        ((3, 100.0), (1, 101.0), True),
        # Local machines know no time of AWS's.
        ((3, 0), (3, 0), True),
        ((3, 0), (4, 0), True),
        ((3, 0), (2, 0), False),
    ],
)
def test_an_older_roster_is_refused_and_one_made_anew_is_not(
    applied: tuple[int, float], delivered: tuple[int, float], let_in: bool
) -> None:
    known = state.State(serial=applied[0], modified=applied[1])
    arrived = roster.parse(ssm.envelope(*delivered, to_json(_document())))
    if let_in:
        sync._refuse_old(arrived, known)
    else:
        with pytest.raises(system.GuestError, match="older"):
            sync._refuse_old(arrived, known)


def test_the_state_volume_remembers_the_time_and_knows_notes_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "state.json"
    monkeypatch.setattr(paths, "STATE_FILE", file)
    file.write_text(json.dumps({"serial": 5, "uids": {}, "enrollments": {}, "retired": []}))
    assert state.load().modified == 0
    monkeypatch.setattr(state, "write", lambda path, text, _mode: path.write_text(text))
    state.save(state.State(serial=1, modified=12.5))
    assert state.load() == state.State(serial=1, modified=12.5)


def _in_parts(text: str, *, size: int = 100, **head: Any) -> tuple[str, dict[str, str]]:
    """A parameter that names its parts, and those by their names."""
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    parts = {hashlib.sha256(one.encode()).hexdigest()[:16]: one for one in pieces}
    whole = hashlib.sha256(text.encode()).hexdigest()
    return json.dumps({"parts": [*parts], "sha256": whole, **head}), parts


def test_a_long_roster_is_put_together_of_its_parts() -> None:
    text = to_json(_document())
    value, parts = _in_parts(text, volume="vol-1")
    assert json.loads(ssm._whole(value, parts.__getitem__)) == {**_document(), "volume": "vol-1"}
    assert ssm._whole(text, parts.__getitem__) == text


@pytest.mark.parametrize("change", ["another", "fewer", "swapped", "mark", "many", "names"])
def test_parts_that_are_not_the_rosters_are_refused(change: str) -> None:
    value, parts = _in_parts(to_json(_document()))
    head = json.loads(value)
    first, second, *_ = head["parts"]
    if change == "another":
        parts[first] = parts[second]
    elif change == "fewer":
        head["parts"].pop()
    elif change == "swapped":
        head["parts"][:2] = [second, first]
    elif change == "mark":
        del head["sha256"]
    elif change == "many":
        head["parts"] = [first] * 65
    else:
        head["parts"] = ["../../bob"]
    with pytest.raises(system.GuestError, match="refused"):
        ssm._whole(json.dumps(head), parts.__getitem__)
