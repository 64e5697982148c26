"""The composition, with Pulumi's mocks."""

from __future__ import annotations

import base64
import gzip
import json
import secrets
from typing import TYPE_CHECKING, Any

import pulumi
import pytest

from infra.enrollment import fingerprint
from infra.lab import Lab
from infra.plan import Plan, make_plan
from infra.problems import ProblemsError

if TYPE_CHECKING:
    from pathlib import Path

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGL2Nbo1mnuYCAuRjyqpGtCKZYWit5yvwF8iokavymCb"
SEED = secrets.token_hex(32)
VALUES = {"seedFingerprint": fingerprint(SEED)}


class _Engine(pulumi.runtime.Mocks):
    """Remembers what was registered; every machine runs."""

    def __init__(self) -> None:
        self.made: dict[tuple[str, str], dict[str, Any]] = {}

    def new_resource(
        self, args: pulumi.runtime.MockResourceArgs
    ) -> tuple[str | None, dict[str, Any]]:
        self.made[args.typ, args.name] = args.inputs
        return f"{args.name}-id", {**args.inputs, "port": 22022, "serial": 1, "running": True}

    def call(self, args: pulumi.runtime.MockCallArgs) -> dict[str, Any]:
        raise NotImplementedError(args.token)


@pytest.fixture
def engine() -> _Engine:
    """Pulumi's mocks."""
    engine = _Engine()
    pulumi.runtime.set_mocks(engine, project="secondlock", stack="trial")
    return engine


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """The plan of a stack with two researchers."""
    for number, name in enumerate(("alice", "bob")):
        tmp_path.joinpath(f"{name}.yaml").write_text(
            f"researcher: {name}\nssh_keys: [{KEY}]\nallowed_from: [127.0.0.0/8]\n"
            f"enrollment: {number:031x}f\n"
        )
    return make_plan("trial", tmp_path, VALUES, SEED)


@pytest.fixture
def lab(engine: _Engine, plan: Plan) -> Lab:
    """The resources of that plan."""
    return Lab(plan)


async def _of(value: pulumi.Output[Any]) -> tuple[Any, bool]:
    return await value.future(), await value.is_secret()


@pulumi.runtime.test
def test_every_machine_has_its_own_data_on_one_host(lab: Lab, engine: _Engine) -> Any:
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
        assert "bob" not in alice["roster"]

    return pulumi.Output.from_input(lab.machines).apply(check)


@pulumi.runtime.test
def test_the_roster_is_the_only_place_of_a_machines_secrets(
    lab: Lab, engine: _Engine, plan: Plan
) -> Any:
    def check(_: Any) -> None:
        for name in ("alice", "bob"):
            inputs = dict(engine.made["pulumi-python:dynamic/secondlock:Machine", name])
            roster = json.loads(inputs.pop("roster"))
            told = plan.enrollments[name]
            assert roster["researchers"][name]["emergency_codes"] == told["emergency_codes"]
            inputs["user_data"] = gzip.decompress(base64.b64decode(inputs["user_data"])).decode()
            rest = json.dumps(inputs)
            for secret in (*told["emergency_codes"], roster["researchers"][name]["totp_secret"]):
                assert secret not in rest
            assert "OPENSSH PRIVATE KEY" not in rest

    return pulumi.Output.from_input(lab.machines).apply(check)


@pulumi.runtime.test
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


def test_a_plan_names_the_problems_of_every_part(tmp_path: Path) -> None:
    tmp_path.joinpath("alice.yaml").write_text("researcher: root\n")
    tmp_path.joinpath("retired.yaml").write_text("retired: nobody\n")
    with pytest.raises(ProblemsError) as caught:
        make_plan("trial", tmp_path, {"newSeed": "perhaps"}, None)
    text = str(caught.value)
    assert all(part in text for part in ("alice.yaml", "retired.yaml", "newSeed"))
