"""Whether this computer can run TensorFlow in a machine: told before a build that takes minutes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from infra.local.accel import AVX_SINCE, acceleration, qemu_version
from tools.steps import StepError

if TYPE_CHECKING:
    from pathlib import Path


def require_avx(kernel: Path | None = None) -> None:
    """TensorFlow's wheels need AVX, which KVM passes on and only newer QEMUs emulate.

    Without a `kernel` to try KVM with, /dev/kvm is believed. Raises StepError.
    """
    version = qemu_version()
    if not version or version >= AVX_SINCE:
        return
    if _kvm() if kernel is None else acceleration(kernel).name == "kvm":
        return
    have, need = (".".join(map(str, each)) for each in (version, AVX_SINCE))
    raise StepError(
        f"QEMU {have} emulates no AVX, which TensorFlow needs, and /dev/kvm is not usable",
        "switch virtualisation on in the firmware and `sudo usermod -aG kvm $USER` (then log in "
        f"again), or use QEMU {need} or newer (Debian 12, Ubuntu 23.04)",
    )


def _kvm() -> bool:
    return os.environ.get("SECONDLOCK_ACCEL") != "tcg" and os.access("/dev/kvm", os.R_OK | os.W_OK)
