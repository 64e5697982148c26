"""Preview on aws: time and memory for many requests, against a bare program with as many resources.

The provider is the real one; moto's server answers for AWS.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.plan import _medians, _request
from bench.table import Row
from tests.support.cloud import ZONES, AwsProject, Cloud, provider_missing

if TYPE_CHECKING:
    from collections.abc import Mapping

COUNTS = {1: 3, 100: 3, 1000: 1}
"""Requests, and how often their preview is measured."""

GOAL = 1.1

# The same resources with the same kind and size of inputs, and nothing that is Secondlock's.
BARE = """\
import pulumi
import pulumi_aws as aws

class Group(pulumi.ComponentResource):
    def __init__(self, name):
        super().__init__(f"bare:index:{name}", "bare")
        self.inside = pulumi.ResourceOptions(parent=self)

def tags(name):
    return {"Name": f"bare-{name}", "stack": "bare", "who": name, "cost-centre": "physics"}

TRUST = '{"Version": "2012-10-17", "Statement": []}'
POLICY = '{"Version": "2012-10-17", "Id": "%s", "Statement": []}' % ("x" * 1500)
ANYWHERE = ["0.0.0.0/0"]
keys, logs, access, rosters, network, data, machines, image = (
    Group(name).inside for name in
    ("Keys", "Logs", "Access", "Rosters", "Network", "Data", "Machines", "Image")
)
key = aws.kms.Key("bare", policy=POLICY, tags=tags(""), opts=keys)
aws.kms.Alias("bare", name="alias/bare", target_key_id=key.key_id, opts=keys)
for name in ("bare", "audit"):
    aws.cloudwatch.LogGroup(name, kms_key_id=key.arn, tags=tags(""), opts=logs)
policies = [
    aws.iam.Policy(name, policy=POLICY, tags=tags(""), opts=access) for name in "abc"
]
vpc = aws.ec2.Vpc("bare", cidr_block="10.77.0.0/16", tags=tags(""), opts=network)
aws.ec2.DefaultSecurityGroup("bare", vpc_id=vpc.id, tags=tags(""), opts=network)
gateway = aws.ec2.InternetGateway("bare", vpc_id=vpc.id, tags=tags(""), opts=network)
table = aws.ec2.RouteTable(
    "bare", vpc_id=vpc.id, routes=[{"cidr_block": ANYWHERE[0], "gateway_id": gateway.id}],
    tags=tags(""), opts=network,
)
subnets = []
for number, zone in enumerate(ZONES):
    subnet = aws.ec2.Subnet(
        zone, vpc_id=vpc.id, availability_zone=zone, cidr_block=f"10.77.{16 * number}.0/20",
        map_public_ip_on_launch=True, tags=tags(""), opts=network,
    )
    aws.ec2.RouteTableAssociation(
        zone, subnet_id=subnet.id, route_table_id=table.id, opts=network
    )
    subnets.append(subnet)
roles, outputs = [], {}
for number in range(COUNT):
    name = f"r{number}"
    role = aws.iam.Role(name, assume_role_policy=TRUST, path="/bare/", tags=tags(name), opts=access)
    roles.append(role.name)
    profile = aws.iam.InstanceProfile(
        name, role=role.name, path="/bare/", tags=tags(name), opts=access
    )
    parameter = aws.ssm.Parameter(
        name, name=f"/bare/roster/{name}", type="SecureString", key_id=key.arn, tier="Standard",
        value=pulumi.Output.secret("x" * ROSTER), overwrite=True, tags=tags(name), opts=rosters,
    )
    group = aws.ec2.SecurityGroup(
        name, name=f"bare/{name}", description="bare", vpc_id=vpc.id,
        ingress=[{"protocol": "tcp", "from_port": 22, "to_port": 22, "description": "SSH",
                  "cidr_blocks": ["198.51.100.0/24"], "ipv6_cidr_blocks": []}],
        egress=[{"protocol": "tcp", "from_port": port, "to_port": port, "description": "web",
                 "cidr_blocks": ANYWHERE} for port in (80, 443)],
        tags=tags(name), opts=network,
    )
    zone = number % len(ZONES)
    volume = aws.ebs.Volume(
        name, availability_zone=ZONES[zone], size=21, type="gp3", encrypted=True,
        kms_key_id=key.arn, final_snapshot=False, tags=tags(name), opts=data,
    )
    instance = aws.ec2.Instance(
        name, ami="ami-12345678", instance_type="g4dn.xlarge", subnet_id=subnets[zone].id,
        vpc_security_group_ids=[group.id], iam_instance_profile=profile.name,
        user_data_base64="x" * USER_DATA,
        metadata_options={"http_tokens": "required", "http_put_response_hop_limit": 1,
                          "http_endpoint": "enabled", "instance_metadata_tags": "disabled"},
        root_block_device={"encrypted": True, "kms_key_id": key.arn, "volume_type": "gp3",
                           "volume_size": 20, "delete_on_termination": True, "tags": tags(name)},
        tags={**tags(name), "rebuild": "0", "with": "0123456789abcdef"}, opts=machines,
    )
    aws.ec2.VolumeAttachment(
        name, device_name="/dev/sdf", instance_id=instance.id, volume_id=volume.id,
        stop_instance_before_detaching=True, opts=machines,
    )
    address = aws.ec2.Eip(name, domain="vpc", instance=instance.id, tags=tags(name), opts=machines)
    outputs[name] = pulumi.Output.all(
        address=address.public_ip, zone=instance.availability_zone, id=instance.id,
        state=instance.instance_state, version=parameter.version,
    )
aws.iam.PolicyAttachment("bare", policy_arn=policies[0].arn, roles=roles, opts=access)
pulumi.export("machines", outputs)
pulumi.export("enrollments", pulumi.Output.secret({
    f"r{number}": {"uri": "x" * 150, "codes": ["12345678"] * 5} for number in range(COUNT)
}))
"""
ROSTER = 1500  # bytes, about what one researcher's roster has
USER_DATA = 20_000  # characters of base64


def measure(counts: Mapping[int, int] = COUNTS) -> list[Row]:
    """Time and memory rows for each count; nothing where there is no AWS provider."""
    missing = provider_missing()
    if missing is not None:
        return [Row(f"preview on aws: not measured ({missing})", "", "")]
    rows = []
    with tempfile.TemporaryDirectory(prefix="secondlock-bench-") as folder:
        cloud = Cloud(Path(folder))
        try:
            for count, times in counts.items():
                lab = _lab(Path(folder) / f"lab{count}", cloud, count)
                bare = _bare(Path(folder) / f"bare{count}", cloud, count)
                rows += _rows(count, *_medians(lab, bare, times))
        finally:
            cloud.end()
    return rows


def _rows(count: int, ours: list[float], bare: list[float]) -> list[Row]:
    units = ((0, "seconds", "{:.1f}"), (1, "MiB at most", "{:.0f}"))
    return [
        Row(
            f"preview of {count} on aws, {unit}",
            form.format(ours[which]),
            f"{form.format(bare[which])} (bare program)",
            ours[which] / bare[which],
            GOAL,
        )
        for which, unit, form in units
    ]


def _lab(place: Path, cloud: Cloud, count: int) -> AwsProject:
    project = AwsProject(place, cloud)
    for number in range(count):
        _request(project, number, allowed_from=["198.51.100.0/24"])
    return project


def _bare(place: Path, cloud: Cloud, count: int) -> AwsProject:
    project = AwsProject(place, cloud)
    head = f"COUNT, ZONES, ROSTER, USER_DATA = {count}, {ZONES}, {ROSTER}, {USER_DATA}\n"
    (project.place / "__main__.py").unlink()
    (project.place / "__main__.py").write_text(head + BARE)
    return project
