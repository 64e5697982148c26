"""What would stop `up` on this computer."""

from __future__ import annotations

import ctypes
import datetime as dt
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cli.findings import Finding, note, ok, stop
from cli.project import Stack, pulumi
from image.store import GoldenImage
from infra.checks import Checked
from infra.local import qemu
from infra.local.accel import AVX_SINCE, QEMU, acceleration, qemu_version
from infra.local.host import machines_folder
from infra.local.image import golden_image
from infra.model.members import MachineRequest
from infra.model.problems import ProblemsError

_LEAST_DISK_GIB = 3.0
"""What a machine writes at its first boot and a little more: its disks grow as they are used."""

_OLD = dt.timedelta(days=30)
"""An image's age from which on its kernel, crun and Docker have probably been mended since."""

_TELLING = re.compile(r"linux-image-\d.*|crun|runc|docker\.io|openssh-server")

_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_INSTALL = "sudo apt-get install qemu-system-x86"


def findings(stack: Stack, checked: Checked) -> list[Finding]:
    """Every finding, good and bad."""
    machines = checked.asked.machines if checked.asked.whole else ()
    version = qemu_version()
    accel, image = _image()
    found = [_qemu(version, accel), image, *_behind(stack), _accel(accel)]
    found += [_cpus(machines), _memory(stack, machines), _disk(stack, machines), _clock()]
    return found


def _image() -> tuple[str | None, Finding]:
    """The acceleration that boots the golden image's kernel, where there is one."""
    try:
        image = golden_image()
    except ProblemsError as error:
        return None, Finding("image", error.problems[0])
    return acceleration(image.kernel).name, _age(image)


def _age(image: GoldenImage) -> Finding:
    packages = [f"{name} {what}" for name, what in image.versions().items() if _TELLING.match(name)]
    told = f"{image.directory}, built on {image.built:%Y-%m-%d}"
    if dt.datetime.now(dt.timezone.utc) - image.built > _OLD:
        what = f"{told}, gets no fixes: {', '.join(packages) or 'its packages'}"
        return note("image", what, "make image FRESH=1")
    return ok("image", told)


def _behind(stack: Stack) -> list[Finding]:
    """Which machines rest on an older image than the newest."""
    folder = machines_folder(stack.state)
    older = []
    for place in sorted(folder.iterdir()) if folder.is_dir() else ():
        with suppress(ProblemsError, qemu.MachineError):
            if qemu.load_spec(place).kernel.parent != golden_image().directory:
                older.append(place.name)
    if not older:
        return []
    what = f"{', '.join(older)}: made from an older image than the newest"
    mend = f"raise `rebuild` in the request, then {pulumi('up', stack=stack)}"
    return [note("machines", what, mend)]


def _qemu(version: tuple[int, ...] | None, accel: str | None) -> Finding:
    if version is None:
        return stop("qemu", f"{QEMU} is not installed", f"make setup, or: {_INSTALL}")
    if not version:
        return note("qemu", f"{QEMU} does not tell its version", _INSTALL)
    told = ".".join(map(str, version))
    if version < AVX_SINCE and accel != "kvm":
        what = f"{told} emulates no AVX, without which TensorFlow does not start"
        return stop("qemu", what, "QEMU 7.2 or later (Debian 12, Ubuntu 24.04), or KVM")
    return ok("qemu", told)


def _accel(name: str | None) -> Finding:
    if name == "kvm":
        return ok("speed", "KVM boots the guest")
    slow = "machines are emulated (TCG): they work, some ten times slower than with KVM"
    if not Path("/dev/kvm").exists():
        return note("speed", slow, "switch virtualisation on in the firmware, if it is a computer")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return note("speed", slow, "sudo usermod -aG kvm $USER, then log in again")
    if name is None:
        return note("speed", "whether KVM works is known once there is an image", "make image")
    return note("speed", f"KVM is there but does not boot a guest; {slow}")


def _cpus(machines: Sequence[MachineRequest]) -> Finding:
    here = len(os.sched_getaffinity(0))
    most = max((one.size.cpus for one in machines), default=0)
    if most > here:
        return note("cpus", f"a request asks for {most}, this computer has {here}")
    return ok("cpus", f"{here} here, {most} at most in a request")


def _memory(stack: Stack, machines: Sequence[MachineRequest]) -> Finding:
    known = dict(re.findall(r"^(\w+):\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE))
    total, free = (int(known[name]) / 2**20 for name in ("MemTotal", "MemAvailable"))
    need = sum(one.size.memory_gib for one in machines)
    told = f"the requests need {need} GiB, this computer has {total:.1f} ({free:.1f} free)"
    mend = "lower machine.memory_gib, or fewer researchers in this stack"
    if need > total:
        return stop("memory", told, mend)
    if need > free and not qemu.processes(stack.state):
        return note("memory", told, mend)
    return ok("memory", told)


def _disk(stack: Stack, machines: Sequence[MachineRequest]) -> Finding:
    folder = stack.state if stack.state.exists() else stack.root
    free = shutil.disk_usage(folder).free / 2**30
    most = sum(one.size.root_disk_gib + one.size.home_disk_gib for one in machines)
    told = f"{free:.1f} GiB free in {folder}; the machines' disks grow to {most} at most"
    if free < _LEAST_DISK_GIB * len(machines):
        return stop("disk", told, "make room there")
    return note("disk", told) if free < most else ok("disk", told)


def _clock() -> Finding:
    """The guests take this computer's time. adjtimex(2) with no mode set only reads."""
    libc = ctypes.CDLL(None, use_errno=True)
    state = libc.adjtimex(ctypes.create_string_buffer(256))  # struct timex is 208 bytes
    if state in {-1, _TIME_ERROR}:
        what = "this computer's clock is not synchronised; half a minute off, and codes are refused"
        return note("clock", what, "sudo timedatectl set-ntp true")
    return ok("clock", "synchronised")
