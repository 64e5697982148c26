"""Where the machines of a stack are, and who reaches them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pulumi
import pulumi_aws as aws

from infra.aws.limits import subnet_cidr
from infra.aws.tags import machine_tags, security_group_name, stack_tags
from infra.model.networks import collapse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.model.settings import AwsSettings
    from infra.plan import MachinePlan

_ANYWHERE = "0.0.0.0/0"


class Network(pulumi.ComponentResource):
    """The stack's VPC and a security group for each machine.

    Every zone has a public subnet; private subnets and their NAT gateway are there only if a
    machine is private. `to_s3` is the endpoint by which all of them reach S3; `costs` are the ids
    of what has a price of its own.
    """

    def __init__(
        self,
        settings: AwsSettings,
        machines: Sequence[MachinePlan],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("secondlock:aws:Network", settings.stack, None, opts)
        self._settings = settings
        self._inside = pulumi.ResourceOptions(parent=self)
        self._tags = stack_tags(settings)
        self._vpc = aws.ec2.Vpc(
            settings.stack,
            cidr_block=settings.vpc_cidr,
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags=self._tags,
            opts=self._inside,
        )
        self.vpc_id = self._vpc.id
        # A VPC's own group lets its members reach each other: nothing may rely on that.
        aws.ec2.DefaultSecurityGroup(
            settings.stack, vpc_id=self._vpc.id, tags=self._tags, opts=self._inside
        )
        gateway = aws.ec2.InternetGateway(
            settings.stack, vpc_id=self._vpc.id, tags=self._tags, opts=self._inside
        )
        self._tables: list[aws.ec2.RouteTable] = []
        self.costs: list[pulumi.Output[str]] = []
        self._subnets = {True: self._make_subnets("public", {"gateway_id": gateway.id})}
        if any(not machine.size.public for machine in machines):
            nat = self._nat(self.subnet(settings.zones[0], public=True))
            self._subnets[False] = self._make_subnets("private", {"nat_gateway_id": nat.id})
        self.to_s3 = self._to_s3()
        self._groups = {machine.name: self._group(machine) for machine in machines}
        self.register_outputs({})

    def security_group(self, machine: str) -> pulumi.Output[str]:
        """The id of the machine's security group."""
        return self._groups[machine].id

    def subnet(self, zone: pulumi.Input[str], *, public: bool) -> pulumi.Output[str]:
        """The id of the subnet in `zone`, once it has its route to the internet."""
        subnets = self._subnets[public]

        def of(zone: str) -> pulumi.Output[str]:
            if zone in subnets:
                return subnets[zone]
            raise pulumi.RunError(
                f"there is data in {zone}, which secondlock:zones no longer names: add it again "
                f"(pulumi config set secondlock:zones {','.join([*self._settings.zones, zone])} "
                f"--stack {self._settings.stack})"
            )

        return pulumi.Output.from_input(zone).apply(of)

    def _to_s3(self) -> aws.ec2.VpcEndpoint:
        """S3 of the own region without a way to the internet; it costs nothing.

        The name is the same in every partition (AWS PrivateLink Guide, "Gateway endpoints for
        Amazon S3").
        """
        region = self._settings.region
        return aws.ec2.VpcEndpoint(
            self._settings.stack,
            vpc_id=self._vpc.id,
            service_name=f"com.amazonaws.{region}.s3",
            vpc_endpoint_type="Gateway",
            route_table_ids=[table.id for table in self._tables],
            tags=self._tags,
            opts=self._inside,
        )

    def _make_subnets(
        self, kind: str, route: aws.ec2.RouteTableRouteArgsDict
    ) -> dict[str, pulumi.Output[str]]:
        """One in each zone, by zone, with `route` as the way to the internet."""
        tags = {**self._tags, "Name": f"{self._tags['Name']}-{kind}"}
        table = aws.ec2.RouteTable(
            f"{self._settings.stack}-{kind}",
            vpc_id=self._vpc.id,
            routes=[{**route, "cidr_block": _ANYWHERE}],
            tags=tags,
            opts=self._inside,
        )
        self._tables.append(table)
        subnets = {}
        for zone in self._settings.zones:
            subnet = aws.ec2.Subnet(
                f"{zone}-{kind}",
                vpc_id=self._vpc.id,
                availability_zone=zone,
                cidr_block=subnet_cidr(self._settings.vpc_cidr, zone, public=kind == "public"),
                # A machine needs the internet at once; its Elastic IP comes a little later.
                map_public_ip_on_launch=kind == "public",
                tags=tags,
                opts=self._inside,
            )
            routed = aws.ec2.RouteTableAssociation(
                f"{zone}-{kind}",
                subnet_id=subnet.id,
                route_table_id=table.id,
                opts=self._inside,
            )
            # Not the subnet's own id: who uses this one waits for the route, and goes before it.
            subnets[zone] = routed.subnet_id.apply(str)
        return subnets

    def _nat(self, subnet: pulumi.Output[str]) -> aws.ec2.NatGateway:
        """The way out for private machines; one a stack, it costs as much as a small machine."""
        tags = {**self._tags, "Name": f"{self._tags['Name']}-nat"}
        address = aws.ec2.Eip(
            f"{self._settings.stack}-nat", domain="vpc", tags=tags, opts=self._inside
        )
        gateway = aws.ec2.NatGateway(
            self._settings.stack,
            subnet_id=subnet,
            allocation_id=address.id,
            tags=tags,
            opts=self._inside,
        )
        self.costs += [gateway.id, address.id]
        return gateway

    def _group(self, machine: MachinePlan) -> aws.ec2.SecurityGroup:
        # Named by us: a generated name begins with the machine's, and EC2 refuses "sg-...".
        return aws.ec2.SecurityGroup(
            machine.name,
            name=security_group_name(self._settings.stack, machine.name),
            description=f"The door of {machine.name} in {self._settings.stack}",
            vpc_id=self._vpc.id,
            ingress=ingress(machine),
            egress=egress(self._settings),
            tags=machine_tags(self._settings, machine),
            opts=self._inside,
        )


# Packages, container images and the AWS APIs. Time, names and metadata need no rule: security
# groups do not filter link-local addresses, nor the VPC's resolver (Amazon VPC User Guide).
EGRESS: list[aws.ec2.SecurityGroupEgressArgsDict] = [
    {
        "description": name,
        "protocol": "tcp",
        "from_port": port,
        "to_port": port,
        "cidr_blocks": [_ANYWHERE],
    }
    for name, port in (("HTTP: packages, signed", 80), ("HTTPS", 443))
]


def egress(settings: AwsSettings) -> list[aws.ec2.SecurityGroupEgressArgsDict]:
    """What machines reach: besides, the port of an OpenID provider that has one of its own."""
    port = urlsplit(settings.oidc_issuer).port or 443
    if any(rule["from_port"] == port for rule in EGRESS):
        return EGRESS
    own = {"from_port": port, "to_port": port, "description": "OpenID provider"}
    return [*EGRESS, {**EGRESS[-1], **own}]  # type: ignore[typeddict-item]


def ingress(machine: MachinePlan) -> list[aws.ec2.SecurityGroupIngressArgsDict]:
    """Who reaches the machine: nobody where SSH goes through Session Manager."""
    if not machine.size.public:
        return []
    doors = [("SSH", 22, collapse(machine.allowed_from)), ("HTTPS", 443, [*machine.web_from])]
    return [
        {
            "description": name,
            "protocol": "tcp",
            "from_port": port,
            "to_port": port,
            "cidr_blocks": [cidr for cidr in cidrs if ":" not in cidr],
            "ipv6_cidr_blocks": [cidr for cidr in cidrs if ":" in cidr],
        }
        for name, port, cidrs in doors
        if cidrs
    ]
