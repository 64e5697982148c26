"""Whether this computer can run TensorFlow in a machine: told before a build that takes minutes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

from infra.local.accel import acceleration
from tools.steps import StepError

if TYPE_CHECKING:
    from pathlib import Path

_QEMU = "qemu-system-x86_64"
_FIRST_WITH_AVX = (7, 2)  # QEMU's changelog, "TCG: x86: AVX, AVX2, F16C, FMA3"


def require_avx(kernel: Path | None = None) -> None:
    """TensorFlow's wheels need AVX, which KVM passes on and only newer QEMUs emulate.

    Without a `kernel` to try KVM with, /dev/kvm is believed. Raises StepError.
    """
    version = _emulator()
    if version is None or version >= _FIRST_WITH_AVX:
        return
    if _kvm() if kernel is None else acceleration(kernel).name == "kvm":
        return
    have, need = (".".join(map(str, each)) for each in (version, _FIRST_WITH_AVX))
    raise StepError(
        f"QEMU {have} emulates no AVX, which TensorFlow needs, and /dev/kvm is not usable",
        "switch virtualisation on in the firmware and `sudo usermod -aG kvm $USER` (then log in "
        f"again), or use QEMU {need} or newer (Debian 12, Ubuntu 23.04)",
    )


def _kvm() -> bool:
    return os.environ.get("SECONDLOCK_ACCEL") != "tcg" and os.access("/dev/kvm", os.R_OK | os.W_OK)


def _emulator() -> tuple[int, int] | None:
    """QEMU's version; None where there is none, or it does not say."""
    program = shutil.which(_QEMU)
    if program is None:
        return None
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"version (\d+)\.(\d+)", said.stdout)
    return (int(found[1]), int(found[2])) if found else None
