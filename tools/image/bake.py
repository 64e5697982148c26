"""The golden image's one boot at building: TensorFlow's image goes into the guest's own Docker."""

from __future__ import annotations

import re
from pathlib import Path

from infra.local.accel import acceleration
from tools.image.tensorflow import TAG
from tools.steps import Step, StepError, run_logged

PROGRAM = "/usr/local/sbin/secondlock-bake"
_COPIED = re.compile(r"^(\d+) bytes")


def bake(step: Step, folder: Path, archive: Path) -> None:
    """Boot `folder`'s disk.raw with PROGRAM, which imports the tar file `archive`.

    Raises StepError.
    """
    accel = acceleration(folder / "vmlinux")
    size = archive.stat().st_size
    said = ["booting"]

    def listen(line: str) -> None:
        if line.startswith("secondlock: "):
            said[0] = line.removeprefix("secondlock: ")
        if copied := _COPIED.match(line):
            said[0] = f"reading TensorFlow's image ({100 * int(copied[1]) // size} %)"

    options = f"root=/dev/vda rw init={PROGRAM} console=ttyS0 panic=-1 quiet"
    argv = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot"]
    argv += ["-display", "none", "-serial", "stdio", "-machine", "q35", "-smp", "2", "-m", "3072"]
    argv += ["-accel", accel.option, "-cpu", accel.cpu]
    argv += ["-kernel", str(folder / "vmlinux"), "-initrd", str(folder / "initrd.img")]
    argv += ["-append", f"{options} {accel.kernel_options} -- {TAG}"]
    argv += _disk("root", folder / "disk.raw", "cache=unsafe,discard=unmap,detect-zeroes=unmap")
    argv += _disk("tensorflow", archive, "readonly=on")
    mend = "make image"
    with step.heartbeat(lambda: f"{said[0]} (by {accel.name})"):
        lines = run_logged(argv, what="QEMU could not boot the image", mend=mend, on_line=listen)
    if "secondlock: baked" not in lines:
        tail = "\n".join(f"    {line}" for line in lines[-15:])
        raise StepError(f"the image did not take TensorFlow's image; it said:\n{tail}", mend)


def _disk(name: str, path: Path, options: str) -> list[str]:
    # A comma in a path would end it: QEMU wants it doubled.
    file = str(path).replace(",", ",,")
    return [
        "-drive",
        f"if=none,id={name},format=raw,file={file},{options}",
        "-device",
        f"virtio-blk-pci,drive={name}",
    ]
