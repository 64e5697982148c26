"""Which computers are told at once that no TensorFlow will run in their machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.emulation import require_avx
from tools.steps import StepError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A QEMU to be written; no KVM is used."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("SECONDLOCK_ACCEL", "tcg")
    return tmp_path / "qemu-system-x86_64"


def _says(program: Path, version: str) -> None:
    program.write_text(f"#!/bin/sh\necho 'QEMU emulator version {version}'\n")
    program.chmod(0o755)


def test_an_emulator_without_avx_is_refused_with_the_mend(qemu: Path) -> None:
    _says(qemu, "6.2.0 (Debian 1:6.2+dfsg-2ubuntu6.22)")
    with pytest.raises(StepError, match="emulates no AVX") as caught:
        require_avx()
    with pytest.raises(StepError, match="emulates no AVX"):
        require_avx(qemu.with_name("vmlinux"))
    assert "QEMU 7.2 or newer" in str(caught.value)
    assert "/dev/kvm" in str(caught.value)


@pytest.mark.parametrize("version", ["7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)", "10.0.2", "unknown"])
def test_one_with_avx_or_an_unknown_one_is_not(qemu: Path, version: str) -> None:
    _says(qemu, version)
    require_avx()
