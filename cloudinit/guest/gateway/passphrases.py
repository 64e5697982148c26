"""What the passphrase of the HTTPS door is told by: a slow hash of it (RFC 7914, scrypt)."""

import hashlib
import hmac
import json
import secrets
from contextlib import suppress
from typing import Any

from guest.gateway import places
from guest.system import folder, write

COST, BLOCK, PARALLEL = 2**14, 8, 1  # 16 MiB; a twentieth of a second, emulated half a second
_NOBODY = {"enrollment": "", "salt": "00" * 16, "hash": ""}


def bind(name: str, enrollment: str, passphrase: str) -> bool:
    """Let this passphrase in and no other; True where that is a change. Raises GuestError."""
    if has(name, enrollment):
        return False
    salt = secrets.token_bytes(16)
    known = {"enrollment": enrollment, "salt": salt.hex(), "hash": _hash(passphrase, salt).hex()}
    folder(places.STATE, 0o700)
    folder(places.PASSPHRASES, 0o700)
    return write(places.PASSPHRASES / name, json.dumps(known, sort_keys=True) + "\n", 0o600)


def forget(name: str) -> bool:
    """None of this person's is let in; True where that is a change."""
    there = (places.PASSPHRASES / name).exists()
    (places.PASSPHRASES / name).unlink(missing_ok=True)
    return there


def has(name: str, enrollment: str) -> bool:
    """Whether the person has one, issued under this id."""
    return bool(_known(name)["enrollment"] == enrollment)


def is_right(name: str, enrollment: str, passphrase: str) -> bool:
    """Whether it is the person's, issued under this id; who has none takes as long to refuse."""
    known = _known(name)
    hashed = _hash(passphrase, bytes.fromhex(known["salt"])).hex()
    same = hmac.compare_digest(hashed, known["hash"])
    return same and bool(enrollment) and known["enrollment"] == enrollment


def _known(name: str) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        return dict(json.loads((places.PASSPHRASES / name).read_text()))
    return _NOBODY


def _hash(passphrase: str, salt: bytes) -> bytes:
    return hashlib.scrypt(passphrase.encode(), salt=salt, n=COST, r=BLOCK, p=PARALLEL)
