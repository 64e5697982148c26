"""A machine that many share under test: each has a share of it, and the network of a workspace."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from infra.model.shares import MemberShare
from tests.support.machine import NAME, Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from infra.model.retired import Home
    from tests.support.people import Person

SEATS = 20
SHARE = MemberShare(gpus=(), memory=224, cpus=None, pids=600, home=150)
"""A twentieth of a machine with 6 GiB and a home volume of 5."""


class SharedMachine(Machine):
    """Twenty researchers on one machine."""

    memory_mib = 6144

    def __init__(self, place: Path, keep: bool = False) -> None:
        super().__init__(place, keep=keep)
        self.shares: dict[str, MemberShare] = {}

    def share(self, name: str) -> MemberShare:
        """What this researcher may take of it."""
        return self.shares.get(name, SHARE)

    def leave(self, homes: Mapping[str, Home]) -> list[str]:
        """What `secondlock revoke --home` for each of these and `pulumi up` do; what changed."""
        for name, home in homes.items():
            self.retire(self.person(name), "revoked")
            said = {"machine": NAME, "home": home}
            self.lab.retired[-1] = self.lab.retired[-1].model_copy(update=said)
            del self.lab.requests[name]
        return self.apply()

    def give(self, person: Person, **changes: object) -> None:
        """Change what one of them may take; `apply` brings it to the machine."""
        self.shares[person.name] = replace(self.share(person.name), **changes)  # type: ignore[arg-type]


def until(holds: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Wait until it holds. Raises AssertionError with `what` where it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.5)
