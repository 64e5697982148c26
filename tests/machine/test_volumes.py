"""The data volumes' first file systems: made once, safe to interrupt, never over someone's data.

The guest's own code is called with loop devices: the machine's volumes hold what others test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.machine import Machine

PLACE = "/var/tmp/secondlock-test-volume"  # on the machine

MOUNT = """
import pathlib, sys
sys.path.insert(0, "/usr/local/lib/secondlock")
from guest.volumes import mounts as volumes
from guest.system import GuestError
device, mountpoint = pathlib.Path("{device}"), pathlib.Path("{place}/m")
volumes.VOLUMES = (volumes.Volume(device, "sl-trial", mountpoint, "noatime", 0o755),)
try:
    volumes.mount_all(may_format={new})
except GuestError as error:
    sys.exit(str(error))
"""


class Volume:
    """A volume of 8 MiB on the machine."""

    def __init__(self, machine: Machine, device: str) -> None:
        self._machine, self._device = machine, device

    def prepare(self, command: str) -> None:
        """Run a command on the device, which is `{}` in it."""
        self._machine.succeed(command.format(self._device))

    def mount(self, *, new: bool) -> str:
        """Let the guest mount it as a roster that calls its volumes new, or not; its words."""
        script = MOUNT.format(device=self._device, place=PLACE, new=new)
        _, _, errors = self._machine.run("/usr/bin/python3 -I -", script.encode())
        return errors.strip()

    def unmount(self) -> None:
        """As at the end of a machine's life."""
        self._machine.succeed(f"umount {PLACE}/m")

    @property
    def files(self) -> set[str]:
        """What is in it, while it is mounted."""
        self._machine.succeed(f"mountpoint -q {PLACE}/m")
        return set(self._machine.succeed(f"ls {PLACE}/m").split()) - {"lost+found"}

    def keep(self, name: str) -> None:
        """Put a file in it."""
        self._machine.succeed(f"touch {PLACE}/m/{name}")

    @property
    def content(self) -> str:
        """A digest of all its bytes."""
        return self._machine.succeed(f"sha256sum {self._device}")


@pytest.fixture
def volume(machine: Machine) -> Iterator[Volume]:
    """A blank volume."""
    machine.succeed(f"mkdir -p {PLACE}/m && truncate -s 8M {PLACE}/disk")
    device = machine.succeed(f"losetup --find --show {PLACE}/disk").strip()
    try:
        yield Volume(machine, device)
    finally:
        machine.run(f"umount {PLACE}/m; losetup --detach {device}; rm -r {PLACE}")


def test_a_new_volume_gets_a_file_system_and_keeps_it(volume: Volume) -> None:
    assert volume.mount(new=True) == ""
    volume.keep("thesis")
    volume.unmount()
    # Rosters call a volume new for as long as the first one has not been applied.
    assert volume.mount(new=True) == ""
    assert volume.files == {"thesis"}
    volume.unmount()
    assert volume.mount(new=False) == ""
    assert volume.files == {"thesis"}


@pytest.mark.parametrize(
    "interrupted",
    [
        "timeout -s KILL 0.05 mkfs.ext4 -q {} || true",
        "mkfs.ext4 -q {}",  # all but the label
    ],
    ids=["early", "late"],
)
def test_an_interrupted_first_time_is_done_again(volume: Volume, interrupted: str) -> None:
    volume.prepare(interrupted)
    assert volume.mount(new=True) == ""
    assert volume.files == set()


def test_a_volume_that_is_not_new_is_never_made_anew(volume: Volume) -> None:
    for command in ("true", "mkfs.ext4 -q {}"):
        volume.prepare(command)
        before = volume.content
        assert "is not new" in volume.mount(new=False)
        assert volume.content == before


@pytest.mark.parametrize("command", ["mkfs.ext4 -q -L theses {}", "mkswap {}"])
def test_what_somebody_else_made_is_never_made_anew(volume: Volume, command: str) -> None:
    volume.prepare(command)
    before = volume.content
    assert "another's file system" in volume.mount(new=True)
    assert volume.content == before
