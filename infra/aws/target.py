"""The target `aws`: machines are EC2 instances with a GPU."""

from __future__ import annotations

import ipaddress
import os
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import pulumi

from infra.aws.access import Access
from infra.aws.bundles import Bundles
from infra.aws.data import Data, first_zone
from infra.aws.facts import facts
from infra.aws.flows import FlowLogs
from infra.aws.image import ROOT_GIB, Image
from infra.aws.keys import Keys
from infra.aws.logs import Logs
from infra.aws.machine import AwsMachine, Machines, Parts
from infra.aws.network import RULES, Network, subnet_cidr
from infra.aws.roster import Rosters, roster_problems
from infra.aws.strays import Strays
from infra.aws.tags import machine_tags, stack_tags
from infra.networks import collapse
from infra.problems import Problem
from infra.requests import check_aws, problem_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.plan import MachinePlan, Plan
    from infra.settings import Settings

_RESERVED = 5  # addresses that AWS keeps in each subnet (Amazon VPC User Guide, "Subnet sizing")


class Aws:
    """Makes the machines of a plan in EC2, and all that they share."""

    name = "aws"

    def __init__(self, plan: Plan) -> None:
        settings, machines = plan.settings, plan.machines
        stack, tags, known = settings.stack, stack_tags(settings), facts()
        tags_of = partial(machine_tags, settings)
        key = Keys(stack, tags, known, keep=settings.on_destroy == "snapshot")
        Logs(
            stack,
            settings.log_retention_days,
            settings.alarms,
            settings.alert_email,
            machines=machines,
            key=key,
            facts=known,
            tags=tags,
        )
        access = Access(
            stack,
            machines,
            facts=known,
            key=key,
            tags=tags,
            tags_of=tags_of,
        )
        rosters = Rosters(stack, machines, key, known, tags_of)
        network = Network(settings, machines)
        FlowLogs(
            stack,
            settings.log_retention_days,
            vpc_id=network.vpc_id,
            key=key,
            facts=known,
            tags=tags,
        )
        after_network = pulumi.ResourceOptions(depends_on=[network])
        strays = Strays(stack, known.region, network.costs, after_network)
        image = Image(
            stack,
            base_image=settings.base_image or "",
            tensorflow_image=settings.tensorflow_image or "",
            bake=settings.bake,
            log_retention_days=settings.log_retention_days,
            facts=known,
            key=key,
            vpc_id=network.vpc_id,
            subnet_id=network.subnet(settings.zones[0], public=True),
            strays=strays,
            tags=tags,
        )
        data = Data(settings, machines, key, strays)
        bundles = Bundles(stack, known, tags)
        parts = Parts(known, key, network, data, rosters, access, image, bundles, strays)
        self._machines = Machines(settings, machines, parts)
        self.policies = {
            "researcher": access.researcher_policy_arn,
            "admin": access.admin_policy_arn,
        }

    def machine(self, plan: MachinePlan) -> AwsMachine:
        """The machine of `plan`."""
        return self._machines.made[plan.name]


def problems(plan: Plan, region: str | None = None) -> list[Problem]:
    """What EC2 cannot do for `plan`, as far as that is known without asking AWS.

    `region` is what the stack's configuration says of its provider.
    """
    settings, machines = plan.settings, plan.machines
    return [
        *check_aws(plan.requests, settings.zones),
        *roster_problems(machines),
        *_region_problems(settings, region),
        *_room_problems(settings, machines),
        *(problem for machine in machines for problem in _machine_problems(settings, machine)),
    ]


def _region_problems(settings: Settings, configured: str | None) -> Iterator[Problem]:
    wanted = settings.region
    named = [os.environ.get(name) for name in ("AWS_REGION", "AWS_DEFAULT_REGION")]
    region = configured or named[0] or named[1]
    if region != wanted:
        there = f"aws:region is {region}" if region else "aws:region is not set"
        what = f"{there}, and the stack's zones are in {wanted}"
        mend = f"pulumi config set aws:region {wanted} --stack {settings.stack}"
        yield Problem(None, None, what, mend)


def _room_problems(settings: Settings, machines: tuple[MachinePlan, ...]) -> Iterator[Problem]:
    """More machines in a subnet than it has addresses."""
    wanted = Counter(
        (machine.request.machine.zone or first_zone(machine.name, settings.zones), public)
        for machine in machines
        for public in [machine.request.machine.public]
    )
    for (zone, public), count in sorted(wanted.items()):
        cidr = subnet_cidr(settings.vpc_cidr, zone, public=public)
        room = ipaddress.ip_network(cidr).num_addresses - _RESERVED
        if count > room:
            kind = "public" if public else "private"
            what = f"{count} machines, but the {kind} subnet of {zone} ({cidr}) has room for {room}"
            mend = "add a zone, or make another stack for some of the requests"
            yield Problem(None, None, what, mend)


def _machine_problems(settings: Settings, machine: MachinePlan) -> Iterator[Problem]:
    if settings.bake and machine.root_disk_gib < ROOT_GIB:
        what = f"the baked image does not fit: it has {ROOT_GIB} GiB"
        mend = f"write at least {ROOT_GIB}"
        yield problem_at(machine.request, ("machine", "root_disk_gib"), what, mend)
    rules = len(collapse(machine.request.allowed_from))
    if rules > RULES:
        what = f"{rules} networks, and a security group takes {RULES}"
        mend = "name fewer, larger networks"
        yield problem_at(machine.request, ("allowed_from",), what, mend)
