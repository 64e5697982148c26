"""The target aws as a whole, with Pulumi's mocks: what it asks AWS for, whatever the requests."""

from __future__ import annotations

import base64
import gzip
import ipaddress
import json
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pulumi.runtime.rpc import _special_secret_sig, _special_sig_key

from cloudinit.bundle import bundle
from infra.aws import roster, target
from infra.aws.facts import Facts
from infra.aws.limits import first_zone, subnet_cidr
from infra.aws.machine import AwsMachine
from infra.aws.network import Network
from infra.aws.roster import naming_bundle
from infra.aws.stack import Aws
from infra.checks import SECRETS, check_stack
from infra.checks import SEED as SEED_SETTING
from infra.enrollment import fingerprint
from infra.model.problems import Problem, ProblemsError
from infra.model.settings import AwsSettings
from infra.plan import Plan
from infra.roster import to_json
from tests.support.mocks import Engine, settled
from tests.support.people import make_key
from tests.support.plans import make_plan

SEED = secrets.token_hex(32)
ZONES = ("eu-west-1a", "eu-west-1b", "eu-west-1c")
DIGEST = "example.org/tf@sha256:" + "0a" * 32
VALUES = {
    "target": "aws",
    "zones": ",".join(ZONES),
    "onDestroy": "snapshot",
    "baseImage": "ami-0123456789abcdef0",
    "tensorflowImage": DIGEST,
    "seedFingerprint": fingerprint(SEED),
    "costCentre": "physics",
}
FACTS = Facts("aws", "amazonaws.com", "444455556666", "eu-west-1")


def _plan(folder: Path, requests: list[dict[str, Any]], **values: str) -> Plan:
    for number, request in enumerate(requests):
        whole = {
            "allowed_from": ["198.51.100.0/24"],
            "factors": "password+totp",
            "enrollment": f"{number:031x}f",
            **request,
        }
        (folder / f"{request['researcher']}.yaml").write_text(yaml.safe_dump(whole))
    return make_plan("trial", folder, {**VALUES, **values}, SEED)


def _faults(plan: Plan, region: str = "eu-west-1") -> list[Problem]:
    """What the target finds wrong with it."""
    settings = plan.settings
    return [
        *target.check_settings(settings, {"aws:region": region}),
        *target.check_requests(plan.asked, settings),
        *target.check_plan(plan, Path()),
    ]


def _said(make: Callable[[], AwsMachine]) -> dict[str, Any]:
    """All that a machine has to say of itself."""
    found: list[dict[str, Any]] = []

    def ask() -> None:
        machine = make()
        machine.now.apply(lambda now: found.append({**machine.known, **now}))

    settled(ask)
    return found[0]


@pytest.fixture(autouse=True)
def _region() -> None:
    pulumi.runtime.set_all_config({"aws:region": "eu-west-1"})


def _in_clear(value: Any) -> Any:
    """A resource's inputs without those that Pulumi keeps secret."""
    if isinstance(value, dict):
        if value.get(_special_sig_key) == _special_secret_sig:
            return "[secret]"
        return {key: _in_clear(each) for key, each in value.items()}
    return [_in_clear(each) for each in value] if isinstance(value, list) else value


def _needles(plan: Plan) -> set[str]:
    """Every secret of a plan, by its bytes."""
    found = {SEED}
    for machine in plan.machines:
        roster = json.loads(machine.roster)
        found |= {machine.roster, roster["host_key"].splitlines()[3]}
        for person in roster["researchers"].values():
            found |= {person["totp_secret"], *person["emergency_codes"], person["password"]}
    return found


_V4 = st.builds(
    lambda number, prefix: str(ipaddress.IPv4Network((number, prefix), strict=False)),
    st.integers(1 << 24, (127 << 24) - 1),
    st.integers(0, 32),
)
_V6 = st.builds(
    lambda number, prefix: str(ipaddress.IPv6Network((number, prefix), strict=False)),
    st.integers(0x2000 << 112, (0x3FFF << 112)),
    st.integers(0, 128),
)


def _pieces(prefix: int, left_out: int) -> list[str]:
    """All of the internet but one piece, in pieces of which none is large."""
    pieces = list(ipaddress.ip_network("0.0.0.0/0").subnets(new_prefix=prefix))
    return [str(piece) for number, piece in enumerate(pieces) if number != left_out]


_NEAR = st.integers(2, 126).map(lambda number: f"{number}.0.0.0/{8 if number % 2 else 7}")
_NETWORKS = st.one_of(
    st.lists(_NEAR, min_size=1, max_size=3, unique=True),
    st.lists(_V4, min_size=1, max_size=6, unique=True),
    st.lists(st.one_of(_V4, _V6), min_size=1, max_size=6, unique=True),
    st.builds(_pieces, st.integers(1, 5), st.integers(0, 40)),
)
_REQUESTS = st.lists(
    st.fixed_dictionaries(
        {
            "allowed_from": _NETWORKS,
            "open_to_world": st.booleans(),
            "machine": st.fixed_dictionaries(
                {
                    "public": st.booleans(),
                    "spot": st.booleans(),
                    "zone": st.sampled_from([None, *ZONES]),
                    "root_disk_gib": st.integers(16, 4096),
                    "home_disk_gib": st.integers(1, 16383),
                }
            ),
            "rebuild": st.integers(0, 9),
        }
    ),
    min_size=1,
    max_size=3,
)
_SETTINGS = st.fixed_dictionaries(
    {
        "bake": st.sampled_from(["true", "false"]),
        "alarms": st.sampled_from(["true", "false"]),
        "onDestroy": st.sampled_from(["delete", "snapshot"]),
    }
)


@settings(max_examples=40, deadline=None)
@given(_REQUESTS, _SETTINGS)
def test_no_request_opens_the_world_loses_encryption_or_leaks_a_secret(
    requests: list[dict[str, Any]], values: dict[str, str]
) -> None:
    names = ["alice", "bob", "sg-carol"]
    named = [{"researcher": name, **each} for name, each in zip(names, requests, strict=False)]
    with tempfile.TemporaryDirectory() as folder:
        try:
            plan = _plan(Path(folder), named, **values)
        except ProblemsError:
            assume(False)
    assume(not _faults(plan))
    engine = Engine(FACTS).install()
    settled(lambda: Aws(plan))
    opened = {request["researcher"] for request in named if request["open_to_world"]}
    _check_doors(engine, plan, opened)
    _check_encryption(engine, plan)
    _check_secrets(engine, plan)


def _check_doors(engine: Engine, plan: Plan, opened: set[str]) -> None:
    groups = engine.of("SecurityGroup")
    assert {machine.name for machine in plan.machines} <= set(groups)
    for name, group in groups.items():
        networks = []
        for rule in group["ingress"]:
            assert (rule["protocol"], rule["fromPort"], rule["toPort"]) == ("tcp", 22, 22)
            assert set(rule) <= {
                *("description", "protocol", "fromPort", "toPort"),
                *("cidrBlocks", "ipv6CidrBlocks"),
            }
            networks += [*rule.get("cidrBlocks", []), *rule.get("ipv6CidrBlocks", [])]
        if name not in opened:
            # Counted here on its own: an eighth of a bit more than a /8, or a /16, is too many.
            assert _addresses(networks, ":") <= 2**112
            assert _addresses(networks, ".") <= 2**24
    for name, (machine,) in {each.name: (each,) for each in plan.machines}.items():
        if not machine.size.public:
            assert groups[name]["ingress"] == []
            assert name not in engine.of("Eip")
    # Nothing opens a door from elsewhere, and the VPC's own group lets nobody through.
    assert not any("Rule" in typ and "ecurityGroup" in typ for typ, _ in engine.made)
    (default,) = engine.of("DefaultSecurityGroup").values()
    assert "ingress" not in default


def _addresses(networks: list[str], mark: str) -> int:
    """How many addresses the networks of a family cover, each counted once."""
    covered, end = 0, -1
    found = [ipaddress.ip_network(each) for each in networks if mark in each]
    for network in sorted(found, key=lambda each: int(each.network_address)):
        first, last = int(network.network_address), int(network.broadcast_address)
        covered += max(0, last - max(first, end + 1) + 1)
        end = max(end, last)
    return covered


def _check_encryption(engine: Engine, plan: Plan) -> None:
    key = engine.arn("aws:kms/key:Key", "trial")
    volumes, parameters = engine.of("Volume"), engine.of("Parameter")
    for machine in plan.machines:
        root = engine.of("Instance")[machine.name]["rootBlockDevice"]
        assert (root["encrypted"], root["kmsKeyId"]) == (True, key)
        volume = volumes[machine.name]
        assert (volume["encrypted"], volume["kmsKeyId"]) == (True, key)
        assert volume["finalSnapshot"] is (AwsSettings.of(plan.settings).on_destroy == "snapshot")
        parameter = parameters[machine.name]
        assert (parameter["type"], parameter["keyId"]) == ("SecureString", key)
    assert all(group["kmsKeyId"] == key for group in engine.of("LogGroup").values())
    for recipe in engine.of("ImageRecipe").values():
        (device,) = recipe["blockDeviceMappings"]
        assert (device["ebs"]["encrypted"], device["ebs"]["kmsKeyId"]) == ("true", key)


def _check_secrets(engine: Engine, plan: Plan) -> None:
    needles = _needles(plan)
    assert len(needles) == 1 + 9 * len(plan.machines)
    for machine in plan.machines:
        instance = engine.of("Instance")[machine.name]
        data = gzip.decompress(base64.b64decode(instance["userDataBase64"])).decode()
        assert "etc/secondlock/machine.json" in data
        assert not any(needle in data for needle in needles)
        value = engine.of("Parameter")[machine.name]["value"]
        (sent,) = naming_bundle([machine], back=False)
        roster = {**json.loads(sent.roster), "volume": f"{machine.name}-id"}
        assert value == {_special_sig_key: _special_secret_sig, "value": to_json(roster)}
        assert roster["bundle"] == bundle("aws").digest
    text = json.dumps([_in_clear(each) for each in engine.made.values()])
    escaped = {json.dumps(needle)[1:-1] for needle in needles}
    assert not any(needle in text for needle in escaped)


def test_a_machine_of_spare_capacity_and_one_as_it_comes(tmp_path: Path) -> None:
    spot = {"spot": True, "instance_type": "g5.2xlarge", "zone": ZONES[2], "home_disk_gib": 99}
    plan = _plan(
        tmp_path,
        [
            {"researcher": "alice", "machine": spot, "until": "2030-01-31", "cost_centre": "7"},
            {"researcher": "bob"},
        ],
        bake="false",
    )
    assert _faults(plan) == []
    engine = Engine(FACTS).install()
    said = _said(lambda: Aws(plan).machine(plan.machines[0]))
    alice, bob = (engine.of("Instance")[name] for name in ("alice", "bob"))
    options = alice["instanceMarketOptions"]
    assert options["marketType"] == "spot"
    assert options["spotOptions"]["instanceInterruptionBehavior"] == "stop"
    assert "instanceMarketOptions" not in bob
    assert list(engine.of("SpotRequest")) == ["alice"]
    assert (alice["instanceType"], bob["instanceType"]) == ("g5.2xlarge", "g4dn.xlarge")
    for instance in (alice, bob):
        assert instance["ami"] == VALUES["baseImage"]
        assert instance["metadataOptions"] == {
            "httpEndpoint": "enabled",
            "httpTokens": "required",
            "httpPutResponseHopLimit": 1,
            "instanceMetadataTags": "disabled",
        }
    assert alice["subnetId"] == f"{ZONES[2]}-public-id"
    assert engine.of("Volume")["alice"]["size"] == 100
    assert engine.of("VolumeAttachment")["alice"]["stopInstanceBeforeDetaching"] is True
    assert alice["tags"]["secondlock:cost-centre"] == "7"
    assert alice["tags"]["secondlock:until"] == "2030-01-31"
    assert bob["tags"]["secondlock:cost-centre"] == "physics"
    assert not engine.of("NatGateway")
    assert said == {
        "address": "203.0.113.5",
        "port": 22,
        "host_key": plan.machines[0].host_key,
        "directory": "",
        "region": "eu-west-1",
        "zone": ZONES[2],
        "log_group": "/secondlock/trial",
        "public": True,
        "instance_id": "alice-id",
        "running": True,
        "serial": 7,
    }


def test_two_who_share_a_machine_have_one_of_everything(tmp_path: Path) -> None:
    (tmp_path / "machines").mkdir()
    text = "seats: 2\ninstance_type: g5.12xlarge\nrebuild: 2\n"
    (tmp_path / "machines" / "gpu1.yaml").write_text(text)
    people = [
        {"researcher": "alice", "machine": "gpu1", "allowed_from": ["198.51.100.0/24"]},
        {"researcher": "bob", "machine": "gpu1", "allowed_from": ["203.0.113.0/24"]},
    ]
    plan = _plan(tmp_path, people)
    assert _faults(plan) == []
    engine = Engine(FACTS).install()
    settled(lambda: Aws(plan))
    ((name, instance),) = engine.of("Instance").items()
    assert (name, instance["instanceType"]) == ("gpu1", "g5.12xlarge")
    assert instance["tags"]["secondlock:rebuild"] == "2"
    assert (list(engine.of("Volume")), list(engine.of("Eip"))) == (["gpu1"], ["gpu1"])
    (rule,) = engine.of("SecurityGroup")["gpu1"]["ingress"]
    assert rule["cidrBlocks"] == ["198.51.100.0/24", "203.0.113.0/24"]
    sent = engine.of("Parameter")["gpu1"]["value"]
    assert list(json.loads(sent["value"])["researchers"]) == ["alice", "bob"]
    hidden = "instance_type: g5.12xlarge\npublic: false\nseats: 2\n"
    (tmp_path / "machines" / "gpu1.yaml").write_text(hidden)
    plan, engine = _plan(tmp_path, people), Engine(FACTS).install()
    assert _faults(plan) == []
    settled(lambda: Aws(plan))
    assert engine.of("SecurityGroup")["gpu1"]["ingress"] == []
    assert engine.of("Instance")["gpu1"]["tags"]["secondlock:researcher"] == "gpu1"


def test_private_machines_get_a_way_out_and_no_address(tmp_path: Path) -> None:
    plan = _plan(tmp_path, [{"researcher": "alice", "machine": {"public": False}}])
    engine = Engine(FACTS).install()
    said = _said(lambda: Aws(plan).machine(plan.machines[0]))
    assert said["address"] == said["instance_id"] == "alice-id"
    assert list(engine.of("Eip")) == ["trial-nat"]
    assert engine.of("Instance")["alice"]["subnetId"].endswith("-private-id")
    for name, subnet in engine.of("Subnet").items():
        assert subnet["mapPublicIpOnLaunch"] is name.endswith("public")
    (route,) = engine.of("RouteTable")["trial-private"]["routes"]
    assert route == {"cidrBlock": "0.0.0.0/0", "natGatewayId": "trial-id"}


def test_a_machine_is_where_its_data_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = _plan(tmp_path, [{"researcher": "alice", "machine": {"zone": ZONES[0]}}])
    told: list[str] = []
    monkeypatch.setattr(pulumi.log, "info", lambda text, *_: told.append(text))
    Engine(FACTS, found={("Volume", "alice"): {"availabilityZone": ZONES[1]}}).install()
    said = _said(lambda: Aws(plan).machine(plan.machines[0]))
    assert said["zone"] == ZONES[1]
    assert any(f"alice stays in {ZONES[1]}, where its data is" in text for text in told)


def test_a_zone_with_data_cannot_be_forgotten(tmp_path: Path) -> None:
    plan = _plan(tmp_path, [{"researcher": "alice"}])

    def ask() -> pulumi.Output[str]:
        network = Network(AwsSettings.of(plan.settings), plan.machines)
        return network.subnet(pulumi.Output.from_input("eu-west-1f"), public=True)

    wait: Callable[[Callable[[], Any]], Callable[[], None]] = pulumi.runtime.test
    Engine(FACTS).install()
    with pytest.raises(pulumi.RunError, match=r"secondlock:zones eu-west-1a,.*,eu-west-1f"):
        wait(ask)()


def test_a_machine_that_is_behind_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = _plan(tmp_path, [{"researcher": "alice"}, {"researcher": "bob"}])
    told: list[str] = []
    monkeypatch.setattr(pulumi.log, "info", lambda text, *_: told.append(text))
    older = {"tags": {"secondlock:made-with": "0123456789abcdef"}}
    Engine(FACTS, found={("Instance", "alice"): older}).install()
    settled(lambda: Aws(plan))
    assert [text.partition(":")[0] for text in told] == ["alice is behind"]


def test_subnets_do_not_move_when_zones_come_and_go() -> None:
    zones = [f"eu-west-1{letter}" for letter in "abcdefgh"]
    cidrs = [
        ipaddress.IPv4Network(subnet_cidr("10.77.0.0/16", zone, public=public))
        for zone in zones
        for public in (True, False)
    ]
    assert len(set(cidrs)) == 16
    assert list(ipaddress.collapse_addresses(cidrs)) == [ipaddress.IPv4Network("10.77.0.0/16")]


@given(st.lists(st.sampled_from("abcdef"), min_size=2, unique=True))
def test_a_new_zone_takes_machines_to_itself_only(letters: list[str]) -> None:
    *few, new = (f"eu-west-1{letter}" for letter in letters)
    for number in range(50):
        before, after = first_zone(f"r{number}", few), first_zone(f"r{number}", [*few, new])
        assert after in (before, new)
        assert first_zone(f"r{number}", few[::-1]) == before


def test_what_ec2_cannot_do_is_told_before_anything_is_made(tmp_path: Path) -> None:
    many = [f"198.51.{number}.0/25" for number in range(61)]
    plan = _plan(
        tmp_path,
        [
            {"researcher": "alice", "allowed_from": many, "machine": {"root_disk_gib": 8}},
            {"researcher": "bob", "machine": {"zone": "eu-west-1f"}},
            *({"researcher": f"r{number}"} for number in range(12)),
        ],
        zones="eu-west-1a",
        vpcCidr="10.0.0.0/24",
    )
    found = [
        str(problem).replace(f"{tmp_path}/", "") for problem in _faults(plan, region="us-east-1")
    ]
    for expected in (
        "bob.yaml:6: machine.zone: `eu-west-1f` is none of the stack's zones",
        "aws:region is us-east-1, and the stack's zones are in eu-west-1",
        "13 machines, but the public subnet of eu-west-1a (10.0.0.0/28) has room for 11",
        "alice.yaml:1: allowed_from: 61 networks, and a security group takes 60",
        "machine.root_disk_gib: the baked image does not fit: it has 16 GiB",
    ):
        assert any(expected in line for line in found), (expected, found)


def test_a_roster_too_large_for_ssm_is_told_with_all_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "MOST", 8192)
    keys = [f"{make_key(tmp_path / f'key{number}')} {'x' * 100}" for number in range(50)]
    folder = tmp_path / "stacks" / "trial"
    folder.mkdir(parents=True)
    _plan(folder, [{"researcher": "alice", "ssh_keys": keys, "remember_hours": 5}])
    config = {f"secondlock:{name}": value for name, value in VALUES.items()}
    config |= {SEED_SETTING: SEED, "secondlock:colour": "red", "aws:region": "us-east-1"}
    found = check_stack("trial", tmp_path, config, encrypted=SECRETS).problems
    parts = ("unknown setting", "aws:region is us-east-1", "remember_hours", "and SSM holds 8192")
    assert [part in str(one) for part, one in zip(parts, found, strict=True)] == [True] * 4
