"""What is known of a stack's people and their data, and what a plan may not take away from it.

A clone that is behind knows nothing of a colleague, of a rotation, of who has left: its plan would
undo them without a word. docs/decisions/0018 says how the state comes to know better.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from infra.model.authenticators import marks, parts
from infra.model.person import issued, machine_name, problem_at
from infra.model.problems import Problem, ProblemsError
from infra.model.retired import DELETE, RETIRED_FILE
from infra.model.yaml_lines import dotted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from infra.model.authenticators import Issued
    from infra.model.person import InstanceRequest
    from infra.model.retired import RetiredEnrollment
    from infra.model.settings import Settings
    from infra.plan import Plan

RECORD = "people"
"""What the record is called in the state."""

_PULL = "git pull"


class _Held(BaseModel):
    """The record as the state has it."""

    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)

    people: dict[str, tuple[str, str]]
    data: dict[str, str]
    retired: dict[str, str]
    issued: dict[str, dict[str, str]] = {}


@dataclass(frozen=True)
class Record:
    """What the state holds. No secret: all of it stands in the stack's folder too."""

    people: Mapping[str, tuple[str, str]]
    """By researcher: the enrollment's id, and the machine."""
    data: Mapping[str, str]
    """By machine: where its data is."""
    retired: Mapping[str, str]
    """By the ids of enrollments that are over: whose each was."""
    issued: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By researcher, for who has more than an enrollment's phone and emergency codes: the ids by
    the names of their fields."""

    @classmethod
    def of(cls, plan: Plan, place: str) -> Record:
        """What a plan whose data lies at `place` leaves in the state."""
        return cls(
            {one.researcher: (one.enrollment, machine_name(one)) for one in plan.asked.people},
            {machine.name: place for machine in plan.machines},
            {one.mark: one.researcher for one in plan.asked.retired},
            {
                one.researcher: {dotted(name): each for name, each in issued(one).items()}
                for one in plan.asked.people
                if one.authenticators is not None or one.emergency_codes is not None
            },
        )

    @classmethod
    def parse(cls, text: str) -> Record:
        """The record that `str()` wrote. Raises ProblemsError for what somebody else wrote."""
        try:
            held = _Held.model_validate_json(text)
        except ValidationError as error:
            what = "the record of people in the stack's state cannot be read: it is damaged"
            mend = "`pulumi stack export` shows it; bring the state back from a copy"
            if all(each["type"] == "extra_forbidden" for each in error.errors()):
                what = "the record of people in the stack's state is of a newer Secondlock"
                mend = _PULL
            raise ProblemsError([Problem(None, None, what, mend)]) from None
        return cls(held.people, held.data, held.retired, held.issued)

    def __str__(self) -> str:
        held = asdict(self)
        if not self.issued:
            del held["issued"]
        return json.dumps(held, sort_keys=True)


def refusals(old: Record, plan: Plan, place: str) -> list[Problem]:
    """What a plan whose data lies at `place` would undo or delete of `old` unasked."""
    new = Record.of(plan, place)
    retired = {one.mark: one for one in plan.asked.retired}
    return [
        *_missing_people(old, new, retired, plan.settings.stack),
        *_old_enrollments(old, plan.asked.people, retired),
        *_old_parts(old, plan.asked.people, retired),
        *_forgotten(old, new, plan.settings.stack),
        *_lost_data(old, new, retired, plan),
    ]


def needless_words(settings: Settings, machines: Iterable[str], place: str) -> Iterator[Problem]:
    """Of `secondlock:deleteData`: words that would let data go which these machines have there."""
    asked = {f"{name}@{place}" for name in machines}
    for word in settings.delete_data:
        if word in asked:
            what = f"secondlock:deleteData names {word}, and this stack shall have that data"
            mend = f"pulumi config rm secondlock:deleteData --stack {settings.stack}"
            yield Problem(None, None, what, mend)


def may_delete(plan: Plan, machine: str, place: str) -> bool:
    """Whether someone has said that the data of a machine that no request asks for shall go."""
    gone = {one.researcher for one in plan.asked.retired if one.data == DELETE}
    return machine in gone or f"{machine}@{place}" in plan.settings.delete_data


def _missing_people(
    old: Record, new: Record, retired: Mapping[str, RetiredEnrollment], stack: str
) -> Iterator[Problem]:
    for name, (enrollment, _) in old.people.items():
        entry = retired.get(enrollment)
        if name in new.people or (entry and entry.reason == "revoked"):
            continue
        file = Path("stacks") / stack / f"{name}.yaml"
        what = f"{name} is in the stack, has no request here and was not revoked"
        mend = f"{_PULL}; if {name} shall go: ./secondlock revoke {name} --stack {stack}, of a "
        mend += "folder that has the request"
        yield Problem(file, None, what, mend)


def _old_enrollments(
    old: Record, requests: tuple[InstanceRequest, ...], retired: Mapping[str, RetiredEnrollment]
) -> Iterator[Problem]:
    for request in requests:
        here, name = request.enrollment, request.researcher
        before = old.people.get(name, (here, ""))[0]
        if here in old.retired:
            what = f"the stack has seen it retired (it was {old.retired[here]}'s)"
            mend = f"{_PULL}, or ./secondlock rotate {name}"
            yield problem_at(request, ("enrollment",), what, mend)
        elif before != here and before not in retired:
            what = f"the stack has another one for {name}, {before}, which is not retired here"
            mend = f"{_PULL}; new ones come by ./secondlock rotate {name}"
            yield problem_at(request, ("enrollment",), what, mend)


def _old_parts(
    old: Record, requests: tuple[InstanceRequest, ...], retired: Mapping[str, RetiredEnrollment]
) -> Iterator[Problem]:
    """Authenticators and emergency codes that would come back, or go, unasked."""
    for request in requests:
        here = issued(request)
        kept = {(place[0], each) for place, each in here.items()}
        for place, each in here.items():
            if seen := (marks(place, each) - {request.enrollment}) & old.retired.keys():
                what = f"the stack has seen it retired (it was {old.retired[min(seen)]}'s)"
                yield problem_at(request, place, what, _PULL)
        for place, each in _held(old, request).items():
            if not here and each == request.enrollment:
                continue  # without codes now, and with the same ones if they come back
            if (place[0], each) not in kept and not marks(place, each) & retired.keys():
                what = f"the stack has another one, {each}, which is not retired here"
                words = "rotate or revoke --device" if place[0] == "authenticators" else "codes"
                mend = f"{_PULL}; what is to go is ended by ./secondlock {words}"
                yield problem_at(request, place, what, mend)


def _held(old: Record, request: InstanceRequest) -> Issued:
    """What was issued to a person, by the fields of a request.

    Of an enrollment that is another now it is told already.
    """
    name = request.researcher
    if name not in old.people:
        return {}
    enrollment, _ = old.people[name]
    found = parts(enrollment, None, None)
    if name in old.issued:
        found = {tuple(place.split(".")): each for place, each in old.issued[name].items()}
    replaced = enrollment if enrollment != request.enrollment else None
    return {place: each for place, each in found.items() if each != replaced}


def _forgotten(old: Record, new: Record, stack: str) -> Iterator[Problem]:
    missing = sorted({old.retired[one] for one in old.retired.keys() - new.retired.keys()})
    if missing:
        file = Path("stacks") / stack / RETIRED_FILE
        what = f"lacks enrollments that are over, of: {', '.join(missing)}"
        yield Problem(file, None, what, f"{_PULL}; every line of it stays for ever")


def lost(old: Record, new: Record) -> Iterator[tuple[str, str]]:
    """Machines whose data would go, and where it is."""
    return (each for each in old.data.items() if new.data.get(each[0]) != each[1])


def _lost_data(
    old: Record, new: Record, retired: Mapping[str, RetiredEnrollment], plan: Plan
) -> Iterator[Problem]:
    stack = plan.settings.stack
    for machine, place in lost(old, new):
        word = f"{machine}@{place}"
        if word in plan.settings.delete_data:
            continue
        say = f"pulumi config set secondlock:deleteData {word} --stack {stack}"
        if machine in new.data:
            what = f"the data of {machine} would be deleted: it is in {place}, and the settings "
            what += f"now say {new.data[machine]}"
            yield Problem(None, None, what, f"set them back; if the data shall go: {say}")
            continue
        entries = [retired.get(one) for one, there in old.people.values() if there == machine]
        if all(entry and entry.reason == "revoked" and entry.data != DELETE for entry in entries):
            file = Path("stacks") / stack / RETIRED_FILE
            what = f"{machine} was revoked without a word on the data, which would be deleted"
            yield Problem(
                file, None, what, f"if it shall go: data: {DELETE} in that line; or {say}"
            )
