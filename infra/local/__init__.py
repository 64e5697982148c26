"""The target `local`: machines are QEMU virtual machines on this computer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pulumi

from infra.local.host import LocalHost
from infra.local.image import GoldenImage, golden_image, image_folder
from infra.local.machine import Image, LocalMachine
from infra.problems import ProblemsError
from infra.requests import check_local

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.plan import MachinePlan
    from infra.problems import Problem
    from infra.requests import InstanceRequest


class Local:
    """Makes machines on this computer."""

    name = "local"

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


def _image() -> Image:
    """A build's identity is its recipe and its time: overlays fit no other build of a recipe."""
    folder = image_folder()
    image = GoldenImage(folder, folder.name)
    built = image.disk.exists()
    if not built:
        pulumi.log.info("the golden image is not built yet: make image (a preview goes without)")
    stamp = f"{image.disk.stat().st_mtime_ns:x}" if built else "not built"
    return Image(f"{image.recipe} {stamp}", image.disk, image.kernel, image.initrd)
