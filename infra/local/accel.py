"""Hardware acceleration that truly boots a guest, or software emulation.

/dev/kvm may exist and open and still not run a kernel (nested virtualisation does that), so the
golden kernel is booted for a moment and its last words are looked for on the serial port.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from infra.files import cache_folder, write_whole

QEMU = "qemu-system-x86_64"
AVX_SINCE = (7, 2)
"""QEMU's own emulation has AVX, which TensorFlow needs, since 7.2 (QEMU's ChangeLog/7.2)."""

PROBE_SECONDS = 15.0
_SIGN = b"Unable to mount root fs"  # a kernel without a disk says so once it is up
_NAMES = ("kvm", "tcg")


@dataclass(frozen=True)
class Acceleration:
    """How QEMU runs the guest's processor."""

    name: str

    @property
    def option(self) -> str:
        """The value of QEMU's -accel."""
        return "kvm" if self.name == "kvm" else "tcg,thread=multi"

    @property
    def cpu(self) -> str:
        """The value of QEMU's -cpu; `max` has AVX under TCG, which TensorFlow needs."""
        return "host" if self.name == "kvm" else "max"

    @property
    def kernel_options(self) -> str:
        """Emulated processors have no side channels to mitigate, and time is dear on them.

        Under QEMU 7.2 a boot was seen to end in a panic, where one emulated processor ran what
        another had just changed (decision 14): the machine then starts again.
        """
        return "cryptomgr.notests panic=1" + ("" if self.name == "kvm" else " mitigations=off")


def qemu_version() -> tuple[int, ...] | None:
    """QEMU's version, major and minor: empty where it does not say; None where there is no QEMU."""
    if shutil.which(QEMU) is None:
        return None
    done = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"version (\d+)\.(\d+)", done.stdout)
    return (int(match[1]), int(match[2])) if match else ()


def acceleration(kernel: Path) -> Acceleration:
    """What works here: SECONDLOCK_ACCEL=kvm|tcg, or KVM when it boots `kernel`, or TCG.

    The answer is kept in the cache until the computer or QEMU changes.
    """
    if name := _known():
        return Acceleration(name)
    name = "kvm" if kvm_boots(kernel) else "tcg"
    with suppress(OSError):  # no room or no right to write there: the next start tries again
        _keep(_cache_file(), name)
    return Acceleration(name)


def takes_a_try() -> bool:
    """Whether KVM has to be tried first, which may take `PROBE_SECONDS`."""
    return _known() is None


def _known() -> str | None:
    wanted = os.environ.get("SECONDLOCK_ACCEL", "")
    if wanted in _NAMES:
        return wanted
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    kept = _cache_file()
    name = kept.read_text(errors="replace").strip() if kept.exists() else ""
    return name if name in _NAMES else None


def kvm_boots(kernel: Path) -> bool:
    """Whether KVM brings `kernel` up to looking for its root file system, in a few seconds."""
    program = shutil.which(QEMU)
    if program is None:
        return False
    argv = [program, "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35"]
    argv += ["-accel", "kvm", "-cpu", "host", "-m", "256M", "-no-reboot", "-serial", "stdio"]
    argv += ["-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"]
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return _SIGN in (error.stdout or b"")
    return _SIGN in done.stdout


def _cache_file() -> Path:
    """One file for each (boot of the computer, QEMU): either may change what works."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    program = Path(shutil.which(QEMU) or "/").stat()
    key = f"{boot} {program.st_ino} {program.st_mtime_ns}"
    return cache_folder() / f"accel-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _keep(path: Path, name: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob("accel-*"):
        old.unlink(missing_ok=True)
    write_whole(path, f"{name}\n".encode())
