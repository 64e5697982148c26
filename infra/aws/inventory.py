"""What there is of a stack in EC2 that costs or keeps data, whatever its state knows of it.

EC2 tells it by the tags that everything gets in the call that makes it. Not so a spot request,
which the AWS provider makes without tags: it names the security group of its machine. What costs
nothing and keeps nothing (the VPC with all that is in it, roles) is not looked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.aws.tags import IMAGE_TAG, RESEARCHER_TAG, STACK_TAG, security_group_name
from infra.model.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import FilterTypeDef, InstanceTypeDef, TagTypeDef, VolumeTypeDef

    from infra.aws.command import CommandLine

_NOBODY = "nobody"
_LIVING = ["pending", "running", "stopping", "stopped"]
_KEPT = ["creating", "available", "in-use", "error"]  # of volumes
_WAITING = ["open", "active", "disabled"]  # of spot requests: each may start an instance
_THERE = ["pending", "available"]  # of NAT gateways


@dataclass(frozen=True)
class Item:
    """Something of a stack that is not on its way out."""

    id: str
    what: str
    state: str
    ends: tuple[str, ...]
    """What ends it for good, in this order: commands of `aws ec2`."""
    machine: str = _NOBODY
    version: str | None = None
    """Of an image: the ARN that Image Builder has for it."""

    def command(self, aws: CommandLine) -> str:
        """What ends it for good."""
        return " && ".join(aws.line(f"ec2 {end}") for end in self.ends)

    def problem(self, aws: CommandLine) -> Problem:
        """That it is there and the stack's state does not know it."""
        what = f"the stack's state does not know {self.id}, {self.what}: {self.state}"
        return Problem(None, None, what, self.command(aws))


def inventory(ec2: EC2Client, stack: str) -> list[Item]:
    """All of it, in the order in which it has to be ended. Raises botocore's errors."""
    return [
        *machines(ec2, stack),
        *_gateways(ec2, stack),
        *_addresses(ec2, stack),
        *data_volumes(ec2, stack),
        *_images(ec2, stack),
    ]


def machines(ec2: EC2Client, stack: str, machine: str | None = None) -> list[Item]:
    """What runs of a stack or of one machine of it, and spot requests that may start more.

    Raises botocore's errors.
    """
    instances = list(_instances(ec2, stack, machine))
    running = {one.get("InstanceId", "") for one in instances}
    requests = _spot_requests(ec2, stack, running)
    waiting = [one for one in requests if machine in (None, one.machine)]
    return [*waiting, *(_machine(one) for one in instances)]


def data_volumes(ec2: EC2Client, stack: str, machine: str | None = None) -> list[Item]:
    """Volumes of a stack or of one machine that no instance takes along. Raises botocore's errors.

    A machine's root disk goes with it.
    """
    filters = [*_of(stack, machine), _one_of("status", _KEPT)]
    pages = ec2.get_paginator("describe_volumes").paginate(Filters=filters)
    volumes = [one for page in pages for one in page["Volumes"]]
    return [_volume(one) for one in volumes if not _goes_with_an_instance(one)]


def _of(stack: str, machine: str | None = None) -> list[FilterTypeDef]:
    tags = {STACK_TAG: stack} | ({RESEARCHER_TAG: machine} if machine else {})
    return [_one_of(f"tag:{key}", [value]) for key, value in tags.items()]


def _one_of(name: str, values: Sequence[str]) -> FilterTypeDef:
    return {"Name": name, "Values": values}


def _tag(tags: Sequence[TagTypeDef], key: str) -> str | None:
    return next((tag.get("Value") for tag in tags if tag.get("Key") == key), None)


def _instances(ec2: EC2Client, stack: str, machine: str | None = None) -> Iterator[InstanceTypeDef]:
    filters = [*_of(stack, machine), _one_of("instance-state-name", _LIVING)]
    for page in ec2.get_paginator("describe_instances").paginate(Filters=filters):
        for group in page["Reservations"]:
            yield from group["Instances"]


def _machine(one: InstanceTypeDef) -> Item:
    """A spot machine's request would start another one: it is cancelled first."""
    name, machine = one.get("InstanceId", ""), _whose(one.get("Tags", []))
    request = one.get("SpotInstanceRequestId")
    cancel = (_cancel(request),) if request else ()
    ends = (*cancel, f"terminate-instances --instance-ids {name}")
    return Item(name, f"a machine of {machine}", one["State"].get("Name", "there"), ends, machine)


def _whose(tags: Sequence[TagTypeDef]) -> str:
    return _tag(tags, RESEARCHER_TAG) or _NOBODY


def _cancel(request: str) -> str:
    return f"cancel-spot-instance-requests --spot-instance-request-ids {request}"


def _spot_requests(ec2: EC2Client, stack: str, running: Collection[str]) -> Iterator[Item]:
    """Those that have none of the instances `running`, and may start one."""
    ours = security_group_name(stack, "")
    pages = ec2.get_paginator("describe_spot_instance_requests").paginate(
        Filters=[_one_of("state", _WAITING)]
    )
    for one in (each for page in pages for each in page["SpotInstanceRequests"]):
        groups = one.get("LaunchSpecification", {}).get("SecurityGroups", [])
        names = [each.get("GroupName", "") for each in groups]
        machine = next((name.removeprefix(ours) for name in names if name.startswith(ours)), None)
        if machine is not None and one.get("InstanceId") not in running:
            name = one.get("SpotInstanceRequestId", "")
            what = f"a spot request of {machine}"
            yield Item(name, what, str(one.get("State", "there")), (_cancel(name),), machine)


def _gateways(ec2: EC2Client, stack: str) -> Iterator[Item]:
    filters = [*_of(stack), _one_of("state", _THERE)]
    for page in ec2.get_paginator("describe_nat_gateways").paginate(Filters=filters):
        for one in page["NatGateways"]:
            name = one.get("NatGatewayId", "")
            # Its address cannot be released before it is gone.
            ends = (
                f"delete-nat-gateway --nat-gateway-id {name}",
                f"wait nat-gateway-deleted --nat-gateway-ids {name}",
            )
            yield Item(name, "a NAT gateway", str(one.get("State", "there")), ends)


def _addresses(ec2: EC2Client, stack: str) -> Iterator[Item]:
    for one in ec2.describe_addresses(Filters=_of(stack))["Addresses"]:
        name, machine = one.get("AllocationId", ""), _tag(one.get("Tags", []), RESEARCHER_TAG)
        release = f"release-address --allocation-id {name}"
        what = f"an address ({one.get('PublicIp')})" + (f" of {machine}" if machine else "")
        held = one.get("AssociationId")
        free = (f"disassociate-address --association-id {held}",) if one.get("InstanceId") else ()
        yield Item(name, what, "in use" if held else "idle", (*free, release), machine or _NOBODY)


def _goes_with_an_instance(volume: VolumeTypeDef) -> bool:
    return any(each.get("DeleteOnTermination") for each in volume.get("Attachments", []))


def _volume(one: VolumeTypeDef) -> Item:
    name, machine = one.get("VolumeId", ""), _whose(one.get("Tags", []))
    what = f"a data volume of {machine} ({one.get('Size')} GiB, with all that is on it)"
    # Of a machine that is being ended it is in use for a little longer.
    wait = (f"wait volume-available --volume-ids {name}",) if one.get("Attachments") else ()
    ends = (*wait, f"delete-volume --volume-id {name}")
    return Item(name, what, str(one.get("State", "there")), ends, machine)


def _images(ec2: EC2Client, stack: str) -> Iterator[Item]:
    for one in ec2.describe_images(Owners=["self"], Filters=_of(stack))["Images"]:
        name, disks = one.get("ImageId", ""), one.get("BlockDeviceMappings", [])
        snapshots = [each.get("Ebs", {}).get("SnapshotId") for each in disks]
        ends = [f"deregister-image --image-id {name}"]
        ends += [f"delete-snapshot --snapshot-id {each}" for each in snapshots if each]
        version = _tag(one.get("Tags", []), IMAGE_TAG)
        state = str(one.get("State", "there"))
        yield Item(name, "a baked image", state, tuple(ends), version=version)
