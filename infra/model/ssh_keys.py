"""Which SSH public keys may open a door."""

from __future__ import annotations

import base64
import math
import struct

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from infra.factors.fido2 import MAKE
from infra.model.problems import RefusedError
from infra.model.text import first_hidden
from infra.model.yaml_lines import holds_private_key

KEY_TYPES = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
)
"""Accepted types; the `sk-` ones live on a FIDO2 token."""

RSA_BITS = (3072, 16384)
"""Least and most RSA bits: below is weak (NIST SP 800-57), OpenSSH refuses what is above."""

NEW_KEY = "make a new one with `ssh-keygen -t ed25519` and give the line in its .pub file"

_SSH = b"ssh:"  # what a token's key is for
_LONGEST = 16 * 1024  # characters of a line: an RSA key of 16384 bits has 2,800
# The curve of RFC 8032, section 5.1: -x^2 + y^2 = 1 + D x^2 y^2 modulo P.
_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
_SMALL_PRIMES = math.prod(n for n in range(2, 752) if all(n % m for m in range(2, n)))


class NoKeyError(RefusedError):
    """What is no key of any kind that is known here."""


def check_ssh_key(text: str) -> str:
    """The key line as OpenSSH writes it in a .pub file: type, base64, comment.

    Raises RefusedError, without the key's text, for all that is not exactly one strong public key.
    """
    if holds_private_key(text):
        raise RefusedError("THIS IS A PRIVATE KEY: never use it again", NEW_KEY)
    line = text.strip()
    if len(line) > _LONGEST:
        raise RefusedError(f"an SSH key of more than {_LONGEST // 1024} KiB", NEW_KEY)
    if first_hidden(line) is not None:
        what = "an SSH key with line breaks or control characters in it"
        raise RefusedError(what, "give each key as one line, as in its .pub file")
    kind, body, comment = [*line.split(None, 2), "", "", ""][:3]
    if kind not in KEY_TYPES:
        raise _refused_type(line)
    _check_key(kind, body)
    return f"{kind} {body} {comment}".rstrip()


def key_blob(line: str) -> str:
    """What makes two key lines the same key, whatever their comments: the base64 part."""
    return [*line.split(None, 2), "", ""][1]


def _refused_type(line: str) -> RefusedError:
    words = line.split()
    kind = words[0] if words else ""
    if kind == "ssh-dss":
        return RefusedError("a DSA key: DSA is broken, and OpenSSH 10 no longer has it", NEW_KEY)
    if kind.endswith("-cert-v01@openssh.com"):
        return RefusedError("an SSH certificate, not a public key", NEW_KEY)
    if any(word in KEY_TYPES for word in words[1:]):
        what = "options stand before the SSH key (command=, from=, ...): they are not allowed here"
        return RefusedError(what, "let the line begin with the key's type, such as ssh-ed25519")
    if "BEGIN SSH2 PUBLIC KEY" in line:
        return RefusedError("a key in RFC 4716 format", "convert it: ssh-keygen -i -f FILE")
    return NoKeyError(
        "not an OpenSSH public key",
        f"give the whole line in the .pub file; types allowed: {', '.join(KEY_TYPES)}",
    )


def _check_key(kind: str, body: str) -> None:
    # Before it is loaded: cryptography refuses other applications too, and calls that damage.
    if kind.startswith("sk-") and not _application(kind, body).startswith(_SSH):
        what = "a security key that was made for something else than SSH"
        raise RefusedError(what, f"make one: {MAKE}")
    try:
        blob = base64.b64decode(body)
        key = load_ssh_public_key(f"{kind} {body}".encode())
    except (ValueError, UnsupportedAlgorithm, NotImplementedError):
        raise _damaged(kind) from None
    # Stricter than OpenSSH's own reader: what a reviewer sees is all that sshd gets.
    if base64.b64encode(blob).decode() != body:
        raise _damaged(kind)
    least, most = RSA_BITS
    if isinstance(key, rsa.RSAPublicKey) and not least <= key.key_size <= most:
        what = f"an RSA key of {key.key_size} bits: from {least} to {most} are allowed"
        raise RefusedError(what, NEW_KEY)
    # NIST SP 800-89, section 5.3.3: whoever finds a factor has the private key.
    if isinstance(key, rsa.RSAPublicKey) and math.gcd(key.public_numbers().n, _SMALL_PRIMES) != 1:
        raise RefusedError("an RSA key whose modulus has a small factor", NEW_KEY)
    if "ed25519" in kind:
        _check_point(kind, blob)


def _application(kind: str, body: str) -> bytes:
    """For what a key on a token was made: the last string in it (OpenSSH's PROTOCOL.u2f).

    What is no such key is none for anything else: that it is damaged is told by others.
    """
    strings: list[bytes] = []
    try:
        blob = base64.b64decode(body)
        while blob:
            (size,) = struct.unpack_from(">I", blob)
            strings += struct.unpack_from(f"{size}s", blob, 4)
            blob = blob[4 + size :]
    except (ValueError, struct.error):
        return _SSH
    return strings[-1] if len(strings) == (4 if "ecdsa" in kind else 3) else _SSH


def _check_point(kind: str, blob: bytes) -> None:
    """Refuse an Ed25519 key under which a signature verifies that no private key made.

    Neither OpenSSH nor OpenSSL does. The points of small order are eight; their y is 0, 1, -1 or a
    root of D y^4 + 2 y^2 - 1, which is where twice the point has y = 0. RFC 8032, section 5.1.3,
    refuses a y that is not reduced, and one that no point of the curve has.
    """
    start = 4 + len(kind) + 4  # RFC 8709, section 4: string type, string key
    y = int.from_bytes(blob[start : start + 32], "little") & (2**255 - 1)
    if y >= _P or y * (y * y - 1) * (_D * y**4 + 2 * y * y - 1) % _P == 0:
        what = "an Ed25519 key under which anybody can sign: of small order, or not reduced"
        raise RefusedError(what, NEW_KEY)
    # x^2 is their quotient, and a square as their product is (Euler's criterion).
    product = (y * y - 1) * (_D * y * y + 1) % _P
    if pow(product, (_P - 1) // 2, _P) != 1:
        raise _damaged(kind)


def _damaged(kind: str) -> RefusedError:
    what = f"a damaged {kind} key: its base64 part is cut or changed"
    return RefusedError(what, "copy the whole line from the .pub file again")
