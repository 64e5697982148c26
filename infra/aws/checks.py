"""What EC2 cannot hold of settings and requests, as far as that is known without asking AWS."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

from infra.aws.limits import ROOT_GIB, RULES, first_zone, room, subnet_cidr
from infra.model.machine import LOCAL_ONLY, MachineSize
from infra.model.networks import collapse, is_loopback
from infra.model.person import WEB, problem_at
from infra.model.problems import Problem
from infra.roster import web_networks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from infra.model.folder import Requests
    from infra.model.members import MachineRequest
    from infra.model.person import InstanceRequest
    from infra.model.settings import AwsSettings


def check_settings(settings: AwsSettings, config: Mapping[str, str]) -> list[Problem]:
    """Where the provider would make things, against where the stack's zones are."""
    if not settings.knows("zones"):
        return []
    wanted = settings.region
    region = (
        config.get("aws:region")
        or os.environ.get("AWS_REGION")
        or os.environ.get("AWS_DEFAULT_REGION")
    )
    if region == wanted:
        return []
    there = f"aws:region is {region}" if region else "aws:region is not set"
    what = f"{there}, and the stack's zones are in {wanted}"
    mend = f"pulumi config set aws:region {wanted} --stack {settings.stack}"
    return [Problem(None, None, what, mend)]


def check_requests(asked: Requests, settings: AwsSettings) -> list[Problem]:
    """What no stack with these settings can hold, as far as they are known."""
    machines = asked.machines
    return [
        *(problem for machine in machines for problem in _foreign(machine)),
        *(problem for machine in machines for problem in _elsewhere(machine, settings)),
        *(problem for machine in machines for problem in _small(machine, settings)),
        *(problem for machine in machines for problem in _crowded(machine)),
        *(problem for person in asked.people for problem in _unreachable(person)),
        *(problem for person in asked.people for problem in _by_web(person, settings)),
        *_without_room([machine for machine in machines if machine.is_sure], settings),
    ]


def _foreign(machine: MachineRequest) -> Iterator[Problem]:
    """Fields of the target local that were written down: their defaults hold on no other."""
    for name in LOCAL_ONLY:
        if name in machine.size.model_fields_set:
            what = "the instance type says it on the target aws"
            mend = "remove it; set machine.instance_type if need be"
            yield machine.problem(("machine", name), what, mend)


def _by_web(person: InstanceRequest, settings: AwsSettings) -> Iterator[Problem]:
    """What a browser needs of a machine in EC2: a name, and an address."""
    if WEB not in person.access:
        return
    if settings.knows("web_domain") and not settings.web_domain:
        what = "the stack has no domain for browsers to find it by"
        mend = f"pulumi config set secondlock:webDomain gpu.example.org --stack {settings.stack}"
        yield problem_at(person, ("access",), what, mend)
    if isinstance(person.machine, MachineSize) and not person.machine.public:
        what = "no browser reaches a private machine"
        yield problem_at(person, ("access",), what, "access: [ssh], or remove public: false")


def _elsewhere(machine: MachineRequest, settings: AwsSettings) -> Iterator[Problem]:
    zone = machine.size.zone
    if zone is not None and settings.knows("zones") and zone not in settings.zones:
        what = f"`{zone}` is none of the stack's zones: {', '.join(settings.zones)}"
        mend = "take one of them, or add it to secondlock:zones"
        yield machine.problem(("machine", "zone"), what, mend)


def _small(machine: MachineRequest, settings: AwsSettings) -> Iterator[Problem]:
    if settings.knows("bake") and settings.bake and machine.size.root_disk_gib < ROOT_GIB:
        what = f"the baked image does not fit: it has {ROOT_GIB} GiB"
        mend = f"write at least {ROOT_GIB}"
        yield machine.problem(("machine", "root_disk_gib"), what, mend)


def _crowded(machine: MachineRequest) -> Iterator[Problem]:
    rules = len(collapse(machine.allowed_from)) + len(web_networks(machine.members))
    if rules > RULES:
        what = f"{rules} networks, and a security group takes {RULES}"
        mend = "name fewer, larger networks"
        yield machine.problem(("allowed_from",), what, mend)


def _without_room(machines: Sequence[MachineRequest], settings: AwsSettings) -> Iterator[Problem]:
    """More machines in a subnet than it has addresses."""
    if not settings.knows("zones", "vpc_cidr"):
        return
    wanted = Counter(
        (one.size.zone or first_zone(one.name, settings.zones), one.size.public) for one in machines
    )
    for (zone, public), count in sorted(wanted.items()):
        cidr = subnet_cidr(settings.vpc_cidr, zone, public=public)
        if count > room(cidr):
            there = f"the {'public' if public else 'private'} subnet of {zone} ({cidr})"
            what = f"{count} machines, but {there} has room for {room(cidr)}"
            mend = "add a zone, or make another stack for some of the requests"
            yield Problem(None, None, what, mend)


def _unreachable(request: InstanceRequest) -> list[Problem]:
    """Networks that no login to an EC2 machine comes from."""
    places = [
        (field, index, cidr)
        for field in ("allowed_from", "web_allowed_from")
        for index, cidr in enumerate(getattr(request, field))
    ]
    found = [
        problem_at(
            request,
            (field, index),
            f"`{cidr}` is this computer's own: nobody comes from there to a machine in EC2",
            "write the networks that logins come from",
        )
        for field, index, cidr in places
        if is_loopback(cidr)
    ]
    if not found and request.allowed_from and all(":" in cidr for cidr in request.allowed_from):
        what = "no IPv4 network, and the machines have only IPv4 addresses"
        found.append(problem_at(request, ("allowed_from",), what, "add the IPv4 networks"))
    return found
