"""Bundles of a later day: today's with other words in one file."""

from __future__ import annotations

import hashlib
import io
import lzma
import tarfile

from cloudinit.bundle import bundle
from cloudinit.facets import Target

LIBRARY = "usr/local/lib/secondlock"
SSHD = "etc/ssh/sshd_config.d/00-secondlock.conf"
VERIFY = f"{LIBRARY}/guest/totp/verify.py"


def changed(
    path: str, old: str, new: str, target: Target = "local", of: bytes | None = None
) -> bytes:
    """A bundle (today's) with other words in one file: that of a later day."""
    packed = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(of or bundle(target).data)) as before,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as after,
    ):
        for member in before:
            file = before.extractfile(member)
            content = file.read() if file else b""
            if member.name == path:
                assert old.encode() in content
                content = content.replace(old.encode(), new.encode())
            member.size = len(content)
            after.addfile(member, io.BytesIO(content))
    return lzma.compress(packed.getvalue())


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
