"""A machine's data disks: what must survive the machine.

`state.img` holds what the machine knows of second factors, `home.img` the researchers' files.
"""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pulumi
from pulumi import dynamic

from infra.local import qemu
from infra.local.host import Place
from infra.model.problems import problem_of
from infra.provider import Props, ProviderError, QuietProvider, changed

if TYPE_CHECKING:
    from collections.abc import Callable


class _DataProvider(QuietProvider):
    def check(self, olds: Props, news: Props) -> dynamic.CheckResult:
        failures = []
        if olds and news["home_disk_gib"] < olds["home_disk_gib"]:
            machine = Place.of(news["directory"]).name
            reason = (
                f"the home disk of {machine} has {olds['home_disk_gib']:.0f} GiB and "
                f"cannot shrink to {news['home_disk_gib']:.0f} (raise home_disk_gib in its request)"
            )
            failures.append(dynamic.CheckFailure("home_disk_gib", reason))
        return dynamic.CheckResult(news, failures)

    def create(self, props: Props) -> dynamic.CreateResult:
        _in_words(lambda: qemu.create_data(Path(props["directory"]), int(props["home_disk_gib"])))
        return dynamic.CreateResult(uuid.uuid4().hex, props)

    def diff(self, _id: str, olds: Props, news: Props) -> dynamic.DiffResult:
        return dynamic.DiffResult(
            changes=bool(changed(olds, news, ("directory", "home_disk_gib"))),
            replaces=changed(olds, news, ("directory",)),
            delete_before_replace=True,
        )

    def update(self, _id: str, olds: Props, news: Props) -> dynamic.UpdateResult:
        place = Place.of(news["directory"])
        size = int(news["home_disk_gib"])
        _in_words(lambda: qemu.grow_home(place.machine, place.data, size))
        return dynamic.UpdateResult(news)

    def read(self, id_: str, props: Props) -> dynamic.ReadResult:
        if not (Path(props["directory"]) / "state.img").exists():
            return dynamic.ReadResult("", {})
        return dynamic.ReadResult(id_, props)

    def delete(self, _id: str, props: Props) -> None:
        shutil.rmtree(props["directory"], ignore_errors=True)


def _in_words(work: Callable[[], None]) -> None:
    try:
        work()
    except (OSError, qemu.MachineError) as error:
        raise ProviderError(problem_of(error)) from None


class LocalData(dynamic.Resource, module="secondlock", name="Data"):
    """The data disks of one machine. Its id changes when they are made anew."""

    def __init__(
        self,
        place: Place,
        home_disk_gib: int,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {"directory": str(place.data), "home_disk_gib": home_disk_gib}
        super().__init__(_DataProvider(), f"{place.name}-data", props, opts)
