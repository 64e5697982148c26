"""The steps that make the golden image, each cached by a hash of its recipe."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from pathlib import Path

from cloudinit.install import PAM_SOURCES
from image.hub import pack_hub
from image.kernel import write_vmlinux
from image.packages import PACKAGES, RELEASE
from image.rootfs import build_rootfs, file_hook, script_hook, write_disk
from image.store import fresh_folder, image_folder, tensorflow_folder
from image.tensorflow import build_tensorflow
from infra.files import cache_folder
from tools.setup import ensure_uv, uv_version
from tools.steps import Step, StepError, appears_whole, locked, run_logged

_PROGRAMS = ("mmdebstrap", "mke2fs", "zstd", "unshare")
_ROOM_GIB = 9
_PAM = "/usr/local/src/secondlock"  # as pam.sh knows it
_PACKAGES = "var/lib/secondlock-packages"


def build(fresh: bool = False) -> Path:
    """Make the golden image where it is missing; return its folder. Raises StepError.

    `fresh`: also where it is there, with today's packages; machines that are there rest on the
    build that they were made from, which stays. A second builder waits for the first. What an
    interrupted one left is removed.
    """
    target = fresh_folder() if fresh else image_folder()
    if target.exists():
        Step("Golden image").done("there")
        return target
    _require()
    lock = cache_folder() / "image.lock"
    with locked(lock, "Another build of the image is running; waiting ..."):
        if not target.exists():
            _build(target, fresh)
    if fresh:
        print("New machines are made from it; others keep theirs until `rebuild:` is raised in")
        print("their requests. `./secondlock doctor` names them.")
    return target


def _build(target: Path, fresh: bool) -> None:
    print("Building the golden image, once: a few minutes and 4 GB in", target.parent.parent)
    uv = ensure_uv(f"[1/4] uv {uv_version()}")
    archive = tensorflow_folder() / "rootfs.tar"
    step = Step("[2/4] TensorFlow 2.9.3 on Debian 11")
    if fresh or not archive.exists():
        with appears_whole(archive.parent) as part:
            build_tensorflow(step, uv, part / archive.name)
    step.done()
    with appears_whole(target) as part:
        _build_guest(Step("[3/4] Debian 13 for the machines"), uv, archive, part)
        _build_disk(Step("[4/4] Disk image"), part)


def _build_guest(step: Step, uv: Path, tensorflow: Path, part: Path) -> None:
    with tempfile.TemporaryDirectory(dir=part.parent) as work:
        hub = pack_hub(step, uv, Path(work))
        build_rootfs(step, RELEASE, PACKAGES, _hooks(hub), part / "rootfs.tar", feed=tensorflow)
    step.done()


def _hooks(hub: Path) -> list[str]:
    return [
        script_hook("essential", "initramfs.sh"),
        *(file_hook(f"pam/{name}", f"{_PAM}/{name}", "644") for name in PAM_SOURCES),
        script_hook("customize", "pam.sh"),
        script_hook("customize", "toolbox.sh"),
        f"--customize-hook=tar-in {shlex.quote(str(hub))} /",
        script_hook("customize", "hub.sh"),
        script_hook("customize", "customize.sh"),
        script_hook("customize", "docker.sh"),
    ]


def _build_disk(step: Step, part: Path) -> None:
    archive = part / "rootfs.tar"
    boot = part / "boot"
    unpack = ["tar", "--extract", "--file", str(archive), "--directory", str(part)]
    unpack += ["--no-same-owner", "--wildcards", "./boot/vmlinuz-*", "./boot/initrd.img-*"]
    unpack += [f"./{_PACKAGES}", f"--transform=s,^./{_PACKAGES}$,packages,"]
    run_logged(unpack, what="the new system has no kernel", mend="make image")
    (vmlinuz,), (initrd,) = boot.glob("vmlinuz-*"), boot.glob("initrd.img-*")
    write_vmlinux(vmlinuz, part / "vmlinux")
    initrd.rename(part / "initrd.img")
    shutil.rmtree(boot)
    write_disk(step, archive, part / "disk.raw")
    archive.unlink()
    step.done()


def _require() -> None:
    """Raise StepError for what would make the build fail later, with a plainer reason."""
    absent = [name for name in _PROGRAMS if not shutil.which(name)]
    if absent:
        raise StepError(f"These programs are missing: {', '.join(absent)}", "make setup")
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache).free / 2**30
    if free < _ROOM_GIB:
        what = f"{cache} has {free:.1f} GiB free, the build needs {_ROOM_GIB}"
        raise StepError(what, "make room, or set XDG_CACHE_HOME to a larger disk")
    if os.geteuid() != 0:
        _require_subordinate_ids()


def _require_subordinate_ids() -> None:
    import getpass

    user = getpass.getuser()
    for table in (Path("/etc/subuid"), Path("/etc/subgid")):
        owners = table.read_text().splitlines() if table.exists() else []
        if not any(line.split(":")[0] in (user, str(os.getuid())) for line in owners):
            raise StepError(
                f"{user} has no range of user ids in {table}, which unprivileged builds need",
                f"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}",
            )
