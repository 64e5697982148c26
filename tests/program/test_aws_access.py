"""Keys, rosters, access, logs and image of the target aws, with Pulumi's mocks."""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import re
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pulumi
import pytest
from pulumi.runtime.rpc import _special_secret_sig, _special_sig_key

from cloudinit.bundle import bundle
from image.components import render_components
from infra.aws import facts as facts_module
from infra.aws.access import Access
from infra.aws.bundles import Bundles
from infra.aws.facts import Facts
from infra.aws.image import Image
from infra.aws.keys import Keys
from infra.aws.limits import ROOT_GIB
from infra.aws.logs import AuditLog, Logs
from infra.aws.policies import bake_log_group_name
from infra.aws.roster import ADVANCED, MOST_PARTS, STANDARD, Rosters, roster_problems
from infra.aws.strays import Strays
from infra.model.instance_types import BAKING
from infra.roster import to_json
from tests.support import cfn
from tests.support.mocks import STACK, Engine, settled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from infra.plan import MachinePlan

ssm: Any = importlib.import_module("guest.aws.ssm")
CHINA = Facts("aws-cn", "amazonaws.com.cn", "444455556666", "cn-north-1")
SUBNET, GROUP = "subnet-0123456789abcdef0", "sg-0123456789abcdef0"
STRAYS = "pulumi-python:dynamic/secondlock:Strays"  # the whole target's
TAGS = {"secondlock:stack": STACK, "secondlock:cost-centre": "physics"}
IMAGE = "tensorflow/tensorflow@sha256:" + "a" * 64
_BLOCKED = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")


def _tags_of(machine: MachinePlan) -> dict[str, str]:
    return {**TAGS, "secondlock:researcher": machine.name}


def _volume_of(machine: str) -> pulumi.Output[str]:
    return pulumi.Output.from_input(f"vol-{machine:0<17}")


def _roster(size: int) -> str:
    """One of which the parameter has this many bytes, the volume's id among them."""
    empty = to_json({"host_key": "", "volume": f"vol-{17 * '0'}"})
    return to_json({"host_key": "x" * (size - len(empty))})


def _machine(name: str, roster: str = '{"host_key":"very secret"}') -> MachinePlan:
    """As much of a machine's plan as these components look at."""
    plan = SimpleNamespace(name=name, roster=roster, members=(name,))
    return cast("MachinePlan", plan)


@pytest.fixture
def engine() -> Engine:
    """Pulumi's mocks."""
    return Engine(CHINA, ids={"SecurityGroup": GROUP}).install()


def _everything(machines: Sequence[MachinePlan], *, bake: bool = True) -> tuple[Any, ...]:
    keys = Keys(STACK, TAGS, CHINA)
    rosters = Rosters(STACK, machines, keys, CHINA, _tags_of, _volume_of)
    access = Access(STACK, machines, facts=CHINA, key=keys, tags=TAGS, tags_of=_tags_of)
    logs = Logs(STACK, 90, True, "a@b.example", machines=machines, key=keys, facts=CHINA, tags=TAGS)
    image = Image(
        STACK,
        base_image="ami-debian",
        tensorflow_image=IMAGE,
        bake=bake,
        log_retention_days=180,
        facts=CHINA,
        key=keys,
        vpc_id="vpc-1",
        subnet_id=SUBNET,
        strays=Strays(STACK, CHINA.region, []),
        tags=TAGS,
    )
    bundles = Bundles(STACK, CHINA, TAGS)
    return rosters, access, logs, bundles, image


def _values(make: Callable[[], Sequence[pulumi.Output[Any]]]) -> list[Any]:
    """The values of the outputs that `make` gives, when all is registered."""
    found: list[list[Any]] = []
    settled(lambda: pulumi.Output.all(*make()).apply(found.append))
    return found[0]


def test_everything_is_inside_its_component_and_marked(engine: Engine) -> None:
    settled(lambda: _everything([_machine("alice"), _machine("bob")]))
    for urn in engine.monitor.resources:
        *parents, kind = urn.split("::")[2].split("$")
        if kind != STRAYS and not kind.startswith(("secondlock:aws:", "pulumi:pulumi:Stack")):
            assert parents[-1].startswith("secondlock:aws:"), urn
    no_tags = {
        "Alias",
        "BucketOwnershipControls",
        "BucketPolicy",
        "BucketPublicAccessBlock",
        "BucketServerSideEncryptionConfiguration",
        "ImageLeftovers",
        "LogMetricFilter",
        "PolicyAttachment",
        "RolePolicy",
        "Strays",
        "TopicSubscription",
    }
    for (typ, name), inputs in engine.made.items():
        kind = typ.split(":")[-1]
        if typ.startswith("secondlock:aws:") or kind in no_tags:
            continue
        assert TAGS.items() <= inputs["tags"].items(), (typ, name)
    for kind in ("ssm/parameter:Parameter", "iam/role:Role", "InstanceProfile"):
        assert engine.of(kind)["alice"]["tags"]["secondlock:researcher"] == "alice"


def test_no_arn_and_no_service_is_another_partitions(engine: Engine) -> None:
    settled(lambda: _everything([_machine("alice")]))
    for (typ, name), inputs in engine.made.items():
        if typ == "aws:imagebuilder/component:Component":
            continue  # the script asks the instance where it is
        text = json.dumps(inputs)
        assert "arn:aws:" not in text, (typ, name)
        foreign = text.replace("cloudwatch.amazonaws.com", "").replace("amazonaws.com.cn", "")
        assert "amazonaws" not in foreign, (typ, name)


def test_a_roster_is_a_secret_under_the_stacks_key(engine: Engine) -> None:
    machines = [
        _machine("alice", _roster(STANDARD)),
        _machine("bob", _roster(STANDARD + 1)),
    ]
    keys = Keys(STACK, TAGS, CHINA)
    settled(lambda: Rosters(STACK, machines, keys, CHINA, _tags_of, _volume_of))
    found = engine.of("ssm/parameter:Parameter")
    for machine in machines:
        inputs = found[machine.name]
        assert inputs["name"] == f"/secondlock/{STACK}/roster/{machine.name}"
        assert inputs["type"] == "SecureString"
        assert inputs["keyId"].startswith("arn:aws-cn:kms:")
        assert inputs["value"][_special_sig_key] == _special_secret_sig
        sent = json.loads(inputs["value"]["value"])
        assert sent == {**json.loads(machine.roster), "volume": f"vol-{machine.name:0<17}"}
        rest = {name: value for name, value in inputs.items() if name != "value"}
        assert sent["host_key"] not in json.dumps(rest)
    tiers = [found[machine.name]["tier"] for machine in machines]
    assert tiers == ["Standard", "Advanced"]


def test_a_long_roster_is_in_parts_which_a_machine_puts_together(engine: Engine) -> None:
    machine = _machine("alice", _roster(2 * ADVANCED))
    keys = Keys(STACK, TAGS, CHINA)
    settled(lambda: Rosters(STACK, [machine], keys, CHINA, _tags_of, _volume_of))
    made = engine.of("ssm/parameter:Parameter").values()
    values = {each["name"]: each["value"]["value"] for each in made}
    assert all(each["value"][_special_sig_key] == _special_secret_sig for each in made)
    assert {each["tier"] for each in made} == {"Standard"}
    own = f"/secondlock/{STACK}/roster/alice"
    whole = ssm._whole(values[own], lambda part: values[f"{own}/{part}"])
    assert json.loads(whole) == {**json.loads(machine.roster), "volume": f"vol-{'alice':0<17}"}


def test_a_rosters_value_comes_back_as_a_secret(engine: Engine) -> None:
    def make() -> list[pulumi.Output[bool]]:
        keys = Keys(STACK, TAGS, CHINA)
        rosters = Rosters(STACK, [_machine("alice")], keys, CHINA, _tags_of, _volume_of)
        parameter = rosters.parameter("alice")
        asked = (parameter.value.is_secret(), parameter.tier.is_secret())
        return [pulumi.Output.from_input(each) for each in asked]

    assert _values(make) == [True, False]


def test_a_roster_too_large_for_its_parts_is_a_problem() -> None:
    most = MOST_PARTS * STANDARD
    machines = [_machine("alice", _roster(most)), _machine("bob", _roster(most + 1))]
    (problem,) = roster_problems(machines)
    assert "bob" in problem.what
    assert str(most + 1) in problem.what
    assert "xx" not in str(problem)
    assert problem.mend


def test_the_key_turns_and_goes(engine: Engine) -> None:
    settled(lambda: Keys(STACK, TAGS, CHINA))
    (key,) = engine.of("kms/key:Key").values()
    assert key["enableKeyRotation"] is True
    assert key["deletionWindowInDays"] == 7
    assert json.loads(key["policy"])["Version"] == "2012-10-17"
    (alias,) = engine.of("kms/alias:Alias").values()
    assert alias["name"] == f"alias/secondlock-{STACK}"


def _access(names: Sequence[str]) -> Access:
    keys = Keys(STACK, TAGS, CHINA)
    machines = [_machine(name) for name in names]
    return Access(STACK, machines, facts=CHINA, key=keys, tags=TAGS, tags_of=_tags_of)


def test_every_machine_has_a_role_of_its_own_and_all_one_policy(engine: Engine) -> None:
    names = ["alice", "bob", "carol"]

    def make() -> list[pulumi.Output[Any]]:
        access = _access(names)
        arns = [access.admin_policy_arn, access.researcher_policy_arn]
        return [*(access.profile(name) for name in names), *arns]

    *profile_names, admin, researcher = _values(make)
    assert profile_names == [f"{name}-1a2b3c4" for name in names]
    assert (admin[-5:], researcher[-10:]) == ("admin", "researcher")
    roles, profiles = engine.of("iam/role:Role"), engine.of("InstanceProfile")
    assert sorted(roles) == sorted(profiles) == names
    for name in names:
        assert roles[name]["tags"]["secondlock:machine"] == name
        assert roles[name]["path"] == profiles[name]["path"] == f"/secondlock/{STACK}/"
        # Either makes the provider warn, once for each machine.
        assert not roles[name].keys() & {"inlinePolicies", "managedPolicyArns"}
        assert profiles[name]["role"] == f"{name}-1a2b3c4"
    assert sorted(engine.of("iam/policy:Policy")) == ["admin", "machines", "researcher"]
    (attached,) = engine.of("PolicyAttachment").values()
    assert attached["roles"] == [f"{name}-1a2b3c4" for name in names]
    assert attached["policyArn"].endswith(":machines")
    per_machine = Counter(name for _, name in engine.made if name in names)
    assert set(per_machine.values()) == {2}


def test_a_stack_without_a_machine_attaches_nothing(engine: Engine) -> None:
    settled(lambda: _access([]))
    assert engine.of("PolicyAttachment") == {}


def _logs(machines: int, *, alarms: bool = True, email: str = "a@b.example") -> Logs:
    plans = [_machine(f"m{number}") for number in range(machines)]
    keys = Keys(STACK, TAGS, CHINA)
    return Logs(STACK, 90, alarms, email, machines=plans, key=keys, facts=CHINA, tags=TAGS)


@pytest.mark.parametrize("keep", [True, False])
def test_the_record_can_outlive_the_stack_and_then_needs_no_key_of_it(
    engine: Engine, keep: bool
) -> None:
    settled(lambda: AuditLog(STACK, 180, keep, key=Keys(STACK, TAGS, CHINA), tags=TAGS))
    group = engine.of("LogGroup")["audit"]
    assert (group["name"], group["retentionInDays"]) == (f"/secondlock/{STACK}/audit", 180)
    assert ("kmsKeyId" in group) is not keep


def test_logs_are_encrypted_and_end(engine: Engine) -> None:
    settled(lambda: _logs(1, alarms=False))
    (group,) = engine.of("LogGroup").values()
    assert group["name"] == f"/secondlock/{STACK}"
    assert group["kmsKeyId"].startswith("arn:aws-cn:kms:")
    assert group["retentionInDays"] == 90
    for kind in ("MetricAlarm", "LogMetricFilter", "sns/topic:Topic", "TopicSubscription"):
        assert not engine.of(kind)


def test_alarms_tell_someone(engine: Engine) -> None:
    settled(lambda: _logs(3))
    alarms, filters = engine.of("MetricAlarm"), engine.of("LogMetricFilter")
    assert sorted(alarms) == sorted(filters) == [
        "audit", "brute-force", "clock", "disk", "error", "frozen", "record", "status",
    ]  # fmt: skip
    for name, alarm in alarms.items():
        made = filters[name]["metricTransformation"]
        assert (alarm["metricName"], alarm["namespace"]) == (made["name"], made["namespace"])
        assert filters[name]["logGroupName"] == f"/secondlock/{STACK}"
        assert alarm["alarmActions"][0].endswith(f":{STACK}")
        assert alarm["alarmDescription"]
    (topic,) = engine.of("sns/topic:Topic").values()
    assert topic["kmsMasterKeyId"] == "0a1b"
    assert json.loads(topic["policy"])["Statement"][0]["Sid"] == "Alarms"
    (subscription,) = engine.of("TopicSubscription").values()
    assert (subscription["protocol"], subscription["endpoint"]) == ("email", "a@b.example")
    assert alarms["status"]["threshold"] == 3 * 13.5


def test_alarms_without_an_address_are_seen_in_the_console(engine: Engine) -> None:
    settled(lambda: _logs(1, email=""))
    assert len(engine.of("MetricAlarm")) == 8
    assert not engine.of("TopicSubscription")


def test_the_number_of_alarms_does_not_depend_on_the_machines(engine: Engine) -> None:
    settled(lambda: _logs(1))
    one = sorted(engine.made)
    engine.made.clear()
    settled(lambda: _logs(200))
    assert sorted(engine.made) == one


def _status(**values: Any) -> str:
    """A line as cloudinit/guest/status/line.py writes it."""
    line = {
        "bans": [],
        "clock": {"offset_seconds": 0.0001, "source": "169.254.169.123", "synchronised": True},
        "machine": "alice",
        "stack": "true",
        "researchers": {"alice": {"frozen": False, "wrong_codes": 0}, "bob": {"frozen": False}},
    }
    return json.dumps({**line, **values}, sort_keys=True)


def test_the_expression_for_a_frozen_researcher_finds_them_alone(engine: Engine) -> None:
    settled(lambda: _logs(1))
    pattern = engine.of("LogMetricFilter")["frozen"]["pattern"]
    # Letters and the operators that CloudWatch Logs knows: no quotes, no groups.
    assert re.fullmatch(r"%[A-Za-z0-9:_#=@/;,\-^$?\[\]{}|\\*+.]+%", pattern)
    expression = re.compile(pattern.strip("%"))
    frozen = {"alice": {"frozen": False}, "bob": {"frozen": True, "wrong_codes": 31}}
    assert expression.search(_status(researchers=frozen))
    compact = json.dumps(json.loads(_status(researchers=frozen)), separators=(",", ":"))
    assert expression.search(compact)
    assert not expression.search(_status())
    assert not expression.search(_status(bans=["192.0.2.1"]))


def test_without_a_bake_machines_start_from_debian_itself(engine: Engine) -> None:
    assert _values(lambda: [_everything([_machine("alice")], bake=False)[-1].ami]) == ["ami-debian"]
    assert not [typ for typ, _ in engine.made if "imagebuilder" in typ]
    assert "image" not in engine.of("iam/role:Role")


def test_the_bundle_is_in_a_bucket_that_is_shut_before_it_comes(engine: Engine) -> None:
    (place,) = _values(lambda: [pulumi.Output.from_input(Bundles(STACK, CHINA, TAGS).place)])
    kinds = [typ.rpartition(":")[2] for typ, _ in engine.made if "s3/" in typ]
    assert kinds[0] == "Bucket"
    assert kinds[-1] == "BucketObjectv2"
    (bucket,) = engine.of("s3/bucket:Bucket").values()
    host = f"{bucket['bucket']}.s3.cn-north-1.amazonaws.com.cn"
    assert place == f"https://{host}/bundle"
    assert bucket["forceDestroy"] is True
    (block,) = engine.of("BucketPublicAccessBlock").values()
    assert sorted(block) == sorted([*_BLOCKED, "bucket"])
    assert all(block[name] is True for name in _BLOCKED)
    (owner,) = engine.of("BucketOwnershipControls").values()
    assert owner["rule"] == {"objectOwnership": "BucketOwnerEnforced"}
    (encrypted,) = engine.of("BucketServerSideEncryptionConfiguration").values()
    (rule,) = encrypted["rules"]
    assert rule["applyServerSideEncryptionByDefault"] == {"sseAlgorithm": "AES256"}
    (made,) = engine.of("BucketObjectv2").values()
    content = base64.b64decode(made["contentBase64"])
    assert content == bundle("aws").data
    assert made["key"] == f"bundle/{hashlib.sha256(content).hexdigest()}"


def test_the_bake_is_on_the_pinned_image_encrypted_and_closed(engine: Engine) -> None:
    assert _values(lambda: [_everything([])[-1].ami]) == ["ami-baked"]
    (recipe,) = engine.of("ImageRecipe").values()
    assert recipe["parentImage"] == "ami-debian"
    (disk,) = recipe["blockDeviceMappings"]
    assert disk["ebs"]["encrypted"] == "true"
    assert disk["ebs"]["kmsKeyId"].startswith("arn:aws-cn:kms:")
    assert disk["ebs"]["volumeSize"] == ROOT_GIB
    assert recipe["systemsManagerAgent"] == {"uninstallAfterBuild": False}
    made_of = [component["componentArn"].split("/")[1] for component in recipe["components"]]
    assert made_of == list(render_components(IMAGE))
    (place,) = engine.of("InfrastructureConfiguration").values()
    assert place["instanceMetadataOptions"]["httpTokens"] == "required"
    assert place["subnetId"] == SUBNET
    # More than one: a zone may have no more of the first.
    assert set(place["instanceTypes"]) == set(BAKING)
    assert "keyPair" not in place
    (group,) = engine.of("SecurityGroup").values()
    assert not group.get("ingress")
    assert {rule["toPort"] for rule in group["egress"]} == {80, 443}
    (sent,) = engine.of("DistributionConfiguration").values()
    (to,) = sent["distributions"]
    assert to["region"] == CHINA.region
    ami = to["amiDistributionConfiguration"]
    assert ami["kmsKeyId"].startswith("arn:aws-cn:kms:")
    assert "launchPermission" not in ami
    (left,) = engine.of("ImageLeftovers").values()
    assert (left["ami"], left["region"]) == ("ami-baked", CHINA.region)
    assert left["image"].endswith(f":image/{STACK}/1.0.0/1")
    (made,) = engine.of("imagebuilder/image:Image").values()
    # It would make an association, for which the bake's role would need more than it has.
    assert made["enhancedImageMetadataEnabled"] is False
    assert made["loggingConfiguration"] == {"logGroupName": bake_log_group_name(STACK)}
    log = engine.of("LogGroup")["image"]
    assert log["kmsKeyId"].startswith("arn:aws-cn:kms:")
    assert log["retentionInDays"] == 180


def test_facts_are_what_aws_says(engine: Engine) -> None:
    assert settled(facts_module.facts) == CHINA


def test_image_builder_would_take_what_it_is_told(engine: Engine, tmp_path: Path) -> None:
    settled(lambda: _everything([]))
    kinds = ("Component", "ImageRecipe", "InfrastructureConfiguration")
    resources = {
        f"{kind}{number}": cfn.image_builder(kind, name, inputs)
        for kind in (*kinds, "DistributionConfiguration", "Image")
        for number, (name, inputs) in enumerate(
            engine.of(f"imagebuilder/{kind[0].lower()}{kind[1:]}:{kind}").items()
        )
    }
    assert len(resources) == len(render_components(IMAGE)) + 4
    assert cfn.faults(resources, tmp_path) == ""
