"""What Image Builder leaves goes with the stack: moto's EC2, by itself and in the real engine."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from pulumi.dynamic import Config

from infra.aws.client import client_of
from infra.aws.leftovers import remove
from infra.aws.spot import cancel
from infra.aws.tags import IMAGE_TAG
from tests.support.cloud import NOBODY, REGION, Cloud
from tests.support.project import Program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_ec2 import EC2Client

IMAGE = f"arn:aws:imagebuilder:{REGION}:123456789012:image/trial/1.0.0/1"
PROGRAM = """\
import pulumi
from infra.aws.leftovers import Leftovers

config = pulumi.Config()
left = Leftovers("image", image=config.require("image"), ami=config.require("ami"),
                 region=config.require("place"))
pulumi.export("ami", left.ami)
"""


def _bake(ec2: EC2Client, image: str | None) -> str:
    """An AMI with a snapshot of its own, as Image Builder marks it."""
    run = ec2.run_instances(ImageId="ami-debian", MinCount=1, MaxCount=1)
    made = ec2.create_image(InstanceId=run["Instances"][0]["InstanceId"], Name=f"{time.time_ns()}")
    if image is not None:
        ec2.create_tags(Resources=[made["ImageId"]], Tags=[{"Key": IMAGE_TAG, "Value": image}])
    return made["ImageId"]


def _mine(ec2: EC2Client) -> set[str]:
    return {image["ImageId"] for image in ec2.describe_images(Owners=["self"])["Images"]}


def _snapshots(ec2: EC2Client, *amis: str) -> set[str]:
    """Those of the AMIs, as long as they are there."""
    images = ec2.describe_images(ImageIds=list(amis))["Images"]
    return {
        device["Ebs"]["SnapshotId"] for image in images for device in image["BlockDeviceMappings"]
    }


def _left(ec2: EC2Client, snapshots: set[str]) -> set[str]:
    found = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    return snapshots & {each["SnapshotId"] for each in found}


def _error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "as EC2 says it"}}, "Operation")


@pytest.fixture
def ec2(monkeypatch: pytest.MonkeyPatch) -> Iterator[EC2Client]:
    """moto's EC2, in this process."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    # moto else makes a thousand of them.
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    with mock_aws():
        yield boto3.client("ec2", region_name=REGION)


def test_images_and_snapshots_go_and_those_of_others_stay(ec2: EC2Client) -> None:
    named, copy = _bake(ec2, None), _bake(ec2, IMAGE)
    other, foreign = _bake(ec2, IMAGE.replace("/1.0.0/1", "/1.0.0/2")), _bake(ec2, None)
    gone, kept = _snapshots(ec2, named, copy), _snapshots(ec2, other, foreign)
    assert len(gone | kept) == 4
    remove(ec2, IMAGE, named)
    assert _mine(ec2) & {named, copy, other, foreign} == {other, foreign}
    assert _left(ec2, gone) == set()
    assert _left(ec2, kept) == kept
    remove(ec2, IMAGE, named)
    assert _left(ec2, kept) == kept


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("deregister_image", "InvalidAMIID.Unavailable"),
        ("deregister_image", "InvalidAMIID.NotFound"),
        ("delete_snapshot", "InvalidSnapshot.NotFound"),
    ],
)
def test_what_someone_removed_meanwhile_is_no_fault(
    ec2: EC2Client, monkeypatch: pytest.MonkeyPatch, call: str, code: str
) -> None:
    named, copy = _bake(ec2, None), _bake(ec2, IMAGE)
    snapshots = _snapshots(ec2, named, copy)
    real = getattr(ec2, call)

    def both(**arguments: Any) -> None:
        real(**arguments)
        raise _error(code)

    monkeypatch.setattr(ec2, call, both)
    remove(ec2, IMAGE, named)
    assert _mine(ec2) & {named, copy} == set()
    assert _left(ec2, snapshots) == set()


def test_a_spot_request_ends_and_may_have_ended_before(
    ec2: EC2Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ec2.request_spot_instances(
        InstanceCount=2, Type="persistent", LaunchSpecification={"ImageId": "ami-debian"}
    )["SpotInstanceRequests"]
    mine, other = (each["SpotInstanceRequestId"] for each in made)
    cancel(ec2, mine)
    states = {
        each["SpotInstanceRequestId"]: each["State"]
        for each in ec2.describe_spot_instance_requests()["SpotInstanceRequests"]
    }
    assert states.get(mine, "cancelled") == "cancelled"
    assert states[other] in {"open", "active"}

    def gone(**_: Any) -> None:
        raise _error("InvalidSpotInstanceRequestID.NotFound")

    monkeypatch.setattr(ec2, "cancel_spot_instance_requests", gone)
    cancel(ec2, mine)


def test_a_snapshot_that_is_in_use_a_little_longer_is_waited_for(
    ec2: EC2Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    ami = _bake(ec2, IMAGE)
    snapshots = _snapshots(ec2, ami)
    real, tries = ec2.delete_snapshot, [0]

    def late(**arguments: Any) -> None:
        tries[0] += 1
        if tries[0] < 3:
            raise _error("InvalidSnapshot.InUse")
        real(**arguments)

    monkeypatch.setattr(ec2, "delete_snapshot", late)
    monkeypatch.setattr("infra.aws.leftovers.PAUSE_SECONDS", 0.01)
    remove(ec2, IMAGE, ami)
    assert _left(ec2, snapshots) == set()


def test_what_may_not_be_removed_is_a_fault(
    ec2: EC2Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    ami = _bake(ec2, IMAGE)

    def denied(**_: Any) -> None:
        raise _error("UnauthorizedOperation")

    monkeypatch.setattr(ec2, "deregister_image", denied)
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        remove(ec2, IMAGE, ami)


@pytest.mark.parametrize("wanted", [{"aws:accessKey": "AKIAOURS"}, {}])
def test_credentials_are_those_of_the_stacks_provider(
    ec2: EC2Client, wanted: dict[str, str]
) -> None:
    settings = {"aws:secretKey": "x", "aws:endpoints": '[{"ec2": "http://here"}]', **wanted}
    client = client_of(Config(settings, "p").get, REGION)
    assert client.meta.endpoint_url == "http://here"
    assert client.meta.region_name == REGION
    # Without any in the configuration, those of the environment: moto's.
    assert _access_key(client) == wanted.get("aws:accessKey", os.environ["AWS_ACCESS_KEY_ID"])


def test_roles_are_assumed_as_the_stacks_provider_does(ec2: EC2Client) -> None:
    role = {"roleArn": "arn:aws:iam::123456789012:role/admin", "externalId": "lab"}
    settings = {"aws:assumeRoles": json.dumps([role, {"roleArn": role["roleArn"] + "2"}])}
    assert _access_key(client_of(Config(settings, "p").get, REGION)).startswith("ASIA")


def _access_key(client: Any) -> str:
    """Whose credentials a client signs with."""
    return str(client._request_signer._credentials.access_key)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """moto's EC2, in a process of its own."""
    cloud = Cloud(tmp_path_factory.mktemp("cloud"))
    yield cloud
    cloud.end()


@pytest.fixture
def stack(tmp_path: Path, cloud: Cloud) -> Program:
    """A program of one resource, in the real engine."""
    if shutil.which("pulumi", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("no pulumi in the virtual environment: make setup")
    stack = Program(tmp_path / "stack", PROGRAM, **NOBODY)
    stack.succeed("config", "set", "place", REGION)
    stack.succeed("config", "set", "aws:accessKey", "test")
    stack.succeed("config", "set", "--secret", "aws:secretKey", "very-secret-key")
    stack.succeed("config", "set", "--path", "aws:endpoints[0].ec2", cloud.url)
    return stack


def _up(stack: Program, ami: str, image: str = IMAGE) -> str:
    """Whoever starts from `ami` of `image`."""
    stack.succeed("config", "set", "ami", ami)
    stack.succeed("config", "set", "image", image)
    return stack.up()


def test_destroy_leaves_neither_image_nor_snapshot(stack: Program, cloud: Cloud) -> None:
    ec2 = cloud.client("ec2")
    first, second = _bake(ec2, IMAGE), _bake(ec2, f"{IMAGE}1")
    old, new = _snapshots(ec2, first), _snapshots(ec2, second)
    _up(stack, first)
    assert "2 unchanged" in _up(stack, first)
    assert json.loads(stack.succeed("stack", "output", "--json")) == {"ami": first}
    # Another recipe: the old image goes when the new one is there.
    _up(stack, second, f"{IMAGE}1")
    assert _mine(ec2) & {first, second} == {second}
    assert _left(ec2, old | new) == new
    exported = stack.succeed("stack", "export")
    assert "very-secret-key" not in exported
    stack.succeed("destroy", "--yes", "--skip-preview")
    assert _mine(ec2) & {first, second} == set()
    assert _left(ec2, old | new) == set()


def test_a_destroy_that_cannot_reach_aws_says_so_and_can_be_repeated(
    stack: Program, cloud: Cloud
) -> None:
    stack.environment["AWS_MAX_ATTEMPTS"] = "1"
    # A provider goes by the configuration of the last `up`, as AWS's own does.
    stack.succeed("config", "set", "--path", "aws:endpoints[0].ec2", "http://127.0.0.1:9")
    _up(stack, "ami-00000000000000001")
    code, out = stack.run("destroy", "--yes", "--skip-preview")
    assert code != 0
    assert "could not be removed" in out
    assert "ec2:DeregisterImage" in out
    assert "Traceback" not in out
    stack.succeed("config", "set", "--path", "aws:endpoints[0].ec2", cloud.url)
    _up(stack, "ami-00000000000000001")
    stack.succeed("destroy", "--yes", "--skip-preview")
