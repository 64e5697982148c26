"""The target aws, end to end: the real engine and the real provider against moto's server.

moto knows no IAM conditions, no Image Builder, no spot capacity and no GPU: what it cannot show is
in test_policies.py and the tests with mocks, and what nobody has shown is in
docs/explanation/aws-proof.md.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from infra.aws.roster import naming_bundle
from infra.aws.tags import machine_tags
from infra.enrollment import fingerprint
from infra.model.settings import AwsSettings
from infra.plan import Plan
from infra.roster import to_json
from tests.support.cloud import REGION, TENSORFLOW, ZONES, AwsProject, Cloud, provider_missing
from tests.support.plans import make_plan
from tests.support.project import STACK
from tests.support.user_data import read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(provider_missing() is not None, reason=str(provider_missing()))


class Lab:
    """A stack that is up: alice has a public machine, bob a private one."""

    def __init__(self, place: Path, cloud: Cloud) -> None:
        self.project = AwsProject(place, cloud, costCentre="physics")
        self.cloud = cloud
        self.project.request("alice", allowed_from=["198.51.100.0/24", "2001:db8::/32"])
        self.project.request("bob", machine={"public": False, "instance_type": "g5.2xlarge"})
        self.ec2, self.ssm, self.iam = map(cloud.client, ("ec2", "ssm", "iam"))
        self.kms, self.logs = cloud.client("kms"), cloud.client("logs")
        self.others = self.snapshots()
        self.said = self.project.up()

    def plan(self) -> Plan:
        """What the stack shall be."""
        project = self.project
        values = {
            "target": "aws",
            "zones": ",".join(ZONES),
            "onDestroy": "delete",
            "baseImage": self.cloud.image(),
            "tensorflowImage": TENSORFLOW,
            "costCentre": "physics",
            "bake": "false",
            "seedFingerprint": fingerprint(project.seed),
        }
        return make_plan(STACK, project.requests, values, project.seed)

    def instances(self) -> dict[str, dict[str, Any]]:
        """The instances that there are, by researcher."""
        found = [
            instance
            for reservation in self.ec2.describe_instances()["Reservations"]
            for instance in reservation["Instances"]
            if instance["State"]["Name"] != "terminated"
        ]
        return {_tags(instance)["secondlock:researcher"]: instance for instance in found}

    def snapshots(self) -> set[str]:
        """The ids of the snapshots that there are; moto's AMIs have some."""
        found = self.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
        return {each["SnapshotId"] for each in found}

    def volumes(self) -> dict[str, dict[str, Any]]:
        """The data volumes, by researcher."""
        found = self.ec2.describe_volumes()["Volumes"]
        devices = ["/dev/sdf"]
        return {
            _tags(volume)["secondlock:researcher"]: volume
            for volume in found
            if [each["Device"] for each in volume["Attachments"]] == devices
        }

    def groups(self) -> dict[str, dict[str, Any]]:
        """The stack's security groups, by name."""
        (vpc,) = (each for each in self.ec2.describe_vpcs()["Vpcs"] if not each["IsDefault"])
        found = self.ec2.describe_security_groups(
            Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}]
        )["SecurityGroups"]
        return {group["GroupName"]: group for group in found}

    def roster(self, researcher: str) -> tuple[str, int]:
        """What the researcher's machine would read, and its serial."""
        name = f"/secondlock/{STACK}/roster/{researcher}"
        parameter = self.ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]
        assert parameter["Type"] == "SecureString"
        return parameter["Value"], parameter["Version"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The stack that is looked at."""
    with _up(tmp_path_factory.mktemp("aws")) as lab:
        yield lab


@pytest.fixture
def lab_of_its_own(tmp_path: Path) -> Iterator[Lab]:
    """One that a test may change and destroy."""
    with _up(tmp_path) as lab:
        yield lab


@contextmanager
def _up(place: Path) -> Iterator[Lab]:
    cloud = Cloud(place)
    try:
        yield Lab(place / "project", cloud)
    finally:
        cloud.end()


def _tags(thing: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in thing.get("Tags", [])}


def test_once_up_nothing_changes_and_no_warning_stands(lab: Lab) -> None:
    out = lab.project.up("--expect-no-changes")
    assert "warning" not in (lab.said + out).lower()
    assert "deprecated" not in lab.said + out
    lab.project.succeed("refresh", "--yes", "--skip-preview", "--expect-no-changes")
    lab.project.succeed("preview", "--expect-no-changes")


def test_every_machine_finds_its_bundle_and_nobody_else_does(lab: Lab) -> None:
    s3 = lab.cloud.client("s3")
    (bucket,) = (each["Name"] for each in s3.list_buckets()["Buckets"])
    for instance in lab.instances().values():
        data = lab.ec2.describe_instance_attribute(
            InstanceId=instance["InstanceId"], Attribute="userData"
        )["UserData"]["Value"]
        known = read(base64.b64decode(data)).known
        assert known["bundles"] == f"https://{bucket}.s3.{REGION}.amazonaws.com/bundle"
        (found,) = s3.list_objects_v2(Bucket=bucket)["Contents"]
        assert found["Key"] == f"bundle/{known['bundle']}"
        content = s3.get_object(Bucket=bucket, Key=found["Key"])["Body"].read()
        assert hashlib.sha256(content).hexdigest() == known["bundle"]
    blocked = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert list(blocked.values()) == [True] * 4
    assert "aws:SecureTransport" in s3.get_bucket_policy(Bucket=bucket)["Policy"]
    rules = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
    assert "AES256" in str(rules)
    tags = s3.get_bucket_tagging(Bucket=bucket)["TagSet"]
    assert {"Key": "secondlock:stack", "Value": STACK} in tags


def test_private_machines_reach_s3_without_the_internet(lab: Lab) -> None:
    (endpoint,) = lab.ec2.describe_vpc_endpoints()["VpcEndpoints"]
    assert (endpoint["ServiceName"], endpoint["VpcEndpointType"]) == (
        f"com.amazonaws.{REGION}.s3",
        "Gateway",
    )
    tables = {
        each["RouteTableId"]
        for each in lab.ec2.describe_route_tables()["RouteTables"]
        if each["VpcId"] == endpoint["VpcId"] and _tags(each)
    }
    assert len(tables) == 2
    assert set(endpoint["RouteTableIds"]) == tables


def test_a_request_costs_seven_resources_and_an_address(lab: Lab) -> None:
    made = lab.project.resources()
    assert made.count("bob") == 7
    assert made.count("alice") == 8


def test_ssh_is_open_to_the_request_alone_and_a_private_machine_to_nobody(lab: Lab) -> None:
    groups = lab.groups()
    assert sorted(groups) == ["default", f"secondlock/{STACK}/alice", f"secondlock/{STACK}/bob"]
    (door,) = groups[f"secondlock/{STACK}/alice"]["IpPermissions"]
    assert (door["FromPort"], door["ToPort"], door["IpProtocol"]) == (22, 22, "tcp")
    assert [each["CidrIp"] for each in door["IpRanges"]] == ["198.51.100.0/24"]
    assert [each["CidrIpv6"] for each in door["Ipv6Ranges"]] == ["2001:db8::/32"]
    assert door["UserIdGroupPairs"] == []
    assert groups[f"secondlock/{STACK}/bob"]["IpPermissions"] == []
    assert groups["default"]["IpPermissions"] == groups["default"]["IpPermissionsEgress"] == []
    out = groups[f"secondlock/{STACK}/bob"]["IpPermissionsEgress"]
    assert sorted((each["FromPort"], each["ToPort"]) for each in out) == [(80, 80), (443, 443)]
    instances = lab.instances()
    for name in ("alice", "bob"):
        (group,) = instances[name]["SecurityGroups"]
        assert group["GroupName"] == f"secondlock/{STACK}/{name}"
    assert "PublicIpAddress" in instances["alice"]
    assert "PublicIpAddress" not in instances["bob"]
    nats = lab.ec2.describe_nat_gateways()["NatGateways"]
    assert [nat["State"] for nat in nats] == ["available"]


def test_everything_at_rest_is_encrypted_with_the_stacks_key(lab: Lab) -> None:
    (alias,) = (
        each for each in lab.kms.list_aliases()["Aliases"] if "secondlock" in each["AliasName"]
    )
    key = lab.kms.describe_key(KeyId=alias["TargetKeyId"])["KeyMetadata"]
    assert lab.kms.get_key_rotation_status(KeyId=key["KeyId"])["KeyRotationEnabled"]
    volumes = lab.ec2.describe_volumes()["Volumes"]
    assert len(volumes) == 4  # root and data
    assert all(volume["Encrypted"] and volume["KmsKeyId"] == key["Arn"] for volume in volumes)
    parameters = lab.ssm.describe_parameters()["Parameters"]
    ours = [each for each in parameters if f"/secondlock/{STACK}/roster/" in each["Name"]]
    assert len(ours) == 2
    assert all(each["KeyId"] == key["Arn"] for each in ours)
    groups = lab.logs.describe_log_groups()["logGroups"]
    names = {f"/secondlock/{STACK}{part}" for part in ("", "/flows", "/audit")}
    assert {group["logGroupName"] for group in groups} == names
    for group in groups:
        assert (group["kmsKeyId"], group["retentionInDays"]) == (key["Arn"], 180)


def test_who_talks_to_whom_is_kept(lab: Lab) -> None:
    (flows,) = lab.ec2.describe_flow_logs()["FlowLogs"]
    (vpc,) = lab.ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["false"]}])["Vpcs"]
    assert (flows["ResourceId"], flows["TrafficType"]) == (vpc["VpcId"], "ALL")
    assert flows["LogDestination"].endswith(f":log-group:/secondlock/{STACK}/flows")


def test_machines_are_what_was_asked_for(lab: Lab) -> None:
    instances, volumes = lab.instances(), lab.volumes()
    for name, kind in (("alice", "g4dn.xlarge"), ("bob", "g5.2xlarge")):
        instance = instances[name]
        assert instance["InstanceType"] == kind
        assert instance["ImageId"] == lab.cloud.image()
        assert instance["EbsOptimized"] is True
        metadata = instance["MetadataOptions"]
        assert (metadata["HttpTokens"], metadata["HttpPutResponseHopLimit"]) == ("required", 1)
        assert metadata["InstanceMetadataTags"] == "disabled"
        (attached,) = volumes[name]["Attachments"]
        assert attached["InstanceId"] == instance["InstanceId"]
        assert volumes[name]["Size"] == 21  # home and state
        zone = instance["Placement"]["AvailabilityZone"]
        assert zone == volumes[name]["AvailabilityZone"]
        profile = instance["IamInstanceProfile"]["Arn"].rpartition("/")[2]
        (role,) = lab.iam.get_instance_profile(InstanceProfileName=profile)["InstanceProfile"][
            "Roles"
        ]
        assert role["Path"] == f"/secondlock/{STACK}/"


def test_a_roster_is_in_its_parameter_and_secrets_are_nowhere_else(lab: Lab) -> None:
    plan = lab.plan()
    for machine in plan.machines:
        (sent,) = naming_bundle([machine], back=False)
        volume = lab.volumes()[machine.name]["VolumeId"]
        roster = to_json({**json.loads(sent.roster), "volume": volume})
        assert lab.roster(machine.name) == (roster, 1)
    needles = lab.project.secrets()
    assert len(needles) == 17
    files = [path for path in lab.project.backend.rglob("*") if path.is_file()]
    places = [path.read_text(errors="replace") for path in files]
    for machine in plan.machines:
        data = lab.ec2.describe_instance_attribute(
            InstanceId=lab.instances()[machine.name]["InstanceId"], Attribute="userData"
        )["UserData"]["Value"]
        known = read(base64.b64decode(data)).known
        assert known.items() >= {k: v for k, v in vars(machine.values).items() if v}.items()
        places.append(gzip.decompress(base64.b64decode(data)).decode())
    places.append(json.dumps([lab.ec2.describe_tags(), lab.ec2.describe_instances()], default=str))
    places.append(lab.said)
    assert any("ec2/instance" in place for place in places)  # the state is among them
    for place in places:
        assert not any(needle in place for needle in needles)


def test_everything_says_whose_it_is(lab: Lab) -> None:
    things = [
        *lab.instances().values(),
        *lab.ec2.describe_volumes()["Volumes"],
        *lab.ec2.describe_nat_gateways()["NatGateways"],
        *(group for name, group in lab.groups().items() if name != "default"),
        *lab.ec2.describe_addresses()["Addresses"],
    ]
    assert len(things) == 2 + 4 + 1 + 2 + 2
    for thing in things:
        tags = _tags(thing)
        assert tags["secondlock:stack"] == STACK
        assert tags["secondlock:cost-centre"] == "physics"
    (alice, _) = lab.plan().machines
    wanted = machine_tags(AwsSettings.of(lab.plan().settings), alice)
    assert wanted.items() <= _tags(lab.instances()["alice"]).items()
    assert wanted.items() <= _tags(lab.volumes()["alice"]).items()


def test_outputs_say_how_to_get_there(lab: Lab) -> None:
    machines, instances = lab.project.machines(), lab.instances()
    for name, public in (("alice", True), ("bob", False)):
        machine, instance = machines[name], instances[name]
        address = instance["PublicIpAddress"] if public else instance["InstanceId"]
        assert machine == {
            "address": address,
            "port": 22,
            "host_key": next(each.host_key for each in lab.plan().machines if each.name == name),
            "running": True,
            "serial": 1,
            "researchers": [name],
            "target": "aws",
            "directory": "",
            "instance_id": instance["InstanceId"],
            "region": REGION,
            "zone": instance["Placement"]["AvailabilityZone"],
            "log_group": f"/secondlock/{STACK}",
            "public": public,
        }


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path, lab: Lab) -> None:
    project = AwsProject(tmp_path / "project", lab.cloud, zones="eu-west-1a,us-east-1a")
    project.configure(instanceType="p5.48xlarge", onDestroy="", baseImage="debian")
    project.request("alice", machine={"cpus": "4"})
    code, out = project.run("up", "--yes", "--skip-preview")
    assert code != 0
    for part in ("more than one region", "Hopper", "onDestroy", "such as ami-", "alice.yaml:"):
        assert part in out
    project.configure(zones=ZONES[0], instanceType="g5.xlarge", onDestroy="delete")
    project.configure(baseImage=lab.cloud.image())
    project.request("alice", machine={"cpus": 4, "zone": ZONES[1], "root_disk_gib": 8})
    code, out = project.run("up", "--yes", "--skip-preview")
    assert code != 0
    for part in ("machine.cpus: the instance type says it", f"`{ZONES[1]}` is none of"):
        assert part in out
    assert "Traceback" not in out
    assert project.resources() == []


def test_all_that_happens_to_a_lab(lab_of_its_own: Lab) -> None:
    lab = lab_of_its_own
    project = lab.project
    was, data = lab.instances(), lab.volumes()
    address = project.machines()["alice"]["address"]

    # A new base image is for new machines: those that live are told apart.
    newer = lab.cloud.image(1)
    project.configure(baseImage=newer)
    out = project.succeed("preview", "--expect-no-changes")
    assert "alice is behind" in out
    assert "bob is behind" in out
    assert "until `rebuild:` in its request is raised from 0" in out

    # What runs there goes on to that of a later day, in this preview and in no other.
    brought_up = "what runs there will be brought up to this Secondlock"
    assert brought_up not in out
    project.later_day()
    out = project.succeed("preview")
    assert {name for name in was if f"{name}: {brought_up}" in out} == {"alice", "bob"}
    project.today()

    # A home can only grow.
    project.request("alice", machine={"home_disk_gib": 10})
    code, out = project.run("preview")
    assert code != 0
    assert "alice: its home has 20 GiB and cannot shrink to 10 (raise home_disk_gib in" in out
    assert "Traceback" not in out
    project.request("alice", machine={"home_disk_gib": 30})
    assert "1 to update" in project.succeed("preview")
    project.request("alice", machine={})

    # A new phone reaches the machine by its parameter, and nothing else changes.
    before, _ = lab.roster("alice")
    project.secondlock("rotate", "alice")
    out = project.up()
    assert "2 updated" in out
    after, serial = lab.roster("alice")
    assert serial == 2
    assert _codes(before, "alice").isdisjoint(_codes(after, "alice"))
    assert lab.instances()["alice"]["InstanceId"] == was["alice"]["InstanceId"]

    # Alice wants her machine made anew, bob leaves, carol comes.
    project.request("alice", rebuild=1)
    project.secondlock("revoke", "bob")
    project.request("carol", machine={"zone": ZONES[0], "spot": True}, until="2030-01-31")
    out = project.succeed("preview")
    assert "alice would be shut down and made anew" in out
    assert "carol would be" not in out
    project.up()
    now = lab.instances()
    assert sorted(now) == ["alice", "carol"]
    assert now["alice"]["InstanceId"] != was["alice"]["InstanceId"]
    assert now["alice"]["ImageId"] == newer
    assert lab.volumes()["alice"]["VolumeId"] == data["alice"]["VolumeId"]
    (attached,) = lab.volumes()["alice"]["Attachments"]
    assert attached["InstanceId"] == now["alice"]["InstanceId"]
    assert project.machines()["alice"]["address"] == address == now["alice"]["PublicIpAddress"]
    assert now["carol"]["Placement"]["AvailabilityZone"] == ZONES[0]
    assert _tags(now["carol"])["secondlock:until"] == "2030-01-31"
    assert "bob" not in str(lab.ssm.describe_parameters()["Parameters"])
    assert "bob" not in str(lab.iam.list_roles()["Roles"])
    assert data["bob"]["VolumeId"] not in str(lab.ec2.describe_volumes()["Volumes"])

    # A machine of spare capacity becomes one as all others, and its request ends before it does.
    project.request("carol", machine={"zone": ZONES[0]})
    out = project.succeed("preview")
    assert "carol would be shut down and made anew" in out
    assert re.search(r"SpotRequest carol +delete", out)

    project.succeed("destroy", "--yes", "--skip-preview")
    assert project.resources() == []
    assert _left(lab) == []


def _codes(roster: str, researcher: str) -> set[str]:
    return set(json.loads(roster)["researchers"][researcher]["emergency_codes"])


def _left(lab: Lab) -> list[Any]:
    """Whatever of the lab AWS still has; a key whose deletion is pending is said to stay."""
    ec2, path = lab.ec2, f"/secondlock/{STACK}/"
    keys = [each["KeyId"] for each in lab.kms.list_keys()["Keys"]]
    states = [lab.kms.describe_key(KeyId=key)["KeyMetadata"] for key in keys]
    return [
        *lab.instances(),
        *ec2.describe_volumes()["Volumes"],
        *(lab.snapshots() - lab.others),
        *ec2.describe_addresses()["Addresses"],
        *(vpc for vpc in ec2.describe_vpcs()["Vpcs"] if not vpc["IsDefault"]),
        *(nat for nat in ec2.describe_nat_gateways()["NatGateways"] if nat["State"] != "deleted"),
        *(
            group
            for group in ec2.describe_security_groups()["SecurityGroups"]
            if "secondlock" in group["GroupName"]
        ),
        *(
            each
            for each in lab.ssm.describe_parameters()["Parameters"]
            if each["Name"].startswith("/secondlock")
        ),
        *lab.iam.list_roles(PathPrefix=path)["Roles"],
        *lab.iam.list_instance_profiles(PathPrefix=path)["InstanceProfiles"],
        *lab.iam.list_policies(Scope="Local")["Policies"],
        *lab.logs.describe_log_groups()["logGroups"],
        *lab.cloud.client("s3").list_buckets()["Buckets"],
        *(
            each
            for each in ec2.describe_vpc_endpoints()["VpcEndpoints"]
            if each["State"] != "deleted"
        ),
        *(state["Arn"] for state in states if state["KeyState"] == "Enabled"),
    ]
