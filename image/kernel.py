"""Debian's kernel, unpacked: QEMU starts an ELF kernel without the guest having to unpack it."""

from __future__ import annotations

import struct
import subprocess
from typing import TYPE_CHECKING

from tools.steps import StepError

if TYPE_CHECKING:
    from pathlib import Path

_ZSTD = b"\x28\xb5\x2f\xfd"


def write_vmlinux(vmlinuz: Path, vmlinux: Path) -> None:
    """Write the ELF kernel that the bzImage `vmlinuz` carries.

    The offsets are those of Linux' Documentation/arch/x86/boot.rst, "The Real-Mode Kernel
    Header": setup_sects, payload_offset, payload_length; the payload ends with its size unpacked.
    Raises StepError.
    """
    image = vmlinuz.read_bytes()
    start = (image[0x1F1] + 1) * 512 + struct.unpack_from("<I", image, 0x248)[0]
    payload = image[start : start + struct.unpack_from("<I", image, 0x24C)[0]]
    packed, size = payload[:-4], struct.unpack("<I", payload[-4:])[0]
    if not packed.startswith(_ZSTD):
        raise StepError(f"{vmlinuz.name} is not packed by zstd", "report this: the kernel changed")
    with vmlinux.open("wb") as output:
        subprocess.run(["zstd", "-dcq"], input=packed, stdout=output, check=True)
    if vmlinux.stat().st_size != size:
        raise StepError(f"{vmlinuz.name} is damaged", "make image")
