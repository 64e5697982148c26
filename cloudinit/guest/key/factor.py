"""Keys: their roster entry, and where sshd looks for them (sshd_config(5), AuthorizedKeysFile)."""

import base64
import re
from pathlib import Path
from typing import Any

from guest import paths
from guest.factors import Now, Person
from guest.reading import need, texts
from guest.system import write

FIELDS = ()  # public keys are no secret
SSH_KEY = re.compile(
    r"(?:(?:sk-)?ssh-ed25519(?:@openssh\.com)?|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)"
    r"|sk-ecdsa-sha2-nistp256@openssh\.com) [A-Za-z0-9+/]+={0,2}"
    r"(?: [^\x00-\x1f\x7f\ud800-\udfff]*)?"
)

# The curve of RFC 8032, section 5.1: -x^2 + y^2 = 1 + D x^2 y^2 modulo P.
P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def read(entry: dict[str, Any], name: str) -> tuple[str, ...]:
    """The public keys of the entry of `name`. Raises GuestError."""
    what = f"an SSH key of {name}"
    keys = texts(entry.get("ssh_keys"), SSH_KEY, what)
    need(bool(keys), f"{name} has no SSH key")
    for key in keys:
        kind, body = key.split(" ", 2)[:2]
        need(_is_key(kind, body), f"{what} is malformed or weak")
    return keys


def _is_key(kind: str, body: str) -> bool:
    """Whether the key is of its kind (RFC 4253, section 6.6) and no Ed25519 point of small order.

    Under those eight points a signature verifies that no private key made; y is then 0, 1, -1 or a
    root of D y^4 + 2 y^2 - 1. RFC 8032, section 5.1.3, takes only a y below P.
    """
    try:
        blob = base64.b64decode(body, validate=True)
    except ValueError:
        return False
    head = len(kind).to_bytes(4, "big") + kind.encode()
    if not blob.startswith(head) or len(blob) < len(head) + 36:
        return False
    if "ed25519" not in kind:
        return True
    start = len(head) + 4
    y = int.from_bytes(blob[start : start + 32], "little") & (2**255 - 1)
    return y < P and y * (y * y - 1) * (D * y**4 + 2 * y * y - 1) % P != 0


def _file(name: str) -> Path:
    return paths.AUTHORIZED_KEYS / name


def lines(keys: tuple[str, ...] | None) -> str:
    """As a file of authorized keys."""
    return "".join(f"{key}\n" for key in keys or ())


def ids(_: object) -> frozenset[str]:
    """None: all of it is the enrollment's."""
    return frozenset()


def marks(_: Person, keys: tuple[str, ...]) -> frozenset[str]:
    """The keys."""
    return frozenset(keys)


def differs(person: Person, keys: tuple[str, ...] | None) -> bool:
    """Whether other keys are let in now. Raises OSError where that cannot be seen."""
    return _file(person.name).read_text() != lines(keys)


def bind(person: Person, keys: tuple[str, ...] | None, _: Now) -> str | None:
    """Let these keys in and no others."""
    return "keys" if write(_file(person.name), lines(keys), 0o644) else None


def forget(name: str) -> None:
    """Nothing of this person's opens anything any more."""
    _file(name).unlink(missing_ok=True)
