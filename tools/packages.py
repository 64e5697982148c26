"""The Debian packages that Secondlock needs on this computer; only apt is run by sudo."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from infra.files import cache_folder
from tools.steps import Step, StepError, appears_whole, run_logged

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

DEMO_PACKAGES = (
    "ca-certificates",
    "e2fsprogs",
    "genisoimage",
    "mmdebstrap",
    "openssh-client",
    "openssl",
    "python3",
    "python3-venv",
    "qemu-system-x86",
    "qemu-utils",
    "uidmap",
    "zstd",
)

# Independent clients and attackers of the machine tests.
TEST_PACKAGES = (
    "dropbear-bin",
    "fdisk",
    "iproute2",
    "nftables",
    "oathtool",
    "putty-tools",
    "rsync",
    "zbar-tools",
)

# More of them, for `make clients`, `proofs` and `bench`.
CLIENT_PACKAGES = ("chromium", "fuse3", "git", "libnss3-tools", "rclone", "sshfs")

# Only their programs, unpacked into the cache: a registry or a web server that is installed would
# listen at once, and Lynis judges the machines, not this computer.
UNPACKED = ("docker-registry", "lynis", "nginx")


def unpacked(name: str) -> Path:
    """Where the files of one of UNPACKED are, or will be."""
    return cache_folder() / "packages" / name


def missing(wanted: Iterable[str]) -> list[str]:
    """Those of `wanted` that dpkg does not list as installed."""
    query = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *wanted],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = (line.split() for line in query.stdout.splitlines())
    installed = {words[0] for words in lines if words[1:] == ["installed"]}
    return [name for name in wanted if name not in installed]


def ensure_packages(title: str, *, tests: bool, clients: bool = False) -> None:
    """Install what is missing; asks for nothing when all is there."""
    step = Step(title)
    wanted = DEMO_PACKAGES + (TEST_PACKAGES if tests else ())
    wanted += CLIENT_PACKAGES if clients else ()
    if not shutil.which("dpkg-query"):
        what = "This is neither Debian nor Ubuntu: dpkg-query is missing"
        raise StepError(what, f"use Debian 12+ or Ubuntu 22.04+, which have {' '.join(wanted)}")
    names = missing(wanted)
    if names:
        _install(step, names)
    if tests:
        _unpack_missing(step)
    step.done(f"installed {' '.join(names)}" if names else "all installed")


def _unpack_missing(step: Step) -> None:
    for name in UNPACKED:
        if unpacked(name).exists():
            continue
        with appears_whole(unpacked(name)) as part, step.heartbeat(f"unpacking {name}"):
            run_logged(
                ["sh", "-c", 'cd "$1" && apt-get -q download "$0" && dpkg-deb -x ./*.deb .',
                 name, part],
                what=f"apt-get could not download {name}",
                mend="sudo apt-get update",
            )  # fmt: skip


def _install(step: Step, names: list[str]) -> None:
    apt = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300"]
    mend = f"sudo apt-get update && sudo apt-get install {' '.join(names)}"
    sudo = _sudo(mend)
    with step.heartbeat("updating the package lists"):
        run_logged([*sudo, *apt, "update"], what="apt-get update failed", mend=mend)
    with step.heartbeat(f"installing {len(names)} packages"):
        run_logged(
            [
                *sudo,
                "env",
                "DEBIAN_FRONTEND=noninteractive",
                *apt,
                "install",
                "--no-install-recommends",
                *names,
            ],
            what="apt-get install failed",
            mend=mend,
        )


def _sudo(mend: str) -> list[str]:
    if os.geteuid() == 0:
        return []
    if not shutil.which("sudo"):
        what = "Debian packages are missing and there is no sudo"
        raise StepError(what, f"as root: {mend.replace('sudo ', '')}")
    # Asked for here, where the question can be seen: later output goes to a log.
    if subprocess.run(["sudo", "--validate"], check=False).returncode != 0:
        what = "Debian packages are missing and sudo was refused"
        raise StepError(what, f"as root: {mend.replace('sudo ', '')}")
    return ["sudo"]
