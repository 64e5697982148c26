"""What no machine in EC2 can hold of what requests ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.model.machine import LOCAL_ONLY
from infra.model.networks import is_loopback
from infra.model.person import problem_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from infra.model.folder import Requests
    from infra.model.members import MachineRequest
    from infra.model.person import InstanceRequest
    from infra.model.problems import Problem


def check_requests(asked: Requests, zones: Sequence[str] | None) -> list[Problem]:
    """What no stack in `zones` can hold, or in any, where they are not known."""
    return [
        *(problem for machine in asked.machines for problem in _foreign(machine)),
        *(problem for machine in asked.machines for problem in _elsewhere(machine, zones)),
        *(problem for machine in asked.machines for problem in _hidden(machine)),
        *(problem for person in asked.people for problem in _unreachable(person)),
    ]


def _foreign(machine: MachineRequest) -> Iterator[Problem]:
    """Fields of the target local that were written down: their defaults hold on no other."""
    for name in LOCAL_ONLY:
        if name in machine.size.model_fields_set:
            what = "the instance type says it on the target aws"
            mend = "remove it; set machine.instance_type if need be"
            yield machine.problem(("machine", name), what, mend)


def _elsewhere(machine: MachineRequest, zones: Sequence[str] | None) -> Iterator[Problem]:
    zone = machine.size.zone
    if zone is not None and zones is not None and zone not in zones:
        what = f"`{zone}` is none of the stack's zones: {', '.join(zones)}"
        mend = "take one of them, or add it to secondlock:zones"
        yield machine.problem(("machine", "zone"), what, mend)


def _hidden(machine: MachineRequest) -> Iterator[Problem]:
    """IAM lets a researcher's tunnel go to the machine that bears their name as its tag."""
    if machine.shared is not None and not machine.size.public:
        what = "a shared machine cannot be private yet: a tunnel is one researcher's"
        yield machine.problem(("machine", "public"), what, "remove it")


def _unreachable(request: InstanceRequest) -> list[Problem]:
    """Networks that no login to an EC2 machine comes from."""
    found = [
        problem_at(
            request,
            ("allowed_from", index),
            f"`{cidr}` is this computer's own: nobody comes from there to a machine in EC2",
            "write the networks that logins come from",
        )
        for index, cidr in enumerate(request.allowed_from)
        if is_loopback(cidr)
    ]
    if not found and request.allowed_from and all(":" in cidr for cidr in request.allowed_from):
        what = "no IPv4 network, and the machines have only IPv4 addresses"
        found.append(problem_at(request, ("allowed_from",), what, "add the IPv4 networks"))
    return found
