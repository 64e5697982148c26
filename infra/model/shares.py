"""What each member of a shared machine may take of it, and whether that is there.

A machine is made for a number of seats. What nothing is said of is an equal part, a seat's: so who
comes or goes changes nothing for the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from infra.model.person import InstanceRequest, problem_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from infra.model.instance_types import Hardware
    from infra.model.machine import SharedMachine
    from infra.model.members import MachineRequest
    from infra.model.problems import Problem

MIB = 1024  # of a GiB
# What the machine keeps for itself, MiB: its services, and for each seat its connections. Of what a
# machine is said to have, a part is the kernel's, and of a disk a part the file system's.
RESERVED, RESERVED_OF_SEAT = 512, 24
LEFT = 0.95
LEAST_MEMORY = 64  # MiB of a seat: a shell
# Processes and threads that a machine can have by its memory (fork(2), threads-max), with some left
# for itself.
PIDS_OF_GIB = 6000
MOST_PIDS = 1024
PIDS_OF_CPU = 256


@dataclass(frozen=True)
class MemberShare:
    """What one member may take; `memory` and `home` in MiB."""

    gpus: tuple[int, ...]
    """Which, by their numbers on the machine."""
    memory: int
    cpus: float | None
    """At most so many; None: all that others leave."""
    pids: int
    home: int


def shares(machine: MachineRequest, hardware: Hardware) -> dict[str, MemberShare]:
    """By member; nothing on a machine of one's own, which has all of it."""
    if machine.shared is None:
        return {}
    part = _part(machine.shared, hardware)
    return {one.researcher: _of(machine.shared, one, part) for one in machine.members}


def share_problems(
    machine: MachineRequest, hardware: Hardware, *, whole: bool = True
) -> list[Problem]:
    """What its members shall have and the machine has not; which GPUs are whose.

    `whole` says whether its members here are all there are: no file is unreadable.
    """
    shared = machine.shared
    if shared is None:
        return []
    return [
        *(_strangers(machine, shared) if whole else ()),
        *_crowd(machine, shared),
        *([] if _is_full(machine, shared) else _sums(machine, shared, hardware)),
        *_gpus(machine, shared, hardware),
    ]


def free_gpus(taken: Iterable[int], hardware: Hardware) -> list[int]:
    """The GPUs of a machine that are nobody's, where these are somebody's."""
    return sorted({*range(hardware.gpus)}.difference(taken))


def gpus_of(shared: SharedMachine, researcher: str, hardware: Hardware) -> int:
    """How many GPUs a member may have."""
    return int(_said(shared, researcher, "gpus", hardware.gpus // shared.seats))


def _part(shared: SharedMachine, hardware: Hardware) -> MemberShare:
    """That of a seat of which nothing is said."""
    pids = min(MOST_PIDS + PIDS_OF_CPU * hardware.vcpus, _pids(hardware) // shared.seats)
    return MemberShare(
        gpus=(),
        memory=max(_memory(shared, hardware), 0) // shared.seats,
        cpus=None,
        pids=pids,
        home=_home(shared) // shared.seats,
    )


def _memory(shared: SharedMachine, hardware: Hardware) -> int:
    """What members can have together, MiB."""
    return int(hardware.memory_gib * MIB * LEFT) - RESERVED - RESERVED_OF_SEAT * shared.seats


def _home(shared: SharedMachine) -> int:
    return int(shared.home_disk_gib * MIB * LEFT)


def _pids(hardware: Hardware) -> int:
    return hardware.memory_gib * PIDS_OF_GIB


def _of(shared: SharedMachine, person: InstanceRequest, part: MemberShare) -> MemberShare:
    name = person.researcher
    memory, home = (_said(shared, name, each, None) for each in ("memory_gib", "home_gib"))
    return MemberShare(
        gpus=person.gpus or (),
        memory=part.memory if memory is None else int(memory * MIB),
        cpus=_said(shared, name, "cpus", None),
        pids=_said(shared, name, "pids", part.pids),
        home=part.home if home is None else int(home * MIB),
    )


def _said(shared: SharedMachine, researcher: str, field: str, otherwise: Any) -> Any:
    """What the machine's file says of a member, of all of them, or nothing."""
    for share in (shared.members.get(researcher), shared.share):
        value = None if share is None else getattr(share, field)
        if value is not None:
            return value
    return otherwise


def _strangers(machine: MachineRequest, shared: SharedMachine) -> Iterator[Problem]:
    """Those whom its file names and who are not there."""
    there = {one.researcher for one in machine.members}
    for name in sorted(set(shared.members) - there):
        what = f"no request of {name} says `machine: {machine.name}`"
        yield machine.problem(("machine", "members", name), what, "remove it, or write it there")


def _is_full(machine: MachineRequest, shared: SharedMachine) -> bool:
    return len(machine.members) > shared.seats


def _crowd(machine: MachineRequest, shared: SharedMachine) -> Iterator[Problem]:
    """More people than seats: then what each may have is more than a part."""
    if _is_full(machine, shared):
        what = f"{shared.seats}, and {len(machine.members)} people are there"
        yield machine.problem(("machine", "seats"), what, "raise it, or give some another machine")


def _sums(machine: MachineRequest, shared: SharedMachine, hardware: Hardware) -> Iterator[Problem]:
    """More than the machine has: all that its members may take, together."""
    of_each = shares(machine, hardware).values()
    if _memory(shared, hardware) < LEAST_MEMORY * shared.seats:
        what = f"{shared.seats} in {hardware.memory_gib} GiB: less than {LEAST_MEMORY} MiB for each"
        yield machine.problem(("machine", "seats"), what, "fewer seats, or a larger machine")
        return
    have = {
        "memory_gib": (sum(one.memory for one in of_each) / MIB, _memory(shared, hardware) / MIB),
        "home_gib": (sum(one.home for one in of_each) / MIB, _home(shared) / MIB),
        "cpus": (sum(one.cpus or 0 for one in of_each), hardware.vcpus),
        "pids": (sum(one.pids for one in of_each), _pids(hardware)),
    }
    for field, (wanted, there) in have.items():
        if wanted > there:
            what = f"{len(of_each)} members may take {wanted:.4g} of it together, and the machine "
            what += f"has {there:.4g} for them"
            yield machine.problem(("machine", "share", field), what, "give each less of it")


def _gpus(machine: MachineRequest, shared: SharedMachine, hardware: Hardware) -> Iterator[Problem]:
    owners: dict[int, str] = {}
    for person in machine.members:
        for index, each in enumerate(person.gpus or ()):
            place, owner = ("gpus", index), owners.setdefault(each, person.researcher)
            if each >= hardware.gpus:
                what = f"{each}: {machine.name} has {_count(hardware.gpus)}, counted from 0"
                yield problem_at(person, place, what, _free(machine, hardware))
            elif owner != person.researcher:
                yield problem_at(person, place, f"{each} is {owner}'s", _free(machine, hardware))
        most = gpus_of(shared, person.researcher, hardware)
        if len(person.gpus or ()) > most:
            what = f"{len(person.gpus or ())} of them, and {machine.name} gives a member {most}"
            mend = f"take fewer, or raise `gpus` in machines/{machine.name}.yaml"
            yield problem_at(person, ("gpus",), what, mend)
        elif person.gpus is None and most:
            what = f"which of {machine.name}'s are {person.researcher}'s is not said"
            yield problem_at(person, ("gpus",), what, _free(machine, hardware))


def _free(machine: MachineRequest, hardware: Hardware) -> str:
    free = free_gpus((each for one in machine.members for each in one.gpus or ()), hardware)
    if not free:
        return "none is free: `gpus: []` asks for none"
    return f"free: {', '.join(map(str, free))}; such as `gpus: [{free[0]}]`"


def _count(gpus: int) -> str:
    return "no GPU" if not gpus else f"{gpus} GPU{'' if gpus == 1 else 's'}"
