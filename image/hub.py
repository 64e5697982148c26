"""JupyterHub for the machines' HTTPS gateway, from the Python package index: pinned wheels."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from image.rootfs import FOLDER
from tools.steps import Step, run_logged

REQUIREMENTS = FOLDER / "hub-requirements.txt"
PYTHON = "3.13"
"""Of the machines' Debian."""
PLACE = "usr/local/lib/secondlock-hub"


def pack_hub(step: Step, uv: Path, work: Path) -> Path:
    """A tar file in the folder `work` with all wheels in their place, owned by root.

    Raises StepError.
    """
    target = work / "hub" / PLACE
    command = [str(uv), "pip", "install", "--quiet", "--no-cache", "--target", str(target)]
    command += ["--python-version", PYTHON, "--python-platform", "x86_64-manylinux_2_28"]
    command += ["--only-binary", ":all:", "--no-deps", "--require-hashes", "-r", str(REQUIREMENTS)]
    with step.heartbeat("downloading JupyterHub (about 40 MB)"):
        run_logged(
            command,
            what="uv could not install JupyterHub's packages",
            mend="check that this computer reaches its Python package index, then: make image",
            env={**os.environ, "UV_SYSTEM_CERTS": "1", "UV_NO_PROGRESS": "1"},
        )
    packages = work / "hub.tar"
    pack = ["tar", "--create", "--file", str(packages), "--directory", str(work / "hub")]
    pack += ["--owner=0", "--group=0", "--numeric-owner", "--mode=u=rwX,go=rX", "usr"]
    subprocess.run(pack, check=True)
    return packages
