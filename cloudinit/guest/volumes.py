"""The machine's two data volumes: state (root only) and home."""

import os
from dataclasses import dataclass
from pathlib import Path

from guest import paths
from guest.system import GuestError, folder, run

PATIENCE = 60  # seconds


@dataclass(frozen=True)
class Volume:
    """A volume, known by its virtio serial; `label` is its file system's."""

    device: Path
    label: str
    mountpoint: Path
    options: str
    mode: int


VOLUMES = (
    Volume(
        Path("/dev/disk/by-id/virtio-sl-state"),
        "sl-state",
        paths.STATE,
        "noatime,nodev,nosuid,noexec",
        0o700,
    ),
    Volume(
        Path("/dev/disk/by-id/virtio-sl-home"), "sl-home", paths.HOME, "noatime,nodev,nosuid", 0o755
    ),
)


def _is_blank(volume: Volume) -> bool:
    """blkid exits with 2 and says nothing only where it finds no signature at all (blkid(8))."""
    return run("blkid", "-p", "-o", "value", "-s", "TYPE", str(volume.device), check=False) == ""


def _mount(volume: Volume, may_format: bool) -> None:
    if os.path.ismount(volume.mountpoint):
        return
    # Early in a boot udev may not have named it yet.
    run("udevadm", "wait", f"--timeout={PATIENCE}", str(volume.device), check=False)
    if not volume.device.exists():
        raise GuestError(f"the volume {volume.label} is not attached")
    if _is_blank(volume):
        if not may_format:
            raise GuestError(f"the volume {volume.label} holds no file system and is not new")
        run("mkfs.ext4", "-q", "-m", "1", "-E", "nodiscard", "-L", volume.label, str(volume.device))
    volume.mountpoint.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "ext4", "-o", volume.options, str(volume.device), str(volume.mountpoint))
    run("resize2fs", str(volume.device), check=False)
    folder(volume.mountpoint, volume.mode)


def mount_all(may_format: bool) -> None:
    """Mount both volumes; make a file system only where there is none and the roster says new.

    Raises GuestError naming the volume.
    """
    for volume in VOLUMES:
        _mount(volume, may_format)
    folder(paths.TOTP, 0o700)
    folder(paths.FAILLOCK, 0o700)
