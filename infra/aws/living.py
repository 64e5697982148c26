"""The instances of a stack that there are, whatever its state knows of them.

EC2 tells them by the tags that every machine gets in the call that makes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.aws.tags import RESEARCHER_TAG, STACK_TAG

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import FilterTypeDef

_LIVING = ["pending", "running", "stopping", "stopped"]


@dataclass(frozen=True)
class Living:
    """An instance of a stack that is not on its way out."""

    id: str
    machine: str
    state: str
    spot_request: str | None

    def command(self, region: str) -> str:
        """What ends it for good: a spot machine's request would start another one."""
        there = f"--region {region}"
        end = f"aws ec2 terminate-instances --instance-ids {self.id} {there}"
        if self.spot_request is None:
            return end
        ids = f"--spot-instance-request-ids {self.spot_request}"
        return f"aws ec2 cancel-spot-instance-requests {ids} {there} && {end}"

    def told(self, region: str) -> str:
        """What it is, and what ends it."""
        return (
            f"{self.id}, a machine of {self.machine} that is {self.state}: {self.command(region)}"
        )


def living(ec2: EC2Client, stack: str, machine: str | None = None) -> list[Living]:
    """The instances of a stack, or of one machine of it. Raises botocore's errors."""
    found = []
    tags = {STACK_TAG: stack} | ({RESEARCHER_TAG: machine} if machine else {})
    filters: list[FilterTypeDef] = [{"Name": "instance-state-name", "Values": _LIVING}]
    filters += [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]
    pages = ec2.get_paginator("describe_instances").paginate(Filters=filters)
    for page in pages:
        for one in (each for group in page["Reservations"] for each in group["Instances"]):
            has = {tag.get("Key"): tag.get("Value", "") for tag in one.get("Tags", [])}
            found.append(
                Living(
                    one.get("InstanceId", ""),
                    has.get(RESEARCHER_TAG, "nobody"),
                    one["State"].get("Name", "there"),
                    one.get("SpotInstanceRequestId"),
                )
            )
    return found
