"""What an `up` that is killed leaves running in EC2 is never out of sight, and never made twice."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import boto3
import pytest
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends

from cli import project as cli_project
from cli.__main__ import main
from infra.aws.living import living
from tests.program.cloud import REGION, AwsProject, Cloud, provider_missing
from tests.program.project import STACK, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[AwsProject]:
    cloud = Cloud(tmp_path)
    try:
        yield AwsProject(tmp_path / "project", cloud)
    finally:
        cloud.end()


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


@pytest.mark.skipif(provider_missing() is not None, reason=str(provider_missing()))
def test_what_a_killed_up_leaves_is_named_until_it_is_gone(
    lab: AwsProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
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

    end = f"aws ec2 terminate-instances --instance-ids {orphan['InstanceId']} --region {REGION}"
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
        assert living(ec2, "other") == []
        (found,) = living(ec2, STACK)
        cancel, end = found.command(REGION).split(" && ")
        assert "cancel-spot-instance-requests --spot-instance-request-ids sir-0123abcd" in cancel
        assert made in end
