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
from infra.model.retired import DELETE, RETIRED_FILE, homes
from infra.model.yaml_lines import dotted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

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

    def issued_to(self, researcher: str) -> set[str]:
        """The ids of all that the state knows to be issued to someone."""
        if researcher not in self.people:
            return set()
        return {self.people[researcher][0], *self.issued.get(researcher, {}).values()}


def refusals(old: Record, plan: Plan, place: str) -> list[Problem]:
    """What a plan whose data lies at `place` would undo or delete of `old` unasked."""
    new, people, stack = Record.of(plan, place), plan.asked.people, plan.settings.stack
    retired = {one.mark: one for one in plan.asked.retired}
    missing = _missing(old, new, retired)
    return [
        *(_missing_problem(name, stack) for name in sorted(missing)),
        *_old_enrollments(old, people, retired),
        *_old_parts(old, people, retired),
        *_moved(old, people, stack),
        *_forgotten(old, new, stack),
        *_lost_data(old, new, missing, plan),
        *_lost_codes(old, new, plan),
    ]


def needless_words(settings: Settings, machines: Iterable[str], place: str) -> Iterator[Problem]:
    """Of `secondlock:deleteData`: words that would let data go which these machines have there."""
    asked = {f"{name}@{place}" for name in machines}
    for word in settings.delete_data:
        if word in asked:
            what = f"secondlock:deleteData names {word}, and this stack shall have that data"
            mend = f"pulumi config rm secondlock:deleteData --stack {settings.stack}"
            yield Problem(None, None, what, mend)


def may_delete(plan: Plan, machine: str, place: str, sent: Collection[str]) -> bool:
    """Whether someone has said that the data of a machine that no request asks for shall go.

    As far as that is known without the stack's record, by the last that retired.yaml has of the
    researcher whose own machine it was. `sent` are the enrollments that the data itself knows: one
    of them that is in use shows that its researcher came back since.
    """
    if f"{machine}@{place}" in plan.settings.delete_data:
        return True
    ended = [one for one in plan.asked.retired if one.researcher == machine]
    used = {one.enrollment for one in plan.asked.people}
    return bool(ended) and ended[-1].with_data and used.isdisjoint(sent)


def say_delete(plan: Plan, machine: str, place: str) -> str:
    """The command that says it, with the words of before: it replaces those."""
    words = ",".join([*plan.settings.delete_data, f"{machine}@{place}"])
    return f"pulumi config set secondlock:deleteData {words} --stack {plan.settings.stack}"


def _missing(old: Record, new: Record, retired: Mapping[str, RetiredEnrollment]) -> set[str]:
    """Who is in the stack, has no request here and was not revoked."""
    revoked = {mark for mark, entry in retired.items() if entry.reason == "revoked"}
    gone = old.people.keys() - new.people.keys()
    return {name for name in gone if old.people[name][0] not in revoked}


def _missing_problem(name: str, stack: str) -> Problem:
    file = Path("stacks") / stack / f"{name}.yaml"
    what = f"{name} is in the stack, has no request here and was not revoked"
    mend = f"{_PULL}; if {name} shall go: ./secondlock revoke {name} --stack {stack}, of a "
    mend += "folder that has the request"
    return Problem(file, None, what, mend)


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


def _moved(old: Record, requests: tuple[InstanceRequest, ...], stack: str) -> Iterator[Problem]:
    """Who is on another machine with what was issued for the last one.

    Secrets are bound to their machine: the phone would go on showing codes, and none be right.
    """
    for request in requests:
        name, here = request.researcher, machine_name(request)
        _, there = old.people.get(name, ("", here))
        if here == there:
            continue
        # By id: of the enrollment's own that field alone is told.
        now = {each: place for place, each in issued(request).items()}
        now[request.enrollment] = ("enrollment",)
        for each in sorted(now.keys() & old.issued_to(name)):
            what = f"issued for the machine {there}, and the request says {here}"
            mend = f"{_PULL}; if {name} shall move: ./secondlock rotate {name} --stack {stack}"
            yield problem_at(request, now[each], what, mend)


def _forgotten(old: Record, new: Record, stack: str) -> Iterator[Problem]:
    missing = sorted({old.retired[one] for one in old.retired.keys() - new.retired.keys()})
    if missing:
        file = Path("stacks") / stack / RETIRED_FILE
        what = f"lacks enrollments that are over, of: {', '.join(missing)}"
        yield Problem(file, None, what, f"{_PULL}; every line of it stays for ever")


def lost(old: Record, new: Record) -> Iterator[tuple[str, str]]:
    """Machines whose data would go, and where it is."""
    return (each for each in old.data.items() if new.data.get(each[0]) != each[1])


def leavers(old: Record, plan: Plan) -> Iterator[str]:
    """Of each who leaves a shared machine by this plan: what becomes of their home."""
    becomes = {"keep": "stays", "archive": "goes to /home/.archive", "delete": "is deleted"}
    for machine in plan.machines:
        if not machine.shares:
            continue
        said = homes(plan.asked.retired, machine.name, machine.members)
        for name, (_, before) in sorted(old.people.items()):
            if before == machine.name and name not in machine.members:
                what = becomes[said.get(name, "keep")]
                yield f"{name} leaves {machine.name}: their home there {what}"


def _lost_data(old: Record, new: Record, missing: set[str], plan: Plan) -> Iterator[Problem]:
    """Data that would go, and nobody said so; where someone is `missing`, that is told already."""
    settings, retired = plan.settings, {one.mark: one for one in plan.asked.retired}
    for machine, place in lost(old, new):
        if f"{machine}@{place}" in settings.delete_data:
            continue
        say = say_delete(plan, machine, place)
        ids = {name: each for name, (each, there) in old.people.items() if there == machine}
        own = retired.get(ids[machine]) if ids.keys() == {machine} else None
        if machine in new.data:
            what = f"the data of {machine} would be deleted: it is in {place}, and the settings "
            what += f"now say {new.data[machine]}"
            yield Problem(None, None, what, f"set them back; if the data shall go: {say}")
        elif own and own.reason == "revoked" and not own.with_data:
            file = Path("stacks") / settings.stack / RETIRED_FILE
            what = f"{machine} was revoked without a word on the data, which would be deleted"
            mend = f"if it shall go: data: {DELETE} in that line; or {say}"
            yield Problem(file, None, what, mend)
        elif not (own and own.with_data) and missing.isdisjoint(ids):
            left = ", ".join(_whereabouts(name, new) for name in sorted(ids))
            what = f"the data of {machine} would be deleted: nobody is there any more ({left})"
            yield Problem(None, None, what, f"{_PULL}; if the data shall go: {say}")


def _whereabouts(name: str, new: Record) -> str:
    return f"{name}: now on {new.people[name][1]}" if name in new.people else f"{name}: revoked"


def _lost_codes(old: Record, new: Record, plan: Plan) -> Iterator[Problem]:
    """Emergency codes that would all be good again: which were used, the deleted data knew."""
    words = plan.settings.delete_data
    gone = {machine for machine, place in lost(old, new) if f"{machine}@{place}" in words}
    for request in plan.asked.people:
        name, machine, place = request.researcher, machine_name(request), ("emergency_codes",)
        if machine in gone and issued(request).get(place) in old.issued_to(name):
            what = f"which of these were used is forgotten with the data of {machine}"
            mend = f"./secondlock codes {name} --stack {plan.settings.stack}"
            yield problem_at(request, place, what, mend)
