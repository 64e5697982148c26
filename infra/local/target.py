"""The target `local`: machines are QEMU virtual machines on this computer."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import pulumi

from infra.local.host import LocalHost
from infra.local.image import GoldenImage, golden_image, image_folder
from infra.local.machine import LocalMachine
from infra.problems import ProblemsError
from infra.requests import check_local

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from infra.plan import MachinePlan
    from infra.problems import Problem
    from infra.requests import InstanceRequest


class Local:
    """Makes machines on this computer."""

    name = "local"
    policies: Mapping[str, pulumi.Output[str]] = MappingProxyType({})  # nobody asks IAM here

    def __init__(self, stack: str, machines: Sequence[str]) -> None:
        self._image = _image()
        self._host = LocalHost("host", Path(".secondlock") / stack, machines)

    def machine(self, plan: MachinePlan) -> LocalMachine:
        """The machine of `plan`."""
        return LocalMachine(plan, self._host, self._image)


def problems(requests: Sequence[InstanceRequest]) -> list[Problem]:
    """What this computer cannot do for `requests`; an image is not needed for a preview."""
    found = list(check_local(requests))
    try:
        golden_image()
    except ProblemsError as error:
        if not pulumi.runtime.is_dry_run():
            found += error.problems
    return found


def _image() -> str:
    """The identity of the image that machines are made from."""
    folder = image_folder()
    image = GoldenImage(folder, folder.name)
    if not image.disk.exists():
        pulumi.log.info("the golden image is not built yet: make image (a preview goes without)")
    return image.identity
