"""Machines with those who log in there, out of people's requests and the files of shared ones."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from infra.model.machine import OF_THE_MACHINE, MachineSize, SharedMachine
from infra.model.person import SSH, InstanceRequest, machine_name, problem_at
from infra.model.problems import Problem
from infra.model.yaml_lines import Location, dotted


@dataclass(frozen=True)
class MachineRequest:
    """One machine as it is asked for, whoever shares it."""

    name: str
    size: MachineSize
    members: tuple[InstanceRequest, ...]
    """By name; never empty."""
    rebuild: int = 0
    tensorflow_image: str | None = None
    cost_centre: str | None = None
    until: dt.date | None = None
    closed_from: dt.datetime | None = None
    shared: SharedMachine | None = None
    """Its own file, if it has one."""

    @property
    def allowed_from(self) -> tuple[str, ...]:
        """The networks (CIDR) that any of them logs in from."""
        return tuple(
            dict.fromkeys(
                each for one in self.members if SSH in one.access for each in one.allowed_from
            )
        )

    @property
    def is_sure(self) -> bool:
        """Whether the file that says it has no fault: its name and size are as they are here."""
        document = (self.shared or self.members[0])._document
        return document is None or not document.problems

    def problem(self, location: Location, what: str, mend: str) -> Problem:
        """What is wrong with a field, `("machine", NAME)` or one of the first member's."""
        if self.shared is None or location[0] != "machine":
            return problem_at(self.members[0], location, what, mend)
        field = location[1:]
        if self.shared._document is None:
            return Problem(None, None, f"{self.name}: {dotted(field)}: {what}", mend)
        return self.shared._document.problem(field, f"{dotted(field)}: {what}", mend)


def machines_of(
    people: Sequence[InstanceRequest], shared: Mapping[str, SharedMachine]
) -> list[MachineRequest]:
    """The machines that people ask for, by name. Raises KeyError for one that is not `shared`."""
    by_name: dict[str, list[InstanceRequest]] = {}
    for person in sorted(people, key=lambda one: one.researcher):
        by_name.setdefault(machine_name(person), []).append(person)
    return [_machine(name, tuple(members), shared) for name, members in sorted(by_name.items())]


def _machine(
    name: str, members: tuple[InstanceRequest, ...], shared: Mapping[str, SharedMachine]
) -> MachineRequest:
    (first, *_) = members
    if isinstance(first.machine, str):
        file = shared[name]
        of_it = {field: getattr(file, field) for field in OF_THE_MACHINE}
        return MachineRequest(name, file, members, shared=file, **of_it)
    of_it = {field: getattr(first, field) for field in OF_THE_MACHINE}
    return MachineRequest(name, first.machine, members, **of_it)


def misfits(
    people: Sequence[InstanceRequest], shared: Mapping[str, SharedMachine]
) -> Iterator[Problem]:
    """What people say of shared machines, and those do not."""
    for person in people:
        yield from _misfits(person, shared)


def unwanted(
    people: Sequence[InstanceRequest], shared: Mapping[str, SharedMachine]
) -> Iterator[Problem]:
    """Shared machines that nobody wants, or not under this name. `people` are all there are."""
    names = {one.researcher for one in people}
    wanted = {machine_name(one) for one in people if isinstance(one.machine, str)}
    for name, machine in shared.items():
        if machine._document is None:
            continue
        if name in names:
            what = f"{name} is a researcher: their own machine would have this name too"
            yield machine._document.problem((), what, "give the file another name")
        if name not in wanted:
            what = f"nobody's request says `machine: {name}`"
            yield machine._document.problem((), what, "write it there, or remove this file")


def _misfits(person: InstanceRequest, shared: Mapping[str, SharedMachine]) -> Iterator[Problem]:
    if not isinstance(person.machine, str):
        return
    if person.machine not in shared:
        what = f"there is no machines/{person.machine}.yaml"
        there = f"there are: {', '.join(sorted(shared))}" if shared else "write that file"
        yield problem_at(person, ("machine",), what, there)
    for field in OF_THE_MACHINE:
        if field in person.model_fields_set:
            what = "the shared machine's file says it for all who are there"
            mend = f"remove it; machines/{person.machine}.yaml has it"
            yield problem_at(person, (field,), what, mend)
