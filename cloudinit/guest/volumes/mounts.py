"""The machine's two data volumes: state (root only) and home."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from guest import paths
from guest.system import GuestError, folder, run, write
from guest.totp import codes
from guest.volumes import quota, restored

PATIENCE = 60  # seconds
UNIT = "secondlock-volumes.service"
FAULT = paths.RUN / "volumes"  # what UNIT could not do
LIMITS = paths.RUN / "limits"  # whose homes may be how large, in MiB by uid


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
        # `sync`: a crash just after a login must not make its code good again.
        "noatime,nodev,nosuid,noexec,sync",
        0o700,
    ),
    Volume(
        Path("/dev/disk/by-id/virtio-sl-home"),
        "sl-home",
        paths.HOME,
        "noatime,nodev,nosuid,usrquota",
        0o755,
    ),
)


def _make(volume: Volume, may_format: bool) -> bool:
    """Make the file system where there is none of ours; whether that was done.

    The label comes last: one without it is what an interrupted first time left.
    """
    device = str(volume.device)
    # blkid says nothing only where it finds no signature at all (blkid(8)).
    found = run("blkid", "-p", "-o", "value", "-s", "TYPE", "-s", "LABEL", device, check=False)
    if volume.label in found.split():
        return False
    if not may_format:
        raise GuestError(f"the volume {volume.label} is not new and holds no file system of ours")
    if found.strip() not in ("", "ext4"):
        raise GuestError(f"the volume {volume.label} holds another's file system")
    # Quotas are kept from the beginning: a shared machine limits its members by them.
    options = ("-m", "1", "-O", "quota", "-E", "nodiscard,quotatype=usrquota")
    run("mkfs.ext4", "-qF", *options, device)
    run("tune2fs", "-L", volume.label, device)
    return True


def _mount(volume: Volume, may_format: bool) -> None:
    if os.path.ismount(volume.mountpoint):
        return
    # Early in a boot udev may not have named it yet.
    if not volume.device.exists():
        run("udevadm", "wait", f"--timeout={PATIENCE}", str(volume.device), check=False)
    if not volume.device.exists():
        raise GuestError(f"the volume {volume.label} is not attached")
    new = _make(volume, may_format)
    volume.mountpoint.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "ext4", "-o", volume.options, str(volume.device), str(volume.mountpoint))
    if not new:
        run("resize2fs", str(volume.device), check=False)
    folder(volume.mountpoint, volume.mode)


def _on_aws() -> bool:
    return bool(json.loads(paths.MACHINE.read_text())["target"] == "aws")


def _parts(may_format: bool) -> Iterator[tuple[Volume, bool]]:
    """The volumes as partitions of the one that a machine on AWS has, and whether each is new.

    Whoever goes on to the next has mounted this one.
    """
    from guest.aws import ebs

    device = ebs.disk()
    found = ebs.parts(device) if may_format else ebs.table(device)
    for volume in VOLUMES:
        part = found.get(volume.label)
        if part is None:
            raise GuestError(f"the volume {volume.label} is not there yet")
        yield replace(volume, device=part.device), part.new and may_format
        if part.new:
            ebs.finished(device, volume.label)


def mounted() -> bool:
    """Whether both volumes are in their places."""
    return all(os.path.ismount(volume.mountpoint) for volume in VOLUMES)


def mount_all(may_format: bool) -> None:
    """Mount both volumes; make a file system only where there is none and the roster says new.

    On AWS a state volume that was restored has its codes voided. Raises GuestError naming the
    volume.
    """
    if not mounted():
        if may_format and _on_aws():
            _ask()
        else:
            _attach(may_format)
    for place in (codes.CODES, codes.SPENT, codes.WITNESS):
        folder(Path(place), 0o700)
    if _on_aws():
        from guest.aws import ebs

        restored.look(ebs.volume_of(paths.STATE))


def _attach(may_format: bool) -> None:
    local = ((volume, may_format) for volume in VOLUMES)
    for volume, new in _parts(may_format) if _on_aws() else local:
        _mount(volume, new)


def _ask() -> None:
    """Have UNIT do it: what brings rosters from AWS sees no disk, and nobody would see its mounts.

    Raises GuestError with what that says.
    """
    run("systemctl", "start", UNIT, check=False)
    if FAULT.exists():
        raise GuestError(FAULT.read_text())
    if not mounted():
        raise GuestError(f"the volumes are not mounted; see `journalctl -u {UNIT}`")


def limit(homes: Mapping[int, int]) -> None:
    """Let each of these owners, by uid, fill so many MiB of the home volume. Raises GuestError."""
    if not homes:
        return
    if _on_aws():
        write(LIMITS, json.dumps({str(uid): mib for uid, mib in homes.items()}), 0o600)
        _ask()
        return
    for uid, mib in homes.items():
        quota.limit(uid, mib)


def serve() -> int:
    """What UNIT does: mount what is not, let home have what was added to the volume, and each
    owner so much of it as `limit` asked for."""
    from guest.aws import ebs

    FAULT.unlink(missing_ok=True)
    try:
        if not mounted():
            _attach(may_format=True)
        ebs.grow(ebs.disk())
        if LIMITS.exists():
            for uid, mib in json.loads(LIMITS.read_text()).items():
                quota.limit(int(uid), mib)
    except (GuestError, OSError) as error:
        write(FAULT, str(error), 0o600)
        print(error)
        return 1
    return 0


def grow() -> None:
    """Let home on AWS have what was added to the volume. Raises GuestError."""
    from guest.aws import ebs

    if ebs.has_more(paths.HOME):
        _ask()
