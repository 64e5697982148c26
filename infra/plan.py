"""What a stack shall be, as plain values: from its requests, settings and seed. No Pulumi here."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cloudinit.boot import MachineValues
from infra.enrollment import Enrollment, derive, derive_host_key
from infra.given import given, has_ended
from infra.model.folder import Requests
from infra.model.machine import MachineSize
from infra.model.members import MachineRequest
from infra.model.person import (
    SSH,
    WEB,
    InstanceRequest,
    by_passphrase,
    machine_name,
    remember_hours,
)
from infra.model.retired import RetiredEnrollment
from infra.model.settings import Settings
from infra.model.shares import MemberShare, shares
from infra.roster import build_roster, to_json, web_networks
from infra.web import Certificate, authority, certificate, host_of


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
    host_key: str
    """The public one, as OpenSSH writes it."""
    values: MachineValues
    """What its user-data is rendered from; the target adds what it knows."""
    roster: str = field(repr=False)
    """Secret."""
    web_from: tuple[str, ...] = ()
    """The networks (CIDR) from which it is reached by HTTPS; none: it is not."""
    web_alone: tuple[str, ...] = ()
    """Which of its members have no SSH."""


@dataclass(frozen=True)
class Plan:
    """A whole stack."""

    settings: Settings
    asked: Requests
    machines: tuple[MachinePlan, ...]
    enrollments: dict[str, dict[str, Any]] = field(repr=False)
    """By researcher, as the stack's output of that name has them. Secret."""


def make_plan(settings: Settings, asked: Requests, seed: str) -> Plan:
    """The plan of a stack whose settings and requests have no fault of their own.

    Whether it can be made is another question: see `infra.checks`. Raises ValueError for a seed
    that is none.
    """
    machines, enrollments = [], {}
    for machine in asked.machines:
        derived = _enrollments(settings, seed, machine)
        machines.append(_machine(settings, seed, machine, derived, asked.retired))
        enrollments.update(
            {
                one.researcher: _shown(one, derived[one.researcher]) | _door(settings, seed, one)
                for one in machine.members
            }
        )
    return Plan(settings, asked, tuple(machines), enrollments)


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
            by_web=by_passphrase(person),
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
        closed_from=machine.closed_from,
        web=_certificate(settings, seed, machine),
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
        allowed_from=machine.allowed_from,
        cost_centre=machine.cost_centre or "",
        until=machine.until,
        host_key=host_key.public_openssh,
        values=_values(settings, machine),
        roster=to_json(roster),
        web_from=tuple(web_networks(people)),
        web_alone=tuple(person.researcher for person in people if SSH not in person.access),
    )


def _certificate(settings: Settings, seed: str, machine: MachineRequest) -> Certificate | None:
    """That of its HTTPS door, where anybody comes by it."""
    if all(WEB not in person.access for person in machine.members):
        return None
    stack, name, now = settings.stack, machine.name, dt.datetime.now(dt.timezone.utc)
    found = given(settings)
    if found is not None and not has_ended(settings, now):
        return found.of(host_of(stack, name, settings.domain))
    own = certificate(seed, stack=stack, machine=name, today=now.date(), domain=settings.domain)
    # Where it only stands in, the machine goes on telling that the one that was given has ended.
    return own if found is None else replace(own, ends=found.ends)


def _values(settings: Settings, machine: MachineRequest) -> MachineValues:
    values = MachineValues(settings.stack, machine.name, settings.target)
    image = machine.tensorflow_image or settings.tensorflow_image
    return values if image is None else replace(values, image=image)


def _door(settings: Settings, seed: str, person: InstanceRequest) -> dict[str, Any]:
    """What a person who comes by HTTPS needs besides: where, and by whom it is vouched for."""
    if WEB not in person.access:
        return {}
    stack, domain = settings.stack, settings.domain
    host = f"{person.researcher}.{host_of(stack, machine_name(person), domain)}"
    web = {"host": host}
    if not settings.web_certificate or has_ended(settings, dt.datetime.now(dt.timezone.utc)):
        web["authority"] = authority(seed, stack, domain)
    if person.oidc is not None:
        web["provider"] = settings.oidc_issuer
    return {"access": list(person.access), "web": web}


def _shown(person: InstanceRequest, enrollment: Enrollment) -> dict[str, Any]:
    """What the researcher needs; the QR is drawn from the URI when it is looked at."""
    return {
        "machine": enrollment.machine,
        "enrollment": person.enrollment,
        "factors": person.factors,
        **enrollment.shown,
    }
