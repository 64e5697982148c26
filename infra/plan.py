"""What a stack shall be, as plain values: from its requests, settings and seed.

No Pulumi here: every problem of every part is found before anything is made.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from cloudinit.boot import MachineValues
from infra.enrollment import Enrollment, check_seed, derive, derive_host_key
from infra.model.folder import load_requests
from infra.model.machine import MachineSize
from infra.model.person import InstanceRequest, machine_name, problem_at
from infra.model.problems import Problem, ProblemsError
from infra.model.retired import RetiredEnrollment, load_retired
from infra.model.settings import Settings, load_settings
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
    requests: tuple[InstanceRequest, ...]
    machines: tuple[MachinePlan, ...]
    retired: tuple[RetiredEnrollment, ...]
    enrollments: dict[str, dict[str, Any]] = field(repr=False)
    """By researcher, as the stack's output of that name has them. Secret."""


def make_plan(stack: str, folder: Path, values: Mapping[str, str], seed: str | None) -> Plan:
    """The plan of `stack`, whose requests are in `folder`.

    `values` are the settings without their `secondlock:` prefix. Raises ProblemsError with the
    problems of all of them together.
    """
    found: list[Problem] = []
    settings = _collect(found, lambda: load_settings(stack, values))
    requests = _collect(found, lambda: load_requests(folder))
    retired = _collect(found, lambda: load_retired(folder))
    if settings is not None:
        _collect(
            found,
            lambda: check_seed(seed, settings.seed_fingerprint, settings.new_seed, stack),
        )
    if found or settings is None or requests is None or retired is None or seed is None:
        raise ProblemsError(list(dict.fromkeys(found)))
    by_machine: dict[str, list[InstanceRequest]] = {}
    for request in requests:
        by_machine.setdefault(machine_name(request), []).append(request)
    machines, enrollments = [], {}
    for name, people in sorted(by_machine.items()):
        derived = _enrollments(settings, seed, name, people)
        machines.append(_machine(settings, seed, name, people, derived, retired))
        enrollments.update({person: _shown(one, people) for person, one in derived.items()})
    return Plan(settings, tuple(requests), tuple(machines), tuple(retired), enrollments)


def _collect(found: list[Problem], work: Callable[[], _T]) -> _T | None:
    try:
        return work()
    except ProblemsError as error:
        found += error.problems
        return None


def _enrollments(
    settings: Settings, seed: str, machine: str, people: list[InstanceRequest]
) -> dict[str, Enrollment]:
    return {
        request.researcher: derive(
            seed,
            stack=settings.stack,
            machine=machine,
            researcher=request.researcher,
            enrollment=request.enrollment,
            factors=request.factors,
        )
        for request in people
    }


def _machine(
    settings: Settings,
    seed: str,
    name: str,
    people: list[InstanceRequest],
    enrollments: dict[str, Enrollment],
    retired: list[RetiredEnrollment],
) -> MachinePlan:
    first = people[0]
    values = _values(settings, name, first)
    host_key = derive_host_key(seed, stack=settings.stack, machine=name)
    roster = build_roster(
        settings=settings,
        machine=name,
        requests=people,
        enrollments=enrollments,
        host_key=host_key,
        retired=retired,
    )
    return MachinePlan(
        name=name,
        size=first.machine,
        rebuild=first.rebuild,
        members=tuple(sorted(enrollments)),
        allowed_from=tuple(dict.fromkeys(each for one in people for each in one.allowed_from)),
        cost_centre=first.cost_centre or "",
        until=first.until,
        problem=partial(problem_at, first),
        host_key=host_key.public_openssh,
        values=values,
        roster=to_json(roster),
    )


def _values(settings: Settings, machine: str, request: InstanceRequest) -> MachineValues:
    values = MachineValues(settings.stack, machine, settings.target)
    image = request.tensorflow_image or settings.tensorflow_image
    return values if image is None else replace(values, image=image)


def _shown(enrollment: Enrollment, people: list[InstanceRequest]) -> dict[str, Any]:
    """What the researcher needs; the QR is drawn from the URI when it is looked at."""
    (request,) = (each for each in people if each.researcher == enrollment.researcher)
    return {
        "machine": enrollment.machine,
        "enrollment": request.enrollment,
        "factors": request.factors,
        "uri": enrollment.uri,
        "emergency_codes": list(enrollment.emergency_codes),
        "password": enrollment.password,
    }
