"""From a stack's one secret seed to everything that binds a phone or a client to a machine.

All of it is derived by HKDF-SHA256 (RFC 5869), so that the same inputs give the same phone at every
run and nothing is stored. The stream for each purpose has its own `info`, made of length-prefixed
fields: no two different sets of names can give the same bytes. tests/unit/test_enrollment.py pins
the results: any change to the derivation would make every researcher enrol again.
"""

from __future__ import annotations

import base64
import io
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from infra.factors import DEFAULT, PHONE, Who, draw, of
from infra.model.problems import Problem

_VERSION = "secondlock/1"
_STREAM_BYTES = 1024  # some 40 are used; RFC 5869 would allow 8160


@dataclass(frozen=True)
class Enrollment:
    """What one researcher needs to enter one machine, besides their own key. Secret."""

    researcher: str
    machine: str
    method: str
    """One of METHODS."""
    entry: dict[str, Any] = field(repr=False)
    """What the machine's roster holds of it."""
    shown: dict[str, Any] = field(repr=False)
    """What `enroll` shows of it."""


@dataclass(frozen=True)
class HostKey:
    """A machine's Ed25519 host key in OpenSSH's formats."""

    private_openssh: str = field(repr=False)
    public_openssh: str


def fingerprint(seed: str) -> str:
    """Which seed this is: 16 hex digits that say nothing else about it."""
    return _stream(seed, b"", "fingerprint")(8).hex()


def seed_fault(seed: str, stack: str) -> Problem | None:
    """Why a stack's seed is none, with the command that mends it; the seed itself is never in it.

    One without a fault can be derived from.
    """
    make = "openssl rand -hex 32 | pulumi config set --secret secondlock:enrollmentSeed"
    if not seed:
        what = f"stack {stack} has no enrollment seed"
    elif weakness := _seed_weakness(seed):
        what = f"the enrollment seed of stack {stack} {weakness}"
    else:
        return None
    return Problem(None, None, what, f"{make} --stack {stack}")


def pin_fault(seed: str, pinned: str | None, new_seed: bool, stack: str) -> Problem | None:
    """Why a seed is not the one that the stack's configuration pins.

    `pinned` is `secondlock:seedFingerprint`, `new_seed` is `secondlock:newSeed`. Raises ValueError
    for a seed that has a fault itself.
    """
    option = f"--stack {stack}"
    actual = fingerprint(seed)
    if pinned is None:
        what = f"stack {stack} does not pin its enrollment seed: a changed one would go unseen"
        pin = f"pulumi config set secondlock:seedFingerprint {actual} {option}"
        return Problem(None, None, what, pin)
    if pinned != actual and not new_seed:
        what = (
            f"the enrollment seed of stack {stack} is not the one pinned as "
            f"secondlock:seedFingerprint: every phone and every host key would change"
        )
        mend = (
            "bring the old seed back: pulumi config set --secret secondlock:enrollmentSeed "
            f"{option}; or, if everyone shall enrol again: "
            f"pulumi config set secondlock:newSeed true {option}"
        )
        return Problem(None, None, what, mend)
    if pinned == actual and new_seed:
        what = f"stack {stack} has its pinned seed, yet secondlock:newSeed would let it change"
        return Problem(None, None, what, f"pulumi config rm secondlock:newSeed {option}")
    return None


def derive(
    seed: str,
    *,
    stack: str,
    machine: str,
    researcher: str,
    enrollment: str,
    method: str = DEFAULT,
    authenticators: Mapping[str, str] | None = None,
    codes: str | None = None,
    by_web: bool = False,
) -> Enrollment:
    """The enrollment of a researcher on a machine.

    `enrollment` is the request's id, 32 hex digits; `authenticators` are further ones by name, and
    `codes` is that of the emergency codes, as `Who` has them; `by_web` is whether they come in by a
    browser, for which they have a passphrase. Raises ValueError when seed or id is not hex of the
    right length.
    """

    def streams(purpose: str, issued: str | None = None) -> Callable[[int], bytes]:
        salt = _from_hex(issued or enrollment, 16, "an enrollment id")
        return _stream(seed, salt, purpose, stack, machine, researcher)

    if authenticators == {PHONE: enrollment}:
        authenticators = None
    who = Who(stack, machine, researcher, authenticators, None if codes == enrollment else codes)
    issued = [factor.issue(streams, who) for factor in of(method).values()]
    web = {"web_passphrase": draw.password(streams("web-passphrase"))} if by_web else {}
    return Enrollment(
        researcher=researcher,
        machine=machine,
        method=method,
        entry={name: value for one in issued for name, value in one.entry.items()} | web,
        shown={name: value for one in issued for name, value in one.shown.items()} | web,
    )


def derive_host_key(seed: str, *, stack: str, machine: str) -> HostKey:
    """The host key of a machine: known before the machine is, and the same after a replacement."""
    secret = _stream(seed, b"", "host-key", stack, machine)(32)
    public = Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
    blob = _ssh_string(b"ssh-ed25519") + _ssh_string(public)
    return HostKey(
        private_openssh=_openssh_private_key(secret, public, blob),
        public_openssh=f"ssh-ed25519 {base64.b64encode(blob).decode()}",
    )


def stream(seed: str, purpose: str, *names: str) -> Callable[[int], bytes]:
    """A reader of random bytes for one purpose of a stack's own: each call gives `n` of them.

    The same for the same names at every run. Raises ValueError for a seed that is none.
    """
    return _stream(seed, b"", purpose, *names)


def _seed_weakness(seed: str) -> str | None:
    """Why a seed cannot have come from a random generator (odds of a false alarm below 1e-12)."""
    try:
        raw = _from_hex(seed, 32, "a seed")
    except ValueError:
        return "is not 64 hex digits (32 random bytes)"
    steps = {(b - a) % 256 for a, b in pairwise(raw)}
    if len(set(raw)) < 16 or len(steps) < 12:
        return "is a pattern, not random"
    if all(0x20 <= byte < 0x7F for byte in raw):
        return "is written text, not random"
    return None


def _from_hex(text: str, size: int, noun: str) -> bytes:
    digits = text.strip()
    if not re.fullmatch(f"[0-9a-fA-F]{{{size * 2}}}", digits):
        raise ValueError(f"{noun} has {size * 2} hex digits")
    return bytes.fromhex(digits)


def _stream(seed: str, salt: bytes, purpose: str, *names: str) -> Callable[[int], bytes]:
    """A reader of the HKDF output for one purpose: each call gives `n` bytes of it."""
    key = _from_hex(seed, 32, "a seed")
    fields = [name.encode() for name in (_VERSION, purpose, *names)]
    info = b"".join(struct.pack(">I", len(name)) + name for name in fields)
    output = io.BytesIO(HKDF(SHA256(), _STREAM_BYTES, salt, info).derive(key))

    def read(size: int) -> bytes:
        chunk = output.read(size)
        if len(chunk) < size:
            raise RuntimeError("an enrollment needs more bytes than its HKDF stream has")
        return chunk

    return read


def _ssh_string(value: bytes) -> bytes:
    """RFC 4251, section 5: `string`."""
    return struct.pack(">I", len(value)) + value


def _openssh_private_key(secret: bytes, public: bytes, blob: bytes) -> str:
    """An unencrypted key file as OpenSSH's PROTOCOL.key describes it.

    Not the library's serialisation: that draws its check number at random, so that the roster would
    differ at every run. The number only detects a wrong passphrase, of which there is none.
    """
    check = blob[-4:]
    inner = check + check + blob + _ssh_string(secret + public) + _ssh_string(b"")
    inner += bytes(range(1, 1 + -len(inner) % 8))
    none = _ssh_string(b"none")
    outer = b"openssh-key-v1\0" + none + none + _ssh_string(b"") + struct.pack(">I", 1)
    body = base64.b64encode(outer + _ssh_string(blob) + _ssh_string(inner)).decode()
    lines = [body[start : start + 70] for start in range(0, len(body), 70)]
    return "\n".join(
        ["-----BEGIN OPENSSH PRIVATE KEY-----", *lines, "-----END OPENSSH PRIVATE KEY-----", ""]
    )
