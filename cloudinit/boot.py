"""A machine's values -> its user-data: a stub that gets the bundle, never a secret.

cloud-init runs cloudinit/guest/stub.py as a boothook at the beginning of its network stage, at each
boot, long before sshd. Until the bundle is there nothing of ours is, and the door stays shut. What
the stub writes last (machine.json) says that all else is there: a first boot that was cut off is
done again, a living machine keeps what it has until it is upgraded (guest/upgrade/).
"""

from __future__ import annotations

import functools
import json
import zlib
from dataclasses import asdict, dataclass
from typing import Any

from cloudinit.bundle import bundle
from cloudinit.facets import GUEST, Target

# zlib's "window bits" for its largest window in gzip's format (zlib.h, deflateInit2).
_GZIP = 31
# Of cloud-init's first stage only these: without `ssh` and `users_groups` it makes no host key, no
# account and lets in no key of EC2's.
_INIT_MODULES = (
    "seed_random",
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
    parameter that holds the roster, `log_group` that of CloudWatch Logs, `bundles` the URL of the
    folder in S3 that has the bundle under its SHA-256; `endpoint` is a URL that stands in for AWS
    (tests). A local machine has its bundle on the disk that its user-data comes from.
    """

    stack: str
    machine: str
    target: Target = "local"
    image: str = "secondlock/tensorflow:2.9.3"
    region: str = ""
    parameter: str = ""
    log_group: str = ""
    bundles: str = ""
    endpoint: str = ""


# Two parts (RFC 2046, 5.1): the stub as a boothook, and the little that cloud-init itself does.
_USER_DATA = """\
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="{boundary}"

--{boundary}
Content-Type: text/cloud-boothook

#cloud-boothook
{stub}

main({known!a})

--{boundary}
Content-Type: text/cloud-config

{config}

--{boundary}--
"""
_BOUNDARY = "secondlock"  # begins no line of ours


def render_user_data(values: MachineValues) -> bytes:
    """The machine's user-data, gzip-compressed; the same bytes for the same values."""
    text = _USER_DATA.format(
        boundary=_BOUNDARY,
        stub=_stub(),
        known=_known(values),
        config=json.dumps(_config(values)),
    )
    packer = zlib.compressobj(9, zlib.DEFLATED, _GZIP)
    return packer.compress(text.encode()) + packer.flush()


@functools.cache
def _stub() -> str:
    return (GUEST / "stub.py").read_text(encoding="utf-8")


def _known(values: MachineValues) -> dict[str, str]:
    """What /etc/secondlock/machine.json will say; also a literal of Python's."""
    known = {name: value for name, value in asdict(values).items() if value}
    return {**known, "bundle": bundle(values.target).digest}


def _config(values: MachineValues) -> dict[str, Any]:
    config = {
        # RFC 1123 knows no underscore; a POSIX user name does.
        "hostname": values.machine.replace("_", "-"),
        "manage_etc_hosts": "localhost",
        "cloud_init_modules": _INIT_MODULES,
        # The local root disk has no partitions.
        "growpart": {"mode": "off" if values.target == "local" else "auto"},
        "resize_rootfs": True,
    }
    if values.target == "local":
        config |= {"cloud_config_modules": [], "cloud_final_modules": []}
    else:
        # Of the image's own user, whom nobody makes: cloud-init's last stage would fail for that.
        config |= {"no_ssh_fingerprints": True}
    return config
