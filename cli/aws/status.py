"""Status of EC2 machines: the last line that each wrote to its own log stream.

A machine writes one line a minute, so a stream that stands still is a machine that is down, cut off
or stopped: EC2 is asked which.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from cli.aws.session import client_config, command_line, explained, session
from cli.aws.strays import strays
from cli.engine import Machine
from cli.project import Stack, command, pulumi
from cli.reports import BANNED, GuestStatus, Mends, Report, guest_problems, read_status
from infra.aws.tags import REBUILD_TAG
from infra.model.folder import load_folder
from infra.model.members import MachineRequest
from infra.model.problems import Problem, ProblemsError

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_ec2.type_defs import InstanceTypeDef
    from mypy_boto3_logs import CloudWatchLogsClient

    from infra.aws.command import CommandLine

_SILENT_AFTER = 300.0
"""Seconds without a line, of which one a minute comes, after which a machine counts as silent."""

_FILTER_VALUES = 200
"""The most values that a filter of DescribeInstances takes."""

_LINES = 5
"""How many of the last lines are looked at: one may be a complaint of the program itself."""

_LOG = "journalctl -u"

_EMPTY_PAGES = 20
"""GetLogEvents may answer with empty pages before the last line: how many to walk through."""


@dataclass(frozen=True)
class _Line:
    """The last line of a stream."""

    text: str
    arrived: dt.datetime
    """By AWS's clock: the machine's own may be off."""


def reports(stack: Stack, machines: Mapping[str, Machine]) -> list[Report]:
    """A report of each machine, in the order of `machines`. Raises ProblemsError."""
    wanted = _requests(stack)
    found: dict[str, Report] = {}
    for region in sorted({one.region or "" for one in machines.values()}):
        those = {name: one for name, one in machines.items() if (one.region or "") == region}
        here, aws = session(stack, region), command_line(stack, region)
        instances = _instances(stack, here, those.values())
        for name, line in _lines(stack, here, those).items():
            machine = those[name]
            instance = instances.get(machine.instance_id or "")
            found[name] = _report(stack, name, machine, instance, line, wanted.get(name), aws)
    return [found[name] for name in machines]


def others(stack: Stack, machines: Mapping[str, Machine]) -> list[Problem]:
    """What there is and the stack's state does not know. Raises ProblemsError."""
    told = {one.instance_id or "" for one in machines.values()}
    # Without a machine, where the next one would be.
    regions: set[str | None] = {one.region for one in machines.values() if one.region}
    return [
        one.problem(command_line(stack, here.region_name))
        for here in (session(stack, region) for region in sorted(regions or {None}, key=str))
        for one in strays(stack, here, told)
    ]


def _requests(stack: Stack) -> dict[str, MachineRequest]:
    """What is asked for today; requests with faults are `pulumi up`'s to tell."""
    with suppress(ProblemsError):
        return {one.name: one for one in load_folder(stack.requests).machines}
    return {}


def _instances(stack: Stack, here: boto3.Session, machines: Iterable[Machine]) -> dict[str, Any]:
    """EC2's own view by instance id; terminated ones vanish from it within an hour."""
    ids = iter(sorted({one.instance_id for one in machines if one.instance_id}))
    ec2 = here.client("ec2", config=client_config())
    found: dict[str, InstanceTypeDef] = {}
    while some := list(islice(ids, _FILTER_VALUES)):
        with explained(stack, "ec2"):
            # A filter, not InstanceIds: one that is gone would fail the whole call.
            pages = ec2.get_paginator("describe_instances").paginate(
                Filters=[{"Name": "instance-id", "Values": some}]
            )
            for page in pages:
                for reservation in page["Reservations"]:
                    found.update({one["InstanceId"]: one for one in reservation["Instances"]})
    return found


def _lines(
    stack: Stack, here: boto3.Session, machines: Mapping[str, Machine]
) -> dict[str, _Line | None]:
    logs = here.client("logs", config=client_config())

    def last(name: str) -> _Line | None:
        group = machines[name].log_group or f"/secondlock/{stack.name}"
        with explained(stack, "logs"):
            return _last_line(logs, group, f"{name}/status")

    with ThreadPoolExecutor(max_workers=16) as pool:
        return dict(zip(machines, pool.map(last, machines), strict=True))


def last_lines(
    stack: Stack, here: boto3.Session, machines: Mapping[str, Machine]
) -> dict[str, str]:
    """The last status line of each machine that has one. Raises ProblemsError."""
    found = _lines(stack, here, machines)
    return {name: line.text for name, line in found.items() if line is not None}


def _last_line(logs: CloudWatchLogsClient, group: str, stream: str) -> _Line | None:
    """The stream's last line, or None where there is no line yet. Raises ClientError."""
    token: str | None = None
    for _ in range(_EMPTY_PAGES):
        more: dict[str, Any] = {"nextToken": token} if token else {}
        try:
            page = logs.get_log_events(
                logGroupName=group, logStreamName=stream, startFromHead=False, limit=_LINES, **more
            )
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "ResourceNotFoundException":
                return None
            raise
        if page["events"]:
            found = [one for one in page["events"] if one.get("message", "").startswith("{")]
            event = (found or page["events"])[-1]
            milliseconds = event.get("ingestionTime", event.get("timestamp", 0))
            arrived = dt.datetime.fromtimestamp(milliseconds / 1000, dt.timezone.utc)
            return _Line(event.get("message", ""), arrived)
        if page["nextBackwardToken"] == token:
            return None
        token = page["nextBackwardToken"]
    return None


def _report(
    stack: Stack,
    name: str,
    machine: Machine,
    instance: InstanceTypeDef | None,
    line: _Line | None,
    request: MachineRequest | None,
    aws: CommandLine,
) -> Report:
    state: str = instance["State"].get("Name", "gone") if instance else "gone"
    age = (_now() - line.arrived).total_seconds() if line else None
    guest, problems = _read(name, line)
    if state != "running":
        problems = [_not_running(stack, name, machine, state, instance, aws)]
    elif age is None:
        problems = [_says_nothing(name, machine, instance, aws)]
    elif age > _SILENT_AFTER and line is not None:
        state = "silent"
        problems = [_silent(name, machine, line, age, aws)]
    elif guest is not None:
        problems = guest_problems(stack, name, machine, guest, _mends(stack, machine, aws))
    if instance and request:
        problems += _behind(stack, name, instance, request)
    # What a machine said before it stopped is not how it is.
    current = guest if state in {"running", "silent"} else None
    return Report(name, machine, state, current, problems, age, _facts(machine, instance))


def _read(name: str, line: _Line | None) -> tuple[GuestStatus | None, list[Problem]]:
    if line is None:
        return None, []
    try:
        return read_status(line.text), []
    except ValueError as error:
        what = f"{name} writes a status that cannot be read: {error}"
        mend = "is this checkout older than the machine? git pull"
        return None, [Problem(None, None, what, mend)]


def _not_running(
    stack: Stack,
    name: str,
    machine: Machine,
    state: str,
    instance: InstanceTypeDef | None,
    aws: CommandLine,
) -> Problem:
    if state == "pending":
        return Problem(None, None, f"{name} is starting", "try again in a minute")
    if state in {"stopping", "stopped"}:
        if instance and instance.get("InstanceLifecycle") == "spot":
            what = f"{name} is {state}: a spot machine, which AWS stops when it needs the room"
            return Problem(
                None, None, what, "it starts again by itself when there is room; or spot: false"
            )
        why = instance.get("StateTransitionReason", "") if instance else ""
        start = aws.line(f"ec2 start-instances --instance-ids {machine.instance_id}")
        return Problem(None, None, f"{name} is {state}" + (f": {why}" if why else ""), start)
    refresh = f"{pulumi('refresh', stack=stack)} && {pulumi('up', stack=stack)}"
    gone = "is terminated" if instance else "is not there any more"
    return Problem(None, None, f"{name}'s instance {machine.instance_id} {gone}", refresh)


def _says_nothing(
    name: str, machine: Machine, instance: InstanceTypeDef | None, aws: CommandLine
) -> Problem:
    since = instance.get("LaunchTime") if instance else None
    running = f"has run for {_ago((_now() - since).total_seconds())} and" if since else "runs but"
    what = f"{name} {running} has not said anything yet; a first start takes some minutes"
    return Problem(None, None, what, _console(machine, aws))


def _silent(name: str, machine: Machine, line: _Line, age: float, aws: CommandLine) -> Problem:
    when = line.arrived.strftime("%Y-%m-%d %H:%M UTC")
    what = f"{name} is silent since {when} ({_ago(age)}): it does not reach AWS, or is stuck"
    reboot = aws.line(f"ec2 reboot-instances --instance-ids {machine.instance_id}")
    return Problem(None, None, what, f"{_console(machine, aws)}; then {reboot}")


def _mends(stack: Stack, machine: Machine, aws: CommandLine) -> Mends:
    """A machine fetches its roster and sets its clock by itself: within minutes, if it can."""
    look = aws.line(f"ssm start-session --target {machine.instance_id}")
    up = pulumi("up", stack=stack)
    return Mends(
        up=up,
        roster=f"it looks every minute; if it stays so: {look}, sudo {_LOG} secondlock-fetch",
        clock=f"{look}, sudo chronyc makestep",
        gpu=f"{look}, sudo {_LOG} secondlock-gpu",
        door=f"{look}, sudo {_LOG} ssh",
        web=f"{look}, sudo {_LOG} secondlock-web",
        certificate=f"{command('doctor', stack=stack)} says which; then {up}",
        docker=f"{look}, sudo {_LOG} docker",
        ban=f"{look}, sudo fail2ban-client unban {BANNED}",
    )


def _behind(
    stack: Stack, name: str, instance: InstanceTypeDef, request: MachineRequest
) -> list[Problem]:
    """What the request asks for and the instance is not."""
    tags = {tag.get("Key"): tag.get("Value") for tag in instance.get("Tags", [])}
    differences = []
    rebuild = tags.get(REBUILD_TAG, str(request.rebuild))
    if rebuild != str(request.rebuild):
        differences.append(f"rebuild {rebuild}, not {request.rebuild}")
    has = instance.get("InstanceType")
    asked = request.size.instance_type or stack.value("secondlock:instanceType")
    if asked and has and asked != has:
        differences.append(f"instance type {has}, not {asked}")
    if not differences:
        return []
    what = f"{name} is behind its request: {'; '.join(differences)}"
    return [Problem(None, None, what, pulumi("up", stack=stack))]


def _facts(machine: Machine, instance: InstanceTypeDef | None) -> dict[str, Any]:
    return {
        "id": machine.instance_id,
        "state": instance["State"].get("Name") if instance else None,
        "type": instance.get("InstanceType") if instance else None,
        "spot": instance.get("InstanceLifecycle") == "spot" if instance else None,
        "region": machine.region,
        "zone": machine.zone,
        "public": machine.public,
    }


def _console(machine: Machine, aws: CommandLine) -> str:
    which = f"--instance-id {machine.instance_id}"
    return aws.line(f"ec2 get-console-output --output text --latest {which}")


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)
