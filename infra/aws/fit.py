"""What EC2 cannot hold of a whole plan, as far as that is known without asking AWS."""

from __future__ import annotations

import ipaddress
import os
from collections import Counter
from typing import TYPE_CHECKING

from infra.aws.checks import check_requests
from infra.aws.data import first_zone
from infra.aws.image import ROOT_GIB
from infra.aws.network import RULES, subnet_cidr
from infra.aws.roster import naming_bundle, roster_problems
from infra.model.networks import collapse
from infra.model.problems import Problem
from infra.model.settings import AwsSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.plan import MachinePlan, Plan

_RESERVED = 5  # addresses that AWS keeps in each subnet (Amazon VPC User Guide, "Subnet sizing")


def problems(plan: Plan, region: str | None = None) -> list[Problem]:
    """All of it. `region` is what the stack's configuration says of its provider."""
    settings, machines = AwsSettings.of(plan.settings), plan.machines
    return [
        *check_requests(plan.asked, settings.zones),
        *roster_problems(naming_bundle(machines, settings.older_bundle)),
        *_region_problems(settings, region),
        *_room_problems(settings, machines),
        *(problem for machine in machines for problem in _machine_problems(settings, machine)),
    ]


def _region_problems(settings: AwsSettings, configured: str | None) -> Iterator[Problem]:
    wanted = settings.region
    named = [os.environ.get(name) for name in ("AWS_REGION", "AWS_DEFAULT_REGION")]
    region = configured or named[0] or named[1]
    if region != wanted:
        there = f"aws:region is {region}" if region else "aws:region is not set"
        what = f"{there}, and the stack's zones are in {wanted}"
        mend = f"pulumi config set aws:region {wanted} --stack {settings.stack}"
        yield Problem(None, None, what, mend)


def _room_problems(settings: AwsSettings, machines: tuple[MachinePlan, ...]) -> Iterator[Problem]:
    """More machines in a subnet than it has addresses."""
    wanted = Counter(
        (machine.size.zone or first_zone(machine.name, settings.zones), public)
        for machine in machines
        for public in [machine.size.public]
    )
    for (zone, public), count in sorted(wanted.items()):
        cidr = subnet_cidr(settings.vpc_cidr, zone, public=public)
        room = ipaddress.ip_network(cidr).num_addresses - _RESERVED
        if count > room:
            kind = "public" if public else "private"
            what = f"{count} machines, but the {kind} subnet of {zone} ({cidr}) has room for {room}"
            mend = "add a zone, or make another stack for some of the requests"
            yield Problem(None, None, what, mend)


def _machine_problems(settings: AwsSettings, machine: MachinePlan) -> Iterator[Problem]:
    if settings.bake and machine.size.root_disk_gib < ROOT_GIB:
        what = f"the baked image does not fit: it has {ROOT_GIB} GiB"
        mend = f"write at least {ROOT_GIB}"
        yield machine.problem(("machine", "root_disk_gib"), what, mend)
    rules = len(collapse(machine.allowed_from))
    if rules > RULES:
        what = f"{rules} networks, and a security group takes {RULES}"
        mend = "name fewer, larger networks"
        yield machine.problem(("allowed_from",), what, mend)
