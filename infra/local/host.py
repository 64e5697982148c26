"""The folder of a stack's machines on this computer: made first, deleted last.

Whatever a crashed `up` left running or lying about is in it, and goes with it.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pulumi
from pulumi import dynamic

from infra.files import write_whole
from infra.local import qemu
from infra.provider import Props, QuietProvider, changed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def home(stack: str) -> Path:
    """The folder of a stack's machines and data, from the project's."""
    return Path(".secondlock") / stack


def machines_folder(home: Path) -> Path:
    """Where the machines of the stack whose folder is `home` lie."""
    return home / "machines"


def data_folder(home: Path) -> Path:
    """Where their data disks lie."""
    return home / "data"


def audit_folder(home: Path) -> Path:
    """Where the records of its machines lie, of those too that are gone."""
    return home / "audit"


@dataclass(frozen=True)
class Place:
    """Where one machine of a stack lies.

    Its resources carry one folder's path and find the rest from it: every property of a resource
    costs each preview time.
    """

    home: Path
    name: str

    @classmethod
    def of(cls, folder: str) -> Place:
        """The place that a machine's folder belongs to, or the one of its data disks."""
        path = Path(folder)
        return cls(path.parent.parent, path.name)

    @property
    def stack(self) -> str:
        """The stack's name."""
        return self.home.name

    @property
    def machine(self) -> Path:
        """The machine's own folder."""
        return machines_folder(self.home) / self.name

    @property
    def data(self) -> Path:
        """The folder of its data disks."""
        return data_folder(self.home) / self.name

    @property
    def audit(self) -> Path:
        """The record of who did what there: it outlives the machine and its disks."""
        return audit_folder(self.home) / f"{self.name}.jsonl"

    def sent(self) -> set[str]:
        """Which enrollments were ever brought there, as its data knows."""
        with suppress(FileNotFoundError):
            return set(self._sent.read_text(errors="replace").split())
        return set()

    def note_sent(self, ids: Iterable[str]) -> None:
        """Let its data know of these. Raises OSError."""
        known = self.sent()
        if not known.issuperset(ids):
            text = "".join(f"{each}\n" for each in sorted(known.union(ids)))
            write_whole(self._sent, text.encode())

    @property
    def _sent(self) -> Path:
        """A line each. Beside the disks: Pulumi's state has none of an `up` that failed after it
        had brought a roster there."""
        return self.data / "enrollments"


def strays(home: Path, names: Iterable[str]) -> list[str]:
    """Machines that have a folder under `home`, or a process, but are not among `names`."""
    folders = (machines_folder(home), data_folder(home))
    found = {entry.name for folder in folders if folder.is_dir() for entry in folder.iterdir()}
    return sorted(found - set(names))


def sweep(home: Path, keep_audit: bool = False) -> None:
    """End every machine of the stack at once and remove every file of theirs.

    With `keep_audit` the records of who did what stay.
    """
    qemu.kill(machines_folder(home))
    folders = (machines_folder(home), data_folder(home))
    for folder in folders if keep_audit else (*folders, audit_folder(home)):
        shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        home.rmdir()  # unless it holds more, as the demo's does


class _HostProvider(QuietProvider):
    def create(self, props: Props) -> dynamic.CreateResult:
        home = Path(props["home"])
        for folder in (machines_folder(home), data_folder(home)):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_strays(home, props["machines"])
        return dynamic.CreateResult(props["home"], props)

    def diff(self, _id: str, olds: Props, news: Props) -> dynamic.DiffResult:
        left = strays(Path(olds["home"]), news["machines"])
        return dynamic.DiffResult(
            changes=bool(left or changed(olds, news, ("home", "machines", "keep_audit"))),
            replaces=changed(olds, news, ("home",)),
            delete_before_replace=True,
        )

    def update(self, _id: str, olds: Props, news: Props) -> dynamic.UpdateResult:
        _remove_strays(Path(news["home"]), news["machines"])
        return dynamic.UpdateResult(news)

    def delete(self, _id: str, props: Props) -> None:
        sweep(Path(props["home"]), keep_audit=props.get("keep_audit", False))


def _remove_strays(home: Path, names: Sequence[str]) -> None:
    """Also those that are in the state and about to be deleted: nobody enters them any more."""
    for name in strays(home, names):
        place = Place(home, name)
        qemu.stop(place.machine)
        for folder in (place.machine, place.data):
            shutil.rmtree(folder, ignore_errors=True)


class LocalHost(dynamic.Resource, module="secondlock", name="Host"):
    """The stack's place on this computer; `path` is its folder, relative to the project's."""

    def __init__(
        self,
        name: str,
        home: Path,
        machines: Sequence[str],
        keep_audit: bool,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        self.path = home
        props: Props = {"home": str(home), "machines": sorted(machines)}
        if keep_audit:
            props["keep_audit"] = True
        super().__init__(_HostProvider(), name, props, opts)
