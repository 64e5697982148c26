"""The researchers' TensorFlow image, from package registries alone.

Debian 11 is the last Debian whose Python (3.9) TensorFlow 2.9 has wheels for.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from image.rootfs import FOLDER, INSIDE, build_rootfs, file_hook, script_hook
from tools.steps import Step, run_logged

RELEASE = "bullseye"
REQUIREMENTS = FOLDER / "tensorflow-requirements.txt"
PYTHON = "3.9.2"
_OURS = "/usr/local/share/secondlock"
PACKAGES = (
    "python3",
    "python3-distutils",
    "python3-venv",
    # What scp, sftp, rsync, git and editors need at this end
    "openssh-sftp-server",
    "openssh-client",
    "rsync",
    "git",
    "curl",
    "ca-certificates",
    # At the prompt; tmux is the machine's (toolbox.sh): Debian 11's shows 8 colours
    "procps",
    "less",
    "nano",
    "vim-tiny",
    "file",
    "unzip",
    "xz-utils",
)
# Nobody reads manuals in a container, and every byte is copied into every golden image.
_NO_MANUALS = (
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
)
# An interpreter line as uv writes it: plain, or through sh where the path is long.
_INTERPRETER = re.compile(rb"\A#!(?:/bin/sh\n'''exec' [^\n]*\n' '''|[^\n]*python[^\n]*)\n")


def build_tensorflow(step: Step, uv: Path, archive: Path) -> None:
    """Write the image's root file system to the tar file `archive`. Raises StepError."""
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        work = Path(folder)
        _install_packages(step, uv, work / "wheels")
        packages = _pack(step, work)
        options = [*_NO_MANUALS, f"--customize-hook=tar-in {shlex.quote(str(packages))} /"]
        options += [
            file_hook("pip.conf", "/usr/pip.conf", "644", INSIDE),
            file_hook("constraints.py", f"{_OURS}/constraints.py", "644", INSIDE),
            script_hook("customize", "tensorflow.sh"),
        ]
        build_rootfs(step, RELEASE, PACKAGES, options, archive)


def _install_packages(step: Step, uv: Path, target: Path) -> None:
    command = [str(uv), "pip", "install", "--quiet", "--no-cache", "--target", str(target)]
    command += ["--python-version", PYTHON, "--python-platform", "x86_64-manylinux2014"]
    command += ["--only-binary", ":all:", "--no-deps", "--require-hashes", "-r", str(REQUIREMENTS)]
    with step.heartbeat("downloading TensorFlow (about 400 MB)"):
        run_logged(
            command,
            what="uv could not install TensorFlow's packages",
            mend="check that this computer reaches its Python package index, then: make image",
            # uv reads certificates of its own unless told to use this computer's.
            env={**os.environ, "UV_SYSTEM_CERTS": "1", "UV_NO_PROGRESS": "1"},
        )


def _pack(step: Step, work: Path) -> Path:
    """Sort what uv installed to where Debian's Python looks, as a tar file owned by root."""
    wheels, local = work / "wheels", work / "root" / "usr" / "local"
    local.mkdir(parents=True)
    for shared in ("bin", "etc", "share"):
        (wheels / shared).rename(local / shared)
    shutil.rmtree(local / "share" / "man", ignore_errors=True)
    for script in (local / "bin").iterdir():
        fix_interpreter(script)
    libraries = local / "lib" / "python3.9"
    libraries.mkdir(parents=True)
    wheels.rename(libraries / "dist-packages")
    packages = work / "packages.tar"
    command = ["tar", "--create", "--file", str(packages), "--directory", str(work / "root")]
    command += ["--owner=0", "--group=0", "--numeric-owner", "--mode=u=rwX,go=rX", "usr"]
    with step.heartbeat("packing"):
        subprocess.run(command, check=True)
    shutil.rmtree(work / "root")
    return packages


def fix_interpreter(script: Path) -> None:
    """Point an installed script at the image's Python instead of the building computer's."""
    script.write_bytes(_INTERPRETER.sub(b"#!/usr/bin/python3\n", script.read_bytes(), count=1))
