"""The target `local`: machines are QEMU virtual machines on this computer."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import pulumi

from infra.local.host import LocalHost, Place, strays
from infra.local.image import GoldenImage, image_folder
from infra.local.machine import LocalMachine
from infra.problems import Problem
from infra.record import may_delete
from infra.requests import check_local

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from infra.plan import MachinePlan, Plan


class Local:
    """Makes machines on this computer."""

    name = "local"
    policies: Mapping[str, pulumi.Output[str]] = MappingProxyType({})  # nobody asks IAM here

    def __init__(self, stack: str, machines: Sequence[str]) -> None:
        self._image = _image()
        self._host = LocalHost("host", home(stack), machines)

    def machine(self, plan: MachinePlan) -> LocalMachine:
        """The machine of `plan`."""
        return LocalMachine(plan, self._host, self._image)


def home(stack: str) -> Path:
    """The folder of a stack's machines and data, from the project's."""
    return Path(".secondlock") / stack


def problems(plan: Plan, root: Path = Path()) -> list[Problem]:
    """What this computer does not do for `plan`; the project is in `root`."""
    return [*check_local(plan.requests), *_nobodys_data(plan, root)]


def _nobodys_data(plan: Plan, root: Path) -> Iterator[Problem]:
    """Data that no request asks for, and of which nobody said that it shall go.

    The stack's state would refuse too, if it knows of it: another backend's does not.
    """
    place = home(plan.settings.stack)
    for name in strays(root / place, [machine.name for machine in plan.machines]):
        data = Place(root / place, name).data
        if any(data.glob("*.img")) and not may_delete(plan, name, str(place)):
            what = "holds data that would be deleted: no request asks for it, nobody was revoked"
            word = f"pulumi config set secondlock:deleteData {name}@{place}"
            mend = f"git pull; if it shall go: {word} --stack {plan.settings.stack}"
            yield Problem(data, None, what, mend)


def _image() -> str:
    """The identity of the image that machines are made from."""
    image = GoldenImage(image_folder())
    if not image.disk.exists():
        pulumi.log.info("the golden image is not built yet: make image (a preview goes without)")
    return image.identity
