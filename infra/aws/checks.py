"""What no machine in EC2 can hold of what requests ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.model.machine import LOCAL_ONLY
from infra.model.networks import is_loopback
from infra.model.person import problem_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from infra.model.person import InstanceRequest
    from infra.model.problems import Problem


def check_requests(
    requests: Sequence[InstanceRequest], zones: Sequence[str] | None
) -> list[Problem]:
    """What no stack in `zones` can hold, or in any, where they are not known."""
    return [
        problem
        for one in requests
        for problem in (*_foreign(one), *_elsewhere(one, zones), *_unreachable(one))
    ]


def _foreign(request: InstanceRequest) -> Iterator[Problem]:
    """Fields of the target local that were written down: their defaults hold on no other."""
    for name in LOCAL_ONLY:
        if name in request.machine.model_fields_set:
            what = "the instance type says it on the target aws"
            mend = "remove it; set machine.instance_type if need be"
            yield problem_at(request, ("machine", name), what, mend)


def _elsewhere(request: InstanceRequest, zones: Sequence[str] | None) -> Iterator[Problem]:
    zone = request.machine.zone
    if zone is not None and zones is not None and zone not in zones:
        what = f"`{zone}` is none of the stack's zones: {', '.join(zones)}"
        mend = "take one of them, or add it to secondlock:zones"
        yield problem_at(request, ("machine", "zone"), what, mend)


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
    if not found and all(":" in cidr for cidr in request.allowed_from):
        what = "no IPv4 network, and the machines have only IPv4 addresses"
        found.append(problem_at(request, ("allowed_from",), what, "add the IPv4 networks"))
    return found
