"""The composition, with Pulumi's mocks."""

from __future__ import annotations

import gzip
import json
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import pulumi
import pytest
from pulumi.runtime.rpc import _special_secret_sig, _special_sig_key

from cloudinit.boot import render_user_data
from infra.checks import SECRETS, checked_plan
from infra.enrollment import fingerprint
from infra.lab import Lab
from infra.model.problems import ProblemsError
from infra.plan import Plan
from tests.support.mocks import Engine
from tests.support.people import make_key
from tests.support.plans import make_plan

if TYPE_CHECKING:
    from pathlib import Path

SEED = secrets.token_hex(32)
_Test = TypeVar("_Test", bound=Callable[..., Any])
_in_engine: Callable[[_Test], _Test] = pulumi.runtime.test  # waits for all that a test registers
VALUES = {"seedFingerprint": fingerprint(SEED)}


@pytest.fixture
def engine() -> Engine:
    """Pulumi's mocks."""
    return Engine().install()


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """The plan of a stack with two researchers."""
    requests = tmp_path / "requests"
    requests.mkdir()
    for number, name in enumerate(("alice", "bob")):
        requests.joinpath(f"{name}.yaml").write_text(
            f"researcher: {name}\nssh_keys: [{make_key(tmp_path / name)}]\n"
            "allowed_from: [127.0.0.0/8]\n"
            f"enrollment: {number:031x}f\n"
        )
    return make_plan("trial", requests, VALUES, SEED)


@pytest.fixture
def lab(engine: Engine, plan: Plan) -> Lab:
    """The resources of that plan."""
    return Lab(plan)


async def _of(value: pulumi.Output[Any]) -> tuple[Any, bool]:
    return await value.future(), await value.is_secret()


@_in_engine
def test_every_machine_has_its_own_data_on_one_host(lab: Lab, engine: Engine) -> Any:
    def check(_: Any) -> None:
        kinds = {
            kind: [name for typ, name in engine.made if typ.endswith(kind)]
            for kind in ("secondlock:Host", "secondlock:Data", "dynamic/secondlock:Machine")
        }
        assert kinds["secondlock:Host"] == ["host"]
        assert sorted(kinds["secondlock:Data"]) == ["alice-data", "bob-data"]
        assert sorted(kinds["dynamic/secondlock:Machine"]) == ["alice", "bob"]
        alice = engine.made["pulumi-python:dynamic/secondlock:Machine", "alice"]
        assert alice["data"] == "alice-data-id"

    return pulumi.Output.from_input(lab.machines).apply(check)


@_in_engine
def test_the_roster_is_the_only_place_of_a_machines_secrets(
    lab: Lab, engine: Engine, plan: Plan
) -> Any:
    def check(_: Any) -> None:
        for name in ("alice", "bob"):
            inputs = dict(engine.made["pulumi-python:dynamic/secondlock:Machine", name])
            sent = inputs.pop("roster")
            assert sent[_special_sig_key] == _special_secret_sig
            roster = json.loads(sent["value"])
            told = plan.enrollments[name]
            assert roster["researchers"][name]["emergency_codes"] == told["emergency_codes"]
            assert list(roster["researchers"]) == [name]
            (values,) = (one.values for one in plan.machines if one.name == name)
            rest = json.dumps(inputs) + gzip.decompress(render_user_data(values)).decode()
            for secret in (*told["emergency_codes"], roster["researchers"][name]["totp_secret"]):
                assert secret not in rest
            assert roster["host_key"].splitlines()[3] not in rest

    return pulumi.Output.from_input(lab.machines).apply(check)


@_in_engine
def test_two_who_share_a_machine_have_one_of_everything(engine: Engine, tmp_path: Path) -> Any:
    (tmp_path / "machines").mkdir()
    (tmp_path / "machines" / "gpu1.yaml").write_text("seats: 2\ncpus: 3\nhome_disk_gib: 50\n")
    for number, name in enumerate(("alice", "bob")):
        (tmp_path / f"{name}.yaml").write_text(
            f"researcher: {name}\nssh_keys: [{make_key(tmp_path / name)}]\nmachine: gpu1\n"
            f"allowed_from: [127.0.0.0/8]\nenrollment: {number:031x}f\n"
        )
    lab = Lab(make_plan("trial", tmp_path, VALUES, SEED))

    def check(machines: dict[str, Any]) -> None:
        assert machines["gpu1"]["researchers"] == ["alice", "bob"]
        made = engine.made["pulumi-python:dynamic/secondlock:Machine", "gpu1"]
        assert list(json.loads(made["roster"]["value"])["researchers"]) == ["alice", "bob"]
        assert json.loads(made["made_of"])["cpus"] == 3
        (data,) = (of for (typ, _), of in engine.made.items() if typ.endswith("secondlock:Data"))
        assert data["home_disk_gib"] == 50

    return pulumi.Output.from_input(lab.machines).apply(check)


@_in_engine
def test_enrollments_are_a_secret_output_and_machines_are_not(lab: Lab) -> Any:
    async def check() -> None:
        enrollments, secret = await _of(lab.enrollments)
        assert secret
        assert sorted(enrollments) == ["alice", "bob"]
        machines, secret = await _of(pulumi.Output.from_input(lab.machines))
        assert not secret
        assert machines["alice"]["port"] == 22022
        assert machines["alice"]["host_key"] != machines["bob"]["host_key"]

    return check()


@_in_engine
def test_nobody_is_left_and_that_is_a_plan_too(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests, state = tmp_path / "requests", tmp_path / ".secondlock" / "trial"
    for place in (requests, state):
        place.mkdir(parents=True)
    for name in ("ssh_config", "known_hosts"):  # as they were when there was somebody
        (state / name).write_text("Host alice.trial\n  Port 22\n")
    gone = f"{{enrollment: {0:031x}f, researcher: alice, reason: revoked, date: 2026-11-27}}"
    (requests / "retired.yaml").write_text(f"retired:\n- {gone}\n")
    monkeypatch.chdir(tmp_path)
    assert Lab(make_plan("trial", requests, VALUES, SEED)).machines == {}


def test_the_problems_of_every_part_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "stacks" / "trial"
    folder.mkdir(parents=True)
    folder.joinpath("alice.yaml").write_text("researcher: root\n")
    folder.joinpath("retired.yaml").write_text("retired: nobody\n")
    config = {"secondlock:newSeed": "perhaps"}
    with pytest.raises(ProblemsError) as caught:
        checked_plan("trial", config, encrypted=(), root=tmp_path)
    text = str(caught.value)
    assert all(part in text for part in ("alice.yaml", "retired.yaml", "newSeed", "no enrollment"))


def test_what_the_target_objects_to_is_told_with_all_the_rest(tmp_path: Path) -> None:
    """Of a stack in which one file cannot be read, and of a setting."""
    folder = tmp_path / "stacks" / "trial"
    folder.mkdir(parents=True)
    folder.joinpath("alice.yaml").write_text("researcher: [\n")
    folder.joinpath("bob.yaml").write_text("allowed_from: [10.0.0.0/8]\nmachine: {spot: true}\n")
    config = {"secondlock:colour": "red", "aws:region": "eu-west-1"}
    with pytest.raises(ProblemsError) as caught:
        checked_plan("trial", config, encrypted=SECRETS, root=tmp_path)
    text = str(caught.value)
    told = [
        "alice.yaml:2: not valid YAML",
        "bob.yaml:1: allowed_from[0]: `10.0.0.0/8` cannot hold",
        "bob.yaml:2: machine.spot: says nothing",
        "`enrollment` is missing",
        "no enrollment seed",
        "unknown setting secondlock:colour",
    ]
    assert [part for part in told if part not in text] == []
