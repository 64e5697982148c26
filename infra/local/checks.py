"""What the target `local` cannot do for a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.model.machine import AWS_ONLY, MachineSize
from infra.model.networks import is_loopback
from infra.model.person import problem_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.model.folder import Requests
    from infra.model.members import MachineRequest
    from infra.model.person import InstanceRequest
    from infra.model.problems import Problem


def check_requests(asked: Requests) -> list[Problem]:
    """What no machine on this computer can hold: each sees every client at one address."""
    return [
        *(problem for machine in asked.machines for problem in _foreign(machine)),
        *(problem for person in asked.people for problem in _networks(person)),
    ]


def _foreign(machine: MachineRequest) -> Iterator[Problem]:
    """Fields of the target aws that ask for something; a default asks for nothing."""
    for name in AWS_ONLY:
        if getattr(machine.size, name) != MachineSize.model_fields[name].default:
            what = "says nothing on the target local"
            yield machine.problem(("machine", name), what, "remove it")


def _networks(request: InstanceRequest) -> Iterator[Problem]:
    places = [
        (field, index, cidr)
        for field in ("allowed_from", "web_allowed_from")
        for index, cidr in enumerate(getattr(request, field))
    ]
    for field, index, cidr in places:
        if not is_loopback(cidr):
            what = (
                f"`{cidr}` cannot hold on the local target: the machine listens on 127.0.0.1 only, "
                "and QEMU's user-mode network shows it every client as 10.0.2.2"
            )
            yield problem_at(request, (field, index), what, "write 127.0.0.0/8")
