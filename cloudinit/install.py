"""The scripts that make a stock Debian an AWS machine, for the image's bake and for first boots."""

from __future__ import annotations

import base64
from pathlib import Path

from cloudinit.facets import GUEST
from cloudinit.render import render
from image.packages import PACKAGES, RELEASE

File = tuple[str, str, str]
"""Path on the machine, mode, content."""

IMAGE = Path(__file__).resolve().parent.parent / "image"

# QEMU's root channel has no meaning there; the rest is what the script itself and disks need.
_LOCAL_ONLY = {"qemu-guest-agent"}
_AWS_ONLY = (
    "curl",
    "gpg",
    "gpgv",
    "cloud-guest-utils",
    "linux-headers-cloud-amd64",
    "python3-pip-whl",
)
AWS_PACKAGES: tuple[str, ...] = (
    *(name for name in PACKAGES if name not in _LOCAL_ONLY),
    *_AWS_ONLY,
)

DRIVER = "550"
"""NVIDIA's branch in Debian 13; Debian's point releases count up behind it."""
DRIVER_PACKAGES: tuple[str, ...] = tuple(
    f"{name}={DRIVER}.*" for name in ("nvidia-kernel-dkms", "libcuda1", "nvidia-smi")
)

TOOLKIT = "1.18.2-1"
TOOLKIT_PACKAGES: tuple[str, ...] = tuple(
    f"{name}={TOOLKIT}"
    for name in (
        "nvidia-container-toolkit",
        "nvidia-container-toolkit-base",
        "libnvidia-container-tools",
        "libnvidia-container1",
    )
)
TOOLKIT_FINGERPRINT = "C95B321B61E88C1809C4F759DDCAE044F796ECB0"
"""Of the key that signs nvidia.github.io/libnvidia-container."""

AGENT_VERSION = "3.3.987.0"
"""Of Systems Manager's agent: one that the key below signed before it ran out."""
AGENT_FINGERPRINT = "DE92C7DA3E56E92331D62A36BC1F495C97DD04ED"
"""As "Verifying the signature of SSM Agent" (Systems Manager User Guide) and the agent's own
source (agent/setupcli/managers/verificationmanagers) give it."""


def agent_key() -> str:
    """The public key AGENT_FINGERPRINT in base64, without the signatures of others."""
    return (IMAGE / "ssm_agent_key.txt").read_text().strip()


PAM_SOURCES = ("build.sh", "pam_secondlock_ask.c")
"""Of image/pam; every image compiles them: this script, or image/pam.sh."""


def render_install(image: str | None) -> str:
    """What makes a stock Debian one with all packages; `render_workspaces` follows.

    `image`, the workspaces' (`name@sha256:digest`), is fetched where it is given. Holds no secret.
    """
    return render(
        GUEST / "install" / "install.sh.j2",
        packages=AWS_PACKAGES,
        release=RELEASE,
        driver_packages=DRIVER_PACKAGES,
        toolkit_packages=TOOLKIT_PACKAGES,
        toolkit_fingerprint=TOOLKIT_FINGERPRINT,
        agent_version=AGENT_VERSION,
        agent_key=agent_key(),
        pam_sources=[(name, _encoded(IMAGE / "pam" / name)) for name in PAM_SOURCES],
        image=image,
    )


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def render_gateway() -> str:
    """The script that comes last: JupyterHub."""
    return render(
        GUEST / "install" / "gateway.sh.j2",
        requirements=(IMAGE / "hub-requirements.txt").read_text(encoding="utf-8"),
        finish=(IMAGE / "hub.sh").read_text(encoding="utf-8"),
    )


def render_workspaces() -> str:
    """The script that comes after: what every image has besides packages."""
    toolbox = (IMAGE / "toolbox.sh").read_text(encoding="utf-8")
    return render(GUEST / "install" / "workspaces.sh.j2", toolbox=toolbox)
