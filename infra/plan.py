"""What a stack shall be, as plain values: from its requests, settings and seed.

No Pulumi here: every problem of every part is found before anything is made.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from cloudinit.boot import MachineValues
from infra.enrollment import Enrollment, check_seed, derive, derive_host_key
from infra.model.folder import Requests, load_folder
from infra.model.machine import MachineSize
from infra.model.members import MachineRequest
from infra.model.person import InstanceRequest, problem_at, remember_hours
from infra.model.problems import Problem, ProblemsError
from infra.model.retired import RetiredEnrollment
from infra.model.settings import Settings, load_settings
from infra.model.shares import MemberShare, share_problems, shares
from infra.model.yaml_lines import Location
from infra.roster import build_roster, to_json

_T = TypeVar("_T")


@dataclass(frozen=True)
class MachinePlan:
    """One machine, whatever the target."""

    name: str
    size: MachineSize
    """What was asked for; the target takes from it what it knows."""
    rebuild: int
    members: tuple[str, ...]
    """Who logs in there."""
    shares: Mapping[str, MemberShare]
    """What each of them may take; nothing on a machine of one's own."""
    remember: Mapping[str, int]
    """Whose codes stand for the next ones, and for how many hours."""
    allowed_from: tuple[str, ...]
    """The networks (CIDR) that any of them logs in from."""
    cost_centre: str
    until: dt.date | None
    problem: Callable[[Location, str, str], Problem] = field(repr=False)
    """What is wrong with a field of the file that asks for it, and what mends it."""
    host_key: str
    """The public one, as OpenSSH writes it."""
    values: MachineValues
    """What its user-data is rendered from; the target adds what it knows."""
    roster: str = field(repr=False)
    """Secret."""


@dataclass(frozen=True)
class Plan:
    """A whole stack."""

    settings: Settings
    asked: Requests
    machines: tuple[MachinePlan, ...]
    enrollments: dict[str, dict[str, Any]] = field(repr=False)
    """By researcher, as the stack's output of that name has them. Secret."""


def make_plan(stack: str, folder: Path, values: Mapping[str, str], seed: str | None) -> Plan:
    """The plan of `stack`, whose requests are in `folder`.

    `values` are the settings without their `secondlock:` prefix. Raises ProblemsError with the
    problems of all of them together.
    """
    found: list[Problem] = []
    settings = _collect(found, lambda: load_settings(stack, values))
    asked = _collect(found, lambda: load_folder(folder))
    pinned, is_new = values.get("seedFingerprint"), values.get("newSeed") == "true"
    _collect(found, lambda: check_seed(seed, pinned, is_new, stack))
    if settings is not None and asked is not None:
        found += _too_long(asked.people, settings)
        for machine in asked.machines:
            found += share_problems(machine, settings.hardware(machine.size))
    if found or settings is None or asked is None or seed is None:
        raise ProblemsError(list(dict.fromkeys(found)))
    machines, enrollments = [], {}
    for machine in asked.machines:
        derived = _enrollments(settings, seed, machine)
        machines.append(_machine(settings, seed, machine, derived, asked.retired))
        enrollments.update(
            {one.researcher: _shown(one, derived[one.researcher]) for one in machine.members}
        )
    return Plan(settings, asked, tuple(machines), enrollments)


def _too_long(people: Sequence[InstanceRequest], settings: Settings) -> Iterator[Problem]:
    """Who asks to be remembered for longer than the stack allows."""
    most = settings.remember_hours
    for person in people:
        if (person.remember_hours or 0) > most:
            what = f"more than the stack's {most}"
            say = f"pulumi config set secondlock:rememberHours {person.remember_hours}"
            mend = f"lower it; or, for the whole stack: {say} --stack {settings.stack}"
            yield problem_at(person, ("remember_hours",), what, mend)


def _collect(found: list[Problem], work: Callable[[], _T]) -> _T | None:
    try:
        return work()
    except ProblemsError as error:
        found += error.problems
        return None


def _enrollments(settings: Settings, seed: str, machine: MachineRequest) -> dict[str, Enrollment]:
    return {
        person.researcher: derive(
            seed,
            stack=settings.stack,
            machine=machine.name,
            researcher=person.researcher,
            enrollment=person.enrollment,
            method=person.factors,
            authenticators=person.authenticators,
            codes=person.emergency_codes,
        )
        for person in machine.members
    }


def _machine(
    settings: Settings,
    seed: str,
    machine: MachineRequest,
    enrollments: dict[str, Enrollment],
    retired: Sequence[RetiredEnrollment],
) -> MachinePlan:
    name, people = machine.name, machine.members
    host_key = derive_host_key(seed, stack=settings.stack, machine=name)
    of_each = shares(machine, settings.hardware(machine.size))
    roster = build_roster(
        settings=settings,
        machine=name,
        requests=people,
        enrollments=enrollments,
        host_key=host_key,
        retired=retired,
        shares=of_each,
    )
    return MachinePlan(
        name=name,
        size=machine.size,
        rebuild=machine.rebuild,
        members=tuple(person.researcher for person in people),
        shares=of_each,
        remember={
            person.researcher: hours
            for person in people
            if (hours := remember_hours(person, settings.remember_hours))
        },
        allowed_from=tuple(dict.fromkeys(each for one in people for each in one.allowed_from)),
        cost_centre=machine.cost_centre or "",
        until=machine.until,
        problem=machine.problem,
        host_key=host_key.public_openssh,
        values=_values(settings, machine),
        roster=to_json(roster),
    )


def _values(settings: Settings, machine: MachineRequest) -> MachineValues:
    values = MachineValues(settings.stack, machine.name, settings.target)
    image = machine.tensorflow_image or settings.tensorflow_image
    return values if image is None else replace(values, image=image)


def _shown(person: InstanceRequest, enrollment: Enrollment) -> dict[str, Any]:
    """What the researcher needs; the QR is drawn from the URI when it is looked at."""
    return {
        "machine": enrollment.machine,
        "enrollment": person.enrollment,
        "factors": person.factors,
        **enrollment.shown,
    }
