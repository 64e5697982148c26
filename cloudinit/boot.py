"""A machine's values -> its user-data: the stub that gets the bundle, never a secret."""

from __future__ import annotations

import functools
import json
import zlib
from dataclasses import asdict, dataclass
from typing import Any, Literal

from cloudinit.bundle import HERE, bundle

# EC2's limit on user-data before base64 (EC2 User Guide, "Run commands at launch"), bytes.
LIMIT = 16 * 1024
# zlib's "window bits" for its largest window in gzip's format (zlib.h, deflateInit2).
GZIP = 31

_FROM_THE_START = tuple(
    f"secondlock-{unit}"
    for unit in (
        "gpu.service",
        "fetch.service",
        "fetch.timer",
        "ship.timer",
        "status.timer",
        "spot.service",
    )
)
# Of cloud-init's first stage only these: without `ssh` and `users_groups` it makes no host key, no
# account and lets in no key of EC2's.
_INIT_MODULES = (
    "seed_random",
    "bootcmd",
    "growpart",
    "resizefs",
    "set_hostname",
    "update_hostname",
    "update_etc_hosts",
)


@dataclass(frozen=True)
class MachineValues:
    """What one machine's user-data differs by.

    `image` is the workspace image as the machine's Docker knows it: a tag of the golden image's,
    or `name@sha256:digest`. The others are for the target aws: `parameter` is the name of the SSM
    parameter that holds the roster, `log_group` that of CloudWatch Logs, `baked` whether the
    machine's image has everything that cloudinit/install.py installs; `endpoint` is a URL that
    stands in for AWS (tests).
    """

    stack: str
    machine: str
    target: Literal["local", "aws"] = "local"
    image: str = "secondlock/tensorflow:2.9.3"
    region: str = ""
    parameter: str = ""
    log_group: str = ""
    baked: bool = True
    endpoint: str = ""


# Two parts (RFC 2046, 5.1): the stub as a boothook, and the little that cloud-init itself does.
_USER_DATA = """\
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="{boundary}"

--{boundary}
Content-Type: text/cloud-boothook

#cloud-boothook
{stub}

main({known})

--{boundary}
Content-Type: text/cloud-config

{config}

--{boundary}--
"""
_BOUNDARY = "secondlock"  # begins no line of ours


def render_user_data(values: MachineValues) -> bytes:
    """The machine's user-data, gzip-compressed; the same bytes for the same values.

    Raises ValueError when it exceeds EC2's limit of 16 KiB.
    """
    text = _USER_DATA.format(
        boundary=_BOUNDARY,
        stub=_stub(),
        known=_known(values),
        config=json.dumps(_config(values)),
    )
    packer = zlib.compressobj(9, zlib.DEFLATED, GZIP)
    packed = packer.compress(text.encode()) + packer.flush()
    if len(packed) > LIMIT:
        raise ValueError(f"user-data of {values.machine} is {len(packed)} bytes, over {LIMIT}")
    return packed


@functools.cache
def _stub() -> str:
    return (HERE / "stub.py").read_text(encoding="utf-8")


def _known(values: MachineValues) -> dict[str, Any]:
    """What /etc/secondlock/machine.json will say; also a literal of Python's."""
    known = {name: value for name, value in asdict(values).items() if value != ""}
    return {**known, "bundle": bundle(values.target).digest}


def _config(values: MachineValues) -> dict[str, Any]:
    return {
        # RFC 1123 knows no underscore; a POSIX user name does.
        "hostname": values.machine.replace("_", "-"),
        "manage_etc_hosts": "localhost",
        "cloud_init_modules": _INIT_MODULES,
        # The local root disk has no partitions.
        "growpart": {"mode": "off" if values.target == "local" else "auto"},
        "resize_rootfs": True,
        **_commands(values),
    }


def _commands(values: MachineValues) -> dict[str, Any]:
    """What cloud-init runs: a local machine waits for its roster, the others go for it."""
    if values.target == "local":
        return {"cloud_config_modules": [], "cloud_final_modules": []}
    reload = ["systemctl", "daemon-reload"]
    if values.baked:
        start = ["systemctl", "enable", "--now", "--no-block", *_FROM_THE_START]
        return {"runcmd": [reload, start]}
    # A stock image's sshd would start in this boot: not with its own configuration, and not
    # with ours before there is a roster.
    shut = "systemctl mask sshd-keygen.service; systemctl disable --now ssh.service ssh.socket"
    install = "secondlock-install.service"
    return {
        "bootcmd": [["cloud-init-per", "instance", "shut", "sh", "-c", shut]],
        "runcmd": [
            reload,
            ["systemctl", "enable", install],
            ["systemctl", "start", "--no-block", install],
        ],
    }
