"""What a machine in EC2 is told where its data volume was lost and made anew."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tests.support.cloud import REGION
from tests.support.project import STACK

if TYPE_CHECKING:
    import pytest

    from tests.support.cloud import AwsProject

document: Any = importlib.import_module("guest.roster.document")
ssm: Any = importlib.import_module("guest.aws.ssm")


def _roster(lab: AwsProject) -> Any:
    """As alice's machine reads it."""
    parameter = f"/secondlock/{STACK}/roster/alice"
    where = {"region": REGION, "parameter": parameter, "endpoint": lab.cloud.url}
    return document.parse(ssm.get(where))


def _lose_the_volume(lab: AwsProject) -> None:
    """And the machine with it."""
    ec2, volume = lab.cloud.client("ec2"), lab.resource("aws:ebs/volume:Volume", "alice")["id"]
    (attached,) = ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["Attachments"]
    machine = attached["InstanceId"]
    ec2.detach_volume(VolumeId=volume, InstanceId=machine, Device=attached["Device"])
    ec2.terminate_instances(InstanceIds=[machine])
    ec2.delete_volume(VolumeId=volume)


def test_a_volume_made_anew_is_not_taken_for_a_first_one(
    lab: AwsProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    enrollment = lab.request("alice")["enrollment"]
    lab.up()
    first = _roster(lab)
    assert not first.bound_before(enrollment)  # its codes are good at once
    lab.up("--expect-no-changes")
    assert _roster(lab) == first

    _lose_the_volume(lab)
    lab.succeed("refresh", "--yes", "--skip-preview")
    lab.up()
    assert _roster(lab).bound_before(enrollment)
    lab.up("--expect-no-changes")
