"""What an `up` that is killed leaves running in EC2 is never out of sight, and never made twice."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import boto3
import yaml
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends

from cli import project as cli_project
from cli.__main__ import main
from infra.aws.command import CommandLine
from infra.aws.inventory import inventory
from infra.aws.tags import IMAGE_TAG
from tests.support.cloud import REGION, ZONES
from tests.support.project import STACK, wait_until

if TYPE_CHECKING:
    import pytest

    from tests.support.cloud import AwsProject


AWS = CommandLine(REGION, "lab")
WHERE = f"--region {REGION} --profile lab"


def _by_profile(lab: AwsProject) -> None:
    """Have the stack ask by a profile of the person's, and by nothing else."""
    file = lab.place / "aws-config"
    keys = "aws_access_key_id = testing\naws_secret_access_key = testing\n"
    file.write_text(f"[profile lab]\n{keys}")
    lab.environment["AWS_CONFIG_FILE"] = str(file)
    path = lab.place / "stacks" / f"Pulumi.{STACK}.yaml"
    document = yaml.safe_load(path.read_text())
    for name in ("aws:accessKey", "aws:secretKey"):
        del document["config"][name]
    document["config"]["aws:profile"] = "lab"
    path.write_text(yaml.safe_dump(document))


def _instances(lab: AwsProject, name: str) -> list[dict[str, Any]]:
    found = lab.cloud.client("ec2").describe_instances(
        Filters=[
            {"Name": "tag:secondlock:researcher", "Values": [name]},
            {"Name": "instance-state-name", "Values": ["pending", "running"]},
        ]
    )["Reservations"]
    return [one for group in found for one in group["Instances"]]


def _told(
    lab: AwsProject,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> str:
    """What a command says as JSON that finds something wrong."""
    with monkeypatch.context() as shell, patch.object(cli_project, "ROOT", lab.place):
        for name, value in lab.environment.items():
            shell.setenv(name, value)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            shell.delenv(name, raising=False)  # the stack's own are those that count
        capsys.readouterr()
        assert main([command, "--stack", STACK, "--json"]) == 1
    return capsys.readouterr().out


def test_what_a_killed_up_leaves_is_named_until_it_is_gone(
    lab: AwsProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _by_profile(lab)
    lab.request("alice")
    lab.up()
    lab.request("victim")
    process = lab.start("up", "--yes", "--skip-preview")
    wait_until(lambda: _instances(lab, "victim"), "EC2 has the machine")
    lab.kill_up(process)
    time.sleep(1)
    lab.succeed("cancel", "--yes", STACK)
    (orphan,) = _instances(lab, "victim")

    # Everything of it was tagged in the call that made it.
    root = orphan["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    (volume,) = lab.cloud.client("ec2").describe_volumes(VolumeIds=[root])["Volumes"]
    for thing in (orphan, volume):
        tags = {tag["Key"]: tag["Value"] for tag in thing["Tags"]}
        assert tags["secondlock:stack"] == STACK
        assert tags["secondlock:researcher"] == "victim"

    end = f"aws ec2 terminate-instances --instance-ids {orphan['InstanceId']} {WHERE}"
    code, out = lab.run("up", "--yes", "--skip-preview")
    assert code != 0
    assert end in out
    assert "Traceback" not in out
    assert len(_instances(lab, "victim")) == 1
    for command in ("status", "doctor"):
        assert end in _told(lab, monkeypatch, capsys, command)

    flags = ["--yes", "--skip-preview", "--clear-pending-creates"]
    lab.succeed("refresh", *flags)
    code, out = lab.run("destroy", "--yes", "--skip-preview")
    assert code != 0
    assert end in out
    assert "Traceback" not in out
    lab.cloud.client("ec2").terminate_instances(InstanceIds=[orphan["InstanceId"]])
    lab.succeed("destroy", "--yes", "--skip-preview")
    assert lab.resources() == []


def test_volumes_addresses_and_gateways_are_named_and_no_volume_is_made_twice(
    lab: AwsProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.request("alice", machine={"public": False})
    lab.up()
    known = [lab.resource("aws:ec2/natGateway:NatGateway", STACK)["id"]]
    known += [lab.resource("aws:ebs/volume:Volume", "alice")["id"]]
    ec2 = lab.cloud.client("ec2")
    (volume,) = _made("volume", ec2.create_volume, AvailabilityZone=ZONES[0], Size=21)
    (address,) = _made("elastic-ip", ec2.allocate_address, Domain="vpc")
    (network,) = ec2.describe_nat_gateways(NatGatewayIds=known[:1])["NatGateways"]
    (gateway,) = _made(
        "natgateway", ec2.create_nat_gateway, SubnetId=network["SubnetId"], AllocationId=address
    )
    delete = f"aws ec2 delete-volume --volume-id {volume} --region {REGION}"
    ends = [
        f"aws ec2 delete-nat-gateway --nat-gateway-id {gateway} --region {REGION}",
        f"aws ec2 release-address --allocation-id {address} --region {REGION}",
        delete,
    ]

    def names_all(out: str) -> None:
        places = [out.find(end) for end in ends]
        assert places == sorted(places), out
        assert -1 not in places, out
        assert not any(f"{one}," in out for one in known), out
        assert "Traceback" not in out

    for command in ("status", "doctor"):
        names_all(_told(lab, monkeypatch, capsys, command))

    lab.request("carol")
    code, out = lab.run("up", "--yes", "--skip-preview")
    assert code != 0
    assert delete in out
    assert "Traceback" not in out
    mine = [{"Name": "tag:secondlock:researcher", "Values": ["carol"]}]
    assert [one["VolumeId"] for one in ec2.describe_volumes(Filters=mine)["Volumes"]] == [volume]

    code, out = lab.run("destroy", "--yes", "--skip-preview")
    assert code != 0
    names_all(out)
    ec2.delete_nat_gateway(NatGatewayId=gateway)
    ec2.release_address(AllocationId=address)
    ec2.delete_volume(VolumeId=volume)
    lab.succeed("destroy", "--yes", "--skip-preview")
    assert lab.resources() == []


def test_no_machine_is_made_beside_a_spot_request_that_may_start_one(lab: AwsProject) -> None:
    ec2 = lab.cloud.client("ec2")
    requests = {}
    for name in ("alice", "bob"):
        group = f"secondlock/{STACK}/{name}"
        ec2.create_security_group(GroupName=group, Description="that of an `up` that was killed")
        asked = {"ImageId": lab.cloud.image(), "SecurityGroups": [group]}
        (made,) = ec2.request_spot_instances(LaunchSpecification=asked, Type="persistent")[
            "SpotInstanceRequests"
        ]
        requests[name] = made["SpotInstanceRequestId"]
    lab.request("alice", machine={"spot": True})
    code, out = lab.run("up", "--yes", "--skip-preview")
    assert code != 0
    cancel = "aws ec2 cancel-spot-instance-requests --spot-instance-request-ids"
    assert f"{cancel} {requests['alice']} --region {REGION}" in out
    assert requests["bob"] not in out
    assert "Traceback" not in out
    assert _instances(lab, "alice") == []
    ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[requests["alice"]])
    lab.up()
    assert len(_instances(lab, "alice")) == 1


def _made(kind: str, make: Any, **what: Any) -> list[str]:
    """Make something that is carol's by its tags; its id."""
    tags = [
        {"Key": "secondlock:stack", "Value": STACK},
        {"Key": "secondlock:researcher", "Value": "carol"},
    ]
    answer = make(**what, TagSpecifications=[{"ResourceType": kind, "Tags": tags}])
    answer = answer.get("NatGateway", answer)
    return [answer[one] for one in ("VolumeId", "NatGatewayId", "AllocationId") if one in answer][
        :1
    ]


def test_a_spot_machine_ends_with_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    with mock_aws():
        ec2: Any = boto3.client("ec2", region_name=REGION)
        tags = [
            {"Key": "secondlock:stack", "Value": STACK},
            {"Key": "secondlock:researcher", "Value": "alice"},
        ]
        made = ec2.run_instances(
            ImageId="ami-debian",
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        )["Instances"][0]["InstanceId"]
        instance: Any = ec2_backends[DEFAULT_ACCOUNT_ID][REGION].get_instance(made)
        instance.spot_instance_request_id = "sir-0123abcd"
        assert inventory(ec2, "other") == []
        (found,) = inventory(ec2, STACK)
        cancel, end = found.command(AWS).split(" && ")
        assert "cancel-spot-instance-requests --spot-instance-request-ids sir-0123abcd" in cancel
        assert made in end


def test_a_spot_request_without_a_machine_and_an_image_are_told_from_those_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    with mock_aws():
        ec2: Any = boto3.client("ec2", region_name=REGION)
        requests = {}
        for name in (f"secondlock/{STACK}/alice", f"secondlock/{STACK}2/alice", "default"):
            if name != "default":
                ec2.create_security_group(GroupName=name, Description="its door")
            (made,) = ec2.request_spot_instances(
                LaunchSpecification={"ImageId": "ami-debian", "SecurityGroups": [name]}
            )["SpotInstanceRequests"]
            requests[name] = made["SpotInstanceRequestId"]
        tags = [
            {"Key": "secondlock:stack", "Value": STACK},
            {"Key": IMAGE_TAG, "Value": "arn:aws:imagebuilder:image/trial/1.0.0/1"},
        ]
        image = ec2.register_image(
            Name="baked",
            BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-1"}}],
        )["ImageId"]
        ec2.create_tags(Resources=[image], Tags=tags)
        request, baked = inventory(ec2, STACK)
        ours = requests[f"secondlock/{STACK}/alice"]
        assert (request.id, request.machine) == (ours, "alice")
        assert request.command(AWS) == (
            f"aws ec2 cancel-spot-instance-requests --spot-instance-request-ids {ours} {WHERE}"
        )
        assert (baked.id, baked.version) == (image, tags[1]["Value"])
        assert f"deregister-image --image-id {image}" in baked.command(AWS)
