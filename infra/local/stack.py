"""The target `local`: machines are QEMU virtual machines on this computer."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import pulumi

from image.store import GoldenImage, image_folder
from infra.local.host import LocalHost, home
from infra.local.machine import LocalMachine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from infra.model.settings import Settings
    from infra.plan import MachinePlan


class Local:
    """Makes machines on this computer."""

    policies: Mapping[str, pulumi.Output[str]] = MappingProxyType({})  # nobody asks IAM here

    def __init__(self, settings: Settings, machines: Sequence[str]) -> None:
        self._image, self._back = _image(), settings.older_bundle
        self._host = LocalHost(
            "host", home(settings.stack), machines, settings.audit_outlives_destroy
        )

    def machine(self, plan: MachinePlan) -> LocalMachine:
        """The machine of `plan`."""
        return LocalMachine(plan, self._host, self._image, self._back)


def _image() -> str:
    """The identity of the image that machines are made from."""
    image = GoldenImage(image_folder())
    if not image.disk.exists():
        pulumi.log.info("the golden image is not built yet: make image (a preview goes without)")
    return image.identity
