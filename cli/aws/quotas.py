"""Service quotas of AWS that a stack counts against.

Names and codes as the Service Quotas console has them; `aws service-quotas list-service-quotas
--service-code ec2` prints them all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infra.aws.command import CommandLine


@dataclass(frozen=True)
class Quota:
    """A quota, by the codes that its API takes."""

    service: str
    code: str
    name: str

    def request(self, wanted: int, aws: CommandLine) -> str:
        """The command that asks AWS for more."""
        return aws.line(
            f"service-quotas request-service-quota-increase --service-code {self.service} "
            f"--quota-code {self.code} --desired-value {wanted}"
        )


ELASTIC_IPS = Quota("ec2", "L-0263D0A3", "EC2-VPC Elastic IPs")
VPCS = Quota("vpc", "L-F678F1CE", "VPCs per Region")
DISKS = Quota("ebs", "L-7A658B76", "Storage for General Purpose SSD (gp3) volumes, in TiB")
ROLES = Quota("iam", "L-FE177D64", "Roles per account")
PROFILES = Quota("iam", "L-6E65F664", "Instance profiles per account")

STANDARD_PARAMETERS = 10_000
"""Standard parameters of an account and region; Systems Manager raises it for nobody."""

_ON_DEMAND = {
    "g": Quota("ec2", "L-DB2E81BA", "Running On-Demand G and VT instances"),
    "p": Quota("ec2", "L-417A185B", "Running On-Demand P instances"),
    "": Quota("ec2", "L-1216C47A", "Running On-Demand Standard instances"),
}
_SPOT = {
    "g": Quota("ec2", "L-3819A6DF", "All G and VT Spot Instance Requests"),
    "p": Quota("ec2", "L-7212CCBC", "All P Spot Instance Requests"),
    "": Quota("ec2", "L-34B43A08", "All Standard Spot Instance Requests"),
}


def vcpu_quota(instance_type: str, *, spot: bool) -> Quota:
    """The quota, counted in vCPUs, that an instance type falls under."""
    letters = re.match("[a-z]*", instance_type)
    family = {"g": "g", "gr": "g", "vt": "g", "p": "p"}.get(letters[0] if letters else "", "")
    return (_SPOT if spot else _ON_DEMAND)[family]
