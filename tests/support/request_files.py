"""Requests as people write them, and keys of every kind that nobody has."""

from __future__ import annotations

import base64
import math
import struct
import textwrap

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

P = 2**255 - 19
# The y of the points of order 8, as in libsodium's ge25519_has_small_order.
OF_ORDER_8 = [
    int.from_bytes(bytes.fromhex(y), "little")
    for y in (
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    )
]
IDS = ["0123456789abcdef0123456789abcde" + digit for digit in "0123456789"]
IMAGE = "registry.example:5000/tensorflow/tensorflow@sha256:" + "0a" * 32


def ed25519(number: int) -> str:
    key = Ed25519PrivateKey.from_private_bytes(number.to_bytes(32, "big")).public_key()
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


_SMALL_PRIMES = math.prod(n for n in range(2, 752) if all(n % m for m in range(2, n)))


def rsa_key(bits: int) -> str:
    """A key of some size, of which nobody has a private part and no small factor is known."""
    modulus = (1 << bits) - 1
    while math.gcd(modulus, _SMALL_PRIMES) != 1:
        modulus -= 2
    numbers = rsa.RSAPublicNumbers(65537, modulus)
    key = numbers.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return key.decode()


def respelt(line: str) -> str:
    """The same bytes in another base64: of the letter before `=` two bits say nothing."""
    assert line.endswith("=")
    return line[:-2] + chr(ord(line[-2]) + 1) + "="


def security_key(application: bytes = b"ssh:") -> str:
    kind = b"sk-ssh-ed25519@openssh.com"
    point = base64.b64decode(ed25519(7).split()[1])[-32:]
    blob = b"".join(struct.pack(">I", len(part)) + part for part in (kind, point, application))
    return f"{kind.decode()} {base64.b64encode(blob).decode()}"


KEY, OTHER_KEY = ed25519(1), ed25519(2)
ECDSA = (
    ec.derive_private_key(1, ec.SECP256R1())
    .public_key()
    .public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    .decode()
)
PRIVATE_KEY = (
    Ed25519PrivateKey.from_private_bytes(b"p" * 32)
    .private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    .decode()
)


def rfc4716(line: str, comment: str = 'Comment: "rsa key of \\\nalice"\n') -> str:
    """A key line in the form of RFC 4716."""
    body = "\n".join(textwrap.wrap(line.split()[1], 70))
    return f"---- BEGIN SSH2 PUBLIC KEY ----\n{comment}{body}\n---- END SSH2 PUBLIC KEY ----\n"


def request_text(**fields: str) -> str:
    """A good request's text with some fields, as YAML, put otherwise; "" leaves one out."""
    lines = {
        "researcher": "alice",
        "ssh_keys": f"[{KEY}]",
        "allowed_from": "[127.0.0.0/8]",
        "enrollment": f'"{IDS[0]}"',
        **fields,
    }
    return "".join(f"{name}: {value}\n" for name, value in lines.items() if value)


def ed25519_of(y: int, sign: int = 0) -> str:
    blob = base64.b64decode(KEY.split()[1])[:-32] + (y | sign << 255).to_bytes(32, "little")
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"
