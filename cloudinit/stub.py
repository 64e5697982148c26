#!/usr/bin/python3 -I
"""The fixed part of user-data: gets the bundle whose SHA-256 it was given, and unpacks it once.

cloud-init runs this as a boothook at the beginning of its network stage, at each boot, long before
sshd. Until the bundle is there nothing of ours is, and the door stays shut. The last file that it
writes says that all others are there: a first boot that was cut off is done again.
"""

import hashlib
import io
import json
import os
import sys
import tarfile

KNOWN = "/etc/secondlock/machine.json"
SEED, PLACE = "/dev/disk/by-label/cidata", "/run/secondlock-seed"


def write(path: str, mode: int, content: bytes) -> None:
    """By rename, and with the time of now: by that Python knows what it compiled before."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)
    os.rename(path + ".new", path)


def get() -> bytes:
    """From the disk that user-data came from."""
    os.makedirs(PLACE, exist_ok=True)
    mount = "mount", "-o", "ro,nodev,nosuid,noexec", SEED, PLACE
    if os.spawnvp(os.P_WAIT, "mount", mount):
        raise OSError(SEED + " cannot be mounted")
    try:
        with open(PLACE + "/bundle", "rb") as file:
            return file.read()
    finally:
        os.spawnvp(os.P_WAIT, "umount", ("umount", PLACE))


def main(known: dict[str, str], root: str = "") -> None:
    """Unpack the bundle of the machine `known`, unless that was done; `root` goes before paths."""
    if os.path.exists(root + KNOWN):
        return
    try:
        content = get()
    except OSError as error:
        sys.exit(f"secondlock: the bundle cannot be read, the door stays shut: {error}")
    if hashlib.sha256(content).hexdigest() != known["bundle"]:
        sys.exit("secondlock: the bundle is another than user-data names, the door stays shut")
    os.umask(0o022)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for each in tar:
            if file := tar.extractfile(each):
                write(f"{root}/{each.name}", each.mode, file.read())
    os.sync()
    write(root + KNOWN, 0o644, json.dumps(known).encode() + b"\n")
