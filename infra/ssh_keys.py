"""Which SSH public keys may open a door."""

from __future__ import annotations

import base64

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from infra.problems import RefusedError
from infra.yaml_lines import holds_private_key

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


def check_ssh_key(text: str) -> str:
    """The key line as OpenSSH writes it in a .pub file: type, base64, comment.

    Raises RefusedError, without the key's text, for all that is not exactly one strong public key.
    """
    if holds_private_key(text):
        raise RefusedError("THIS IS A PRIVATE KEY: never use it again", NEW_KEY)
    line = text.strip()
    if not line.isprintable():
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
    return RefusedError(
        "not an OpenSSH public key",
        f"give the whole line in the .pub file; types allowed: {', '.join(KEY_TYPES)}",
    )


def _check_key(kind: str, body: str) -> None:
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


def _damaged(kind: str) -> RefusedError:
    what = f"a damaged {kind} key: its base64 part is cut or changed"
    return RefusedError(what, "copy the whole line from the .pub file again")
