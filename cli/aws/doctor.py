"""What would stop `up` in a stack's AWS account and region."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import boto3
from botocore.exceptions import ClientError

from cli.aws.images import doubt, find_image, official
from cli.aws.provider import provider
from cli.aws.quotas import (
    DISKS,
    ELASTIC_IPS,
    PROFILES,
    ROLES,
    STANDARD_PARAMETERS,
    VPCS,
    Quota,
    vcpu_quota,
)
from cli.aws.session import client_config, command_line, explained, session
from cli.aws.strays import strays
from cli.findings import Finding, note, ok, stop, wrong
from cli.project import Stack, command
from cli.ssh_config import missing_programs
from infra.aws.limits import first_zone
from infra.aws.tags import STACK_TAG
from infra.checks import Checked
from infra.model.instance_types import BAKING
from infra.model.problems import ProblemsError
from infra.model.settings import AwsSettings

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import FilterTypeDef, TagTypeDef
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_service_quotas import ServiceQuotasClient

    from infra.aws.command import CommandLine

_SHARED_ROLES = 2  # Image Builder's and the flow logs'
_IAM_REGIONS = {"aws": "us-east-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}
"""Where quotas of IAM, which has no regions, are asked for."""

_FILTER_VALUES = 200


@dataclass(frozen=True)
class _Wanted:
    """A machine that a request asks for."""

    name: str
    instance_type: str
    spot: bool
    public: bool
    zone: str | None
    """Where its data will be made."""
    disk_gib: int


@dataclass
class _Here:
    """A stack in its account and region, and what it asks for there."""

    stack: Stack
    session: boto3.Session
    account: str
    wanted: list[_Wanted]
    settings: AwsSettings
    zones: tuple[str, ...]
    """Empty where the setting is wrong."""

    @property
    def region(self) -> str:
        return self.session.region_name

    @property
    def partition(self) -> str:
        return self.session.get_partition_for_region(self.region)

    @property
    def baking(self) -> tuple[str, ...]:
        """Of the on-demand instance that bakes the image, before any machine is there: one of."""
        return BAKING if self.settings.knows("bake") and self.settings.bake else ()

    @property
    def types(self) -> list[str]:
        """Every instance type of a machine."""
        return sorted({one.instance_type for one in self.wanted})

    @cached_property
    def ec2(self) -> EC2Client:
        return self.session.client("ec2", config=client_config())

    @cached_property
    def iam(self) -> IAMClient:
        return self.session.client("iam", config=client_config())

    @cached_property
    def quotas(self) -> ServiceQuotasClient:
        return self.session.client("service-quotas", config=client_config())

    @cached_property
    def vcpus(self) -> dict[str, int]:
        """By instance type, of those that are wanted and that this region has."""
        return _vcpus(self, {*self.types, *self.baking})

    def is_own(self, tags: list[TagTypeDef]) -> bool:
        """Whether something with these tags is of this stack, so that it is not counted twice."""
        return any(
            tag.get("Key") == STACK_TAG and tag.get("Value") == self.stack.name for tag in tags
        )


def findings(stack: Stack, checked: Checked) -> list[Finding]:
    """Every finding, good and bad."""
    found = provider(stack)
    try:
        here = _here(stack, checked)
    except ProblemsError as error:
        return found + wrong("credentials", error)
    found.append(ok("credentials", f"account {here.account}, region {here.region}"))
    for name, check in _CHECKS:
        try:
            found += check(here)
        except ProblemsError as error:
            found += wrong(name, error)
    return found


def _here(stack: Stack, checked: Checked) -> _Here:
    """Raises ProblemsError when AWS does not know who asks."""
    settings = AwsSettings.of(checked.settings)
    zones = settings.zones if settings.knows("zones") else ()
    wanted = [
        _Wanted(
            one.name,
            one.size.instance_type or settings.instance_type,
            one.size.spot,
            one.size.public,
            one.size.zone or (first_zone(one.name, zones) if zones else None),
            one.size.root_disk_gib + one.size.home_disk_gib + 1,
        )
        for one in (checked.asked.machines if checked.asked.whole else ())
    ]
    # Where the provider makes things elsewhere, or knows no region, that is told already.
    made = session(stack, settings.region if zones else None)
    with explained(stack, "sts"):
        account = made.client("sts", config=client_config()).get_caller_identity()["Account"]
    return _Here(stack, made, account, wanted, settings, zones)


def _zones(here: _Here) -> Iterator[Finding]:
    with explained(here.stack, "ec2"):
        known = here.ec2.describe_availability_zones()["AvailabilityZones"]
    there = {one.get("ZoneName", ""): one.get("State") for one in known}
    for zone in here.zones:
        two = ",".join(sorted(there)[:2])
        mend = f"pulumi config set secondlock:zones {two} --stack {here.stack.name}"
        if zone not in there:
            yield stop("zones", f"{here.region} has no zone {zone} for this account", mend)
        elif there[zone] != "available":
            yield stop("zones", f"{zone} is {there[zone]}", mend)
    if here.zones and set(here.zones) <= set(there):
        yield ok("zones", ", ".join(here.zones))


def _types(here: _Here) -> Iterator[Finding]:
    offered = _offered(here)
    for name in here.types:
        if name not in here.vcpus:
            what = f"{here.region} has no {name}"
            yield stop("types", what, "another machine.instance_type, or another region")
            continue
        lacking = {zone for zone in here.zones if (name, zone) not in offered}
        hit = [one.name for one in here.wanted if one.instance_type == name and one.zone in lacking]
        told = f"{name} ({here.vcpus[name]} vCPUs)"
        if not lacking:
            yield ok("types", f"{told} in every zone")
        elif not hit:
            yield note("types", f"{told} is not offered in {', '.join(sorted(lacking))}")
        else:
            left = [zone for zone in here.zones if zone not in lacking]
            what = f"{told} is not offered in {', '.join(sorted(lacking))}: {', '.join(hit)}"
            mend = f"use {left[0]}: secondlock:zones, machine.zone" if left else "another type"
            yield stop("types", what, mend)
    if here.baking and here.zones:
        yield _bakes(here, [name for name in here.baking if (name, here.zones[0]) in offered])


def _bakes(here: _Here, offered: list[str]) -> Finding:
    if offered:
        return ok("types", f"{' or '.join(offered)} for the bake in {here.zones[0]}")
    what = f"{here.zones[0]} offers no {' or '.join(here.baking)}, and the image is baked there"
    return stop("types", what, "another zone first in secondlock:zones, or secondlock:bake false")


def _offered(here: _Here) -> set[tuple[str, str]]:
    """(instance type, zone) of what the stack's machines and its bake need."""
    names = sorted({*here.types, *here.baking})
    if not names:
        return set()
    with explained(here.stack, "ec2"):
        pages = here.ec2.get_paginator("describe_instance_type_offerings").paginate(
            LocationType="availability-zone",
            Filters=[{"Name": "instance-type", "Values": names}],
        )
        return {
            (one.get("InstanceType", ""), one.get("Location", ""))
            for page in pages
            for one in page["InstanceTypeOfferings"]
        }


def _vcpus(here: _Here, types: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    names = sorted(set(types))
    for start in range(0, len(names), _FILTER_VALUES):
        some: list[FilterTypeDef] = [
            {"Name": "instance-type", "Values": names[start : start + _FILTER_VALUES]}
        ]
        with explained(here.stack, "ec2"):
            pages = here.ec2.get_paginator("describe_instance_types").paginate(Filters=some)
            for page in pages:
                for one in page["InstanceTypes"]:
                    count = one.get("VCpuInfo", {}).get("DefaultVCpus", 0)
                    found[one.get("InstanceType", "")] = count
    return found


def _vcpu_quotas(here: _Here) -> Iterator[Finding]:
    """The quotas of GPU instances are 0 in a new account, on-demand and spot apart."""
    need: Counter[Quota] = Counter()
    for one in here.wanted:
        quota = vcpu_quota(one.instance_type, spot=one.spot)
        need[quota] += here.vcpus.get(one.instance_type, 0)
    for name in here.baking:
        quota = vcpu_quota(name, spot=False)
        need[quota] = max(need[quota], here.vcpus.get(name, 0))
    if not need:
        return
    used = _running_vcpus(here)
    for quota in sorted(need, key=lambda one: one.name):
        yield _against(here, "vCPUs", quota, need[quota], used[quota])


def _running_vcpus(here: _Here) -> Counter[Quota]:
    """What runs in the region and is not of this stack."""
    running: Counter[tuple[str, bool]] = Counter()
    with explained(here.stack, "ec2"):
        pages = here.ec2.get_paginator("describe_instances").paginate(
            Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}]
        )
        for page in pages:
            for one in (each for group in page["Reservations"] for each in group["Instances"]):
                if not here.is_own(one.get("Tags", [])):
                    spot = one.get("InstanceLifecycle") == "spot"
                    running[one.get("InstanceType", ""), spot] += 1
    vcpus = _vcpus(here, {name for name, _ in running})
    used: Counter[Quota] = Counter()
    for (name, spot), count in running.items():
        used[vcpu_quota(name, spot=spot)] += count * vcpus.get(name, 0)
    return used


def _elastic_ips(here: _Here) -> Iterator[Finding]:
    public = sum(one.public for one in here.wanted)
    gateway = any(not one.public for one in here.wanted)
    if public + gateway == 0:
        return
    with explained(here.stack, "ec2"):
        addresses = here.ec2.describe_addresses()["Addresses"]
    used = sum(not here.is_own(one.get("Tags", [])) for one in addresses)
    yield _against(here, "addresses", ELASTIC_IPS, public + gateway, used)


def _vpcs(here: _Here) -> Iterator[Finding]:
    with explained(here.stack, "ec2"):
        pages = here.ec2.get_paginator("describe_vpcs").paginate()
        used = sum(not here.is_own(one.get("Tags", [])) for page in pages for one in page["Vpcs"])
    yield _against(here, "VPC", VPCS, 1, used)


def _disks(here: _Here) -> Iterator[Finding]:
    need = sum(one.disk_gib for one in here.wanted)
    if need == 0:
        return
    with explained(here.stack, "ec2"):
        pages = here.ec2.get_paginator("describe_volumes").paginate(
            Filters=[{"Name": "volume-type", "Values": ["gp3"]}]
        )
        used = sum(
            one.get("Size", 0)
            for page in pages
            for one in page["Volumes"]
            if not here.is_own(one.get("Tags", []))
        )
    yield _against(here, "disks", DISKS, math.ceil(need / 1024), math.ceil(used / 1024))


def _roles(here: _Here) -> Iterator[Finding]:
    """A role and an instance profile for each machine. IAM tells its own quotas."""
    with explained(here.stack, "iam"):
        answer = here.iam.get_account_summary()["SummaryMap"]
        summary = {str(key): value for key, value in answer.items()}
        own = [
            one["RoleName"]
            for page in here.iam.get_paginator("list_roles").paginate(PathPrefix="/secondlock/")
            for one in page["Roles"]
            if one["Path"].startswith(f"/secondlock/{here.stack.name}/")
        ]
    counts: list[tuple[Quota, str]] = [(ROLES, "Roles"), (PROFILES, "InstanceProfiles")]
    for quota, key in counts:
        need = len(here.wanted) + _SHARED_ROLES
        used = max(0, int(summary.get(key, 0)) - len(own))
        allowed = int(summary.get(f"{key}Quota", 0))
        region = _IAM_REGIONS.get(here.partition, here.region)
        yield _judged("roles", quota, need, used, allowed, command_line(here.stack, region))


def _parameters(here: _Here) -> Iterator[Finding]:
    """A parameter for each machine's roster; counted only as far as it matters."""
    ssm = here.session.client("ssm", config=client_config())
    room = STANDARD_PARAMETERS - len(here.wanted)
    count = 0
    with explained(here.stack, "ssm"):
        for page in ssm.get_paginator("describe_parameters").paginate(
            PaginationConfig={"PageSize": 50}
        ):
            mine = f"/secondlock/{here.stack.name}/"
            count += sum(not one.get("Name", "").startswith(mine) for one in page["Parameters"])
            if count > room:
                break
    told = f"{len(here.wanted)} needed beside {count} of {STANDARD_PARAMETERS} standard parameters"
    if count > room:
        yield stop("parameters", told, "a part of the researchers in a stack of another region")
    else:
        yield ok("parameters", told)


def _base_image(here: _Here) -> Iterator[Finding]:
    if not here.settings.knows("base_image"):
        return
    pin = command("image", "pin", stack=here.stack)
    ami = here.settings.base_image
    image = find_image(here.stack, here.session, ami)
    if image is None:
        yield stop("image", f"{here.region} has no {ami}, or no longer", pin)
        return
    told = f"{ami} ({image.get('Name', 'without a name')})"
    if image.get("Architecture") != "x86_64" or image.get("State") != "available":
        what = f"{told} is {image.get('Architecture')}, {image.get('State')}"
        yield stop("image", what, pin)
    elif why := doubt(image, here.partition):
        owners = "compare its owner with wiki.debian.org/Cloud/AmazonEC2Image"
        mend = f"if that is not meant: {pin}" if official(here.partition) else owners
        yield note("image", f"{told}: {why}", mend)
    else:
        yield ok("image", told)


def _services(here: _Here) -> Iterator[Finding]:
    """The services that machines live on answer here, and to these credentials."""
    with explained(here.stack, "kms"):
        here.session.client("kms", config=client_config()).list_aliases(Limit=1)
    with explained(here.stack, "logs"):
        here.session.client("logs", config=client_config()).describe_log_groups(limit=1)
    yield ok("services", "KMS, Systems Manager and CloudWatch Logs answer")


def _strays(here: _Here) -> Iterator[Finding]:
    """What an `up` that was killed left, which costs or keeps data."""
    for one in strays(here.stack, here.session):
        yield Finding("strays", one.problem(command_line(here.stack, here.region)))


def _session_manager(here: _Here) -> Iterator[Finding]:
    private = [one.name for one in here.wanted if not one.public]
    missing = missing_programs()
    if private and missing:
        what = f"logins to private machines need {missing}, not on PATH here"
        yield note("tools", what, "docs/how-to/private-machines.md")


def _against(here: _Here, check: str, quota: Quota, need: int, used: int) -> Finding:
    """A quota of Service Quotas against what is needed and what others use."""
    try:
        allowed = _allowed(here, quota)
    except ProblemsError as error:
        told = f"{quota.name}: {need} needed; what is allowed cannot be told: "
        return note(check, told + error.problems[0].what, error.problems[0].mend)
    typed = command_line(here.stack, here.region)
    return _judged(check, quota, need, used, allowed, typed)


def _allowed(here: _Here, quota: Quota) -> int:
    """The quota's value; AWS's default where this account never had another."""
    with explained(here.stack, "servicequotas"):
        try:
            answer = here.quotas.get_service_quota(ServiceCode=quota.service, QuotaCode=quota.code)
            return int(answer["Quota"].get("Value", 0))
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "NoSuchResourceException":
                raise
        default = here.quotas.get_aws_default_service_quota(
            ServiceCode=quota.service, QuotaCode=quota.code
        )
        return int(default["Quota"].get("Value", 0))


def _judged(
    check: str, quota: Quota, need: int, used: int, allowed: int, typed: CommandLine
) -> Finding:
    told = f"{quota.name} ({quota.code}): {need} needed, {used} used by others, {allowed} allowed"
    if need + used <= allowed:
        return ok(check, told)
    return stop(check, told, quota.request(need + used, typed))


_CHECKS: tuple[tuple[str, Callable[[_Here], Iterator[Finding]]], ...] = (
    ("zones", _zones),
    ("types", _types),
    ("vCPUs", _vcpu_quotas),
    ("addresses", _elastic_ips),
    ("VPC", _vpcs),
    ("disks", _disks),
    ("roles", _roles),
    ("parameters", _parameters),
    ("image", _base_image),
    ("services", _services),
    ("strays", _strays),
    ("tools", _session_manager),
)
