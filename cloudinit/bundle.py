"""What is ours on a machine, as one archive: configuration and programs as they are written here.

The same sources give the same bytes, whoever packs them, where and when. The archive is named by
its SHA-256; user-data says that name, and cloudinit/guest/stub.py unpacks nothing else.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import lzma
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from cloudinit.install import File, render_install, render_workspaces
from cloudinit.render import HERE, LIBRARY, render

Target = Literal["local", "aws"]

_UNITS = "/etc/systemd/system"
_SSHD = "/etc/ssh/sshd_config.d/00-secondlock.conf"
# Template -> (path on the machine, mode). One template per subsystem.
FILES: dict[str, tuple[str, str]] = {
    "sshd.conf": (_SSHD, "0600"),
    "ssh.service.conf": (f"{_UNITS}/ssh.service.d/secondlock.conf", "0644"),
    "user@.service.conf": (f"{_UNITS}/user@.service.d/secondlock.conf", "0644"),
    "pam-sshd": ("/etc/pam.d/sshd", "0644"),
    "pam-sshd-password": ("/etc/pam.d/sshd-password", "0644"),
    "logind.conf": ("/etc/systemd/logind.conf.d/secondlock.conf", "0644"),
    "user-.slice.conf": (f"{_UNITS}/user-.slice.d/secondlock.conf", "0644"),
    "fail2ban-jail.conf": ("/etc/fail2ban/jail.local", "0644"),
    "fail2ban-filter.conf": ("/etc/fail2ban/filter.d/secondlock-sshd.conf", "0644"),
    "fail2ban-flood.conf": ("/etc/fail2ban/filter.d/secondlock-flood.conf", "0644"),
    "nftables.conf": ("/etc/nftables.conf", "0755"),
    "chrony.conf": ("/etc/chrony/chrony.conf", "0644"),
    "docker-daemon.json": ("/etc/docker/daemon.json", "0644"),
    "docker.service.conf": (f"{_UNITS}/docker.service.d/secondlock.conf", "0644"),
    "shell": (f"{LIBRARY}/shell", "0755"),
    "containerd.service.conf": (f"{_UNITS}/containerd.service.d/secondlock.conf", "0644"),
    "fail2ban.service.conf": (f"{_UNITS}/fail2ban.service.d/secondlock.conf", "0644"),
    "chrony.service.conf": (f"{_UNITS}/chrony.service.d/secondlock.conf", "0644"),
    "sudoers": ("/etc/sudoers.d/secondlock", "0440"),
    "unattended-upgrades.conf": ("/etc/apt/apt.conf.d/52secondlock", "0644"),
    "resolved.conf": ("/etc/systemd/resolved.conf.d/secondlock.conf", "0644"),
    "nothing": (f"{LIBRARY}/nothing/README", "0644"),
    "modprobe.conf": ("/etc/modprobe.d/secondlock.conf", "0644"),
    "sysctl.conf": ("/etc/sysctl.d/60-secondlock.conf", "0644"),
    "coredump.conf": ("/etc/systemd/coredump.conf.d/secondlock.conf", "0644"),
    "profile.sh": ("/etc/profile.d/secondlock.sh", "0644"),
    "issue": ("/etc/issue", "0644"),
    "issue.net": ("/etc/issue.net", "0644"),
    "journald.conf": ("/etc/systemd/journald.conf.d/secondlock.conf", "0644"),
}
UNITS = (
    "secondlock-boot.service",
    "secondlock-clock.service",
    "secondlock-doorkeeper.service",
    "secondlock-status.service",
    "secondlock-status.timer",
    "secondlock-jupyter@.service",
    "secondlock-jupyter-proxy@.service",
    "secondlock-jupyter-proxy@.socket",
)
# Program on the machine -> its module in cloudinit/guest/.
PROGRAMS: dict[str, str] = {
    "/usr/local/sbin/secondlock-sync": "sync",
    "/usr/local/sbin/secondlock-status": "status",
    f"{LIBRARY}/clockwatch": "clockwatch",
    f"{LIBRARY}/doorkeeper": "doorkeeper",
    f"{LIBRARY}/enter": "enter",
    f"{LIBRARY}/verify": "verify",
    f"{LIBRARY}/jupyter": "jupyter",
    f"{LIBRARY}/jupyterport": "jupyterport",
    f"{LIBRARY}/upgrade": "upgrade",
}
ABOUT = f"{LIBRARY}/bundle.json"
"""What a machine knows a bundle of ours by."""


@dataclass(frozen=True)
class _Own:
    """What one target's machines alone have."""

    units: tuple[str, ...]
    programs: tuple[str, ...]
    """Modules that are programs in `LIBRARY`."""
    modules: tuple[str, ...] = ()
    """Modules that other modules use."""


_OWN: dict[Target, _Own] = {
    "local": _Own(units=(), programs=()),
    "aws": _Own(
        units=(
            "secondlock.target",
            "secondlock-fetch.service",
            "secondlock-fetch.timer",
            "secondlock-gpu.service",
            "secondlock-install.service",
            "secondlock-ship.service",
            "secondlock-ship.timer",
            "secondlock-spot.service",
        ),
        programs=("firstboot", "ship", "spot"),
        modules=("aws", "ebs", "ssm"),
    ),
}


@dataclass(frozen=True)
class Bundle:
    """A tar archive, compressed by xz. Its files' paths are those on the machine."""

    data: bytes = field(repr=False)

    @property
    def digest(self) -> str:
        """Its SHA-256 in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()


@functools.cache
def bundle(target: Target) -> Bundle:
    """The bundle of a target's machines; it knows none of them and holds no secret."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, mode, content in sorted(files(target)):
            # Owner, group and time are root and 1970 where nothing else is said.
            member = tarfile.TarInfo(path.lstrip("/"))
            member.mode, member.size = int(mode, 8), len(content.encode())
            tar.addfile(member, io.BytesIO(content.encode()))
    return Bundle(lzma.compress(archive.getvalue(), preset=6))


def files(target: Target) -> tuple[File, ...]:
    """All files of the target's bundle."""
    own = _OWN[target]
    others = {name for one in _OWN.values() for name in (*one.programs, *one.modules)}
    absent = others - {*own.programs, *own.modules}
    present = {source.stem for source in (HERE / "guest").glob("*.py")} - absent
    inside = (
        *templates(target, FILES | units((*UNITS, *own.units))),
        *modules(sorted(present)),
        *launchers(PROGRAMS | {f"{LIBRARY}/{name}": name for name in own.programs}),
        *(_install() if target == "aws" else ()),
    )
    about = {"target": target, "files": sorted(path.lstrip("/") for path, _, _ in inside)}
    return (*inside, (ABOUT, "0644", json.dumps(about) + "\n"))


def _install() -> tuple[File, ...]:
    """What a machine that was not baked runs at first, in the order of the names.

    No image of workspaces is named there: each machine knows its own.
    """
    scripts = (render_install(None), render_workspaces())
    return tuple(
        (f"{LIBRARY}/install/{number}.sh", "0755", script)
        for number, script in enumerate(scripts, 1)
    )


def templates(target: Target, files: Mapping[str, tuple[str, str]]) -> tuple[File, ...]:
    """Templates as files of a machine; they differ by target alone, none knows which machine."""
    return tuple((path, mode, render(name, target=target)) for name, (path, mode) in files.items())


def units(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Units as `templates` takes them."""
    return {name: (f"{_UNITS}/{name}", "0644") for name in names}


def modules(names: Iterable[str]) -> tuple[File, ...]:
    """Modules of cloudinit/guest as files of a machine."""
    return tuple(
        (
            f"{LIBRARY}/guest/{name}.py",
            "0644",
            (HERE / "guest" / f"{name}.py").read_text(encoding="utf-8"),
        )
        for name in names
    )


def launchers(programs: Mapping[str, str]) -> tuple[File, ...]:
    """Programs, by path, of modules."""
    return tuple((path, "0755", _launcher(path, module)) for path, module in programs.items())


def _launcher(path: str, module: str) -> str:
    """Isolated (`-I`): no variable or folder of the caller's changes what root runs.

    A login waits for the verifier, which needs nothing but the standard library (`-S`). What is
    imported is what came with the program itself, though another bundle is switched to meanwhile.
    """
    flags = "-IS" if module == "verify" else "-I"
    return (
        f"#!/usr/bin/python3 {flags}\n"
        "import os, sys\n"
        f'sys.path.insert(0, os.path.realpath(__file__)[:-{len(path)}] + "{LIBRARY}")\n'
        f"from guest import {module}\n"
        f"sys.exit({module}.main())\n"
    )
