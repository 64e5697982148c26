"""A FIDO2 token in software, behind an agent of its own: it signs as it is told to, also falsely.

The agent's protocol is draft-ietf-sshm-ssh-agent; keys and signatures are OpenSSH's PROTOCOL.u2f.
"""

from __future__ import annotations

import base64
import hashlib
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

TOUCHED, VERIFIED = 1, 4  # bits of what a token vouches for: a person was there, and it knows whom
_FAILURE, _IDENTITIES, _SIGNATURE = 5, 12, 14
_ASKED_FOR_IDENTITIES, _ASKED_TO_SIGN = 11, 13


def _string(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def _number(value: int) -> bytes:
    return _string(value.to_bytes(value.bit_length() // 8 + 1, "big"))


@dataclass
class Key:
    """One key of a token."""

    kind: str
    blob: bytes
    sign: Callable[[bytes], bytes]
    """What makes the signature of some bytes, as an SSH string."""
    application: str

    @property
    def line(self) -> str:
        """As a .pub file has it."""
        return f"{self.kind} {base64.b64encode(self.blob).decode()} token"


def make_ed25519(application: str = "ssh:") -> Key:
    """A key of the kind that tokens of today make."""
    private = ed25519.Ed25519PrivateKey.generate()
    kind, public = "sk-ssh-ed25519@openssh.com", private.public_key().public_bytes_raw()
    blob = _string(kind.encode()) + _string(public) + _string(application.encode())
    return Key(kind, blob, lambda data: _string(private.sign(data)), application)


def make_ecdsa(application: str = "ssh:") -> Key:
    """A key of the kind that all tokens make."""
    private = ec.generate_private_key(ec.SECP256R1())
    kind = "sk-ecdsa-sha2-nistp256@openssh.com"
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    blob = b"".join(map(_string, (kind.encode(), b"nistp256", point, application.encode())))

    def sign(data: bytes) -> bytes:
        r, s = utils.decode_dss_signature(private.sign(data, ec.ECDSA(SHA256())))
        return _string(_number(r) + _number(s))

    return Key(kind, blob, sign, application)


@dataclass(frozen=True)
class Manner:
    """How it signs."""

    flags: int = TOUCHED | VERIFIED
    """What it vouches for."""
    claimed: int | None = None
    """What the signature says that it vouched for, where that is another thing."""
    application: str | None = None
    """For which application, where that is not the key's own."""
    replay: bool = False
    """Gives the signature that it gave last."""
    refuses: bool = False
    """Nobody touches it."""
    before: Callable[[], object] = lambda: None
    """What happens meanwhile, before it is touched."""


@dataclass
class Token:
    """Keys, and the agent's socket."""

    socket: Path
    keys: dict[str, Key]
    manner: Manner = Manner()
    _counter: int = 0
    _last: bytes = field(default=b"", repr=False)

    @contextmanager
    def signing(self, manner: Manner) -> Iterator[None]:
        """Otherwise than a token does."""
        self.manner, before = manner, self.manner
        try:
            yield
        finally:
            self.manner = before

    def public(self, name: str) -> Path:
        """The file that names one of its keys to ssh."""
        path = self.socket.with_name(f"{name}.pub")
        path.write_text(self.keys[name].line + "\n")
        return path

    def answer(self, asked: bytes) -> bytes:
        """The agent's answer to a message."""
        if asked[0] == _ASKED_FOR_IDENTITIES:
            found = b"".join(_string(key.blob) + _string(b"") for key in self.keys.values())
            return struct.pack(">BI", _IDENTITIES, len(self.keys)) + found
        if asked[0] == _ASKED_TO_SIGN and not self.manner.refuses:
            (size,) = struct.unpack_from(">I", asked, 1)
            blob, rest = asked[5 : 5 + size], asked[5 + size :]
            (size,) = struct.unpack_from(">I", rest)
            for key in self.keys.values():
                if key.blob == blob:
                    return bytes([_SIGNATURE]) + _string(self._sign(key, rest[4 : 4 + size]))
        return bytes([_FAILURE])

    def _sign(self, key: Key, data: bytes) -> bytes:
        how = self.manner
        how.before()
        if not how.replay:
            self._counter += 1
            application = (how.application or key.application).encode()
            vouched = struct.pack(">BI", how.flags, self._counter)
            signed = hashlib.sha256(application).digest() + vouched + hashlib.sha256(data).digest()
            claimed = how.flags if how.claimed is None else how.claimed
            said = struct.pack(">BI", claimed, self._counter)
            self._last = _string(key.kind.encode()) + key.sign(signed) + said
        return self._last


class _Agent(socketserver.StreamRequestHandler):
    token: Token

    def handle(self) -> None:
        """Answer one client's messages."""
        while len(head := self.rfile.read(4)) == 4:
            asked = self.rfile.read(struct.unpack(">I", head)[0])
            self.wfile.write(_string(self.token.answer(asked)))


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


@contextmanager
def plugged_in(place: Path, **keys: Key) -> Iterator[Token]:
    """A token with these keys, behind an agent in the folder `place`."""
    token = Token(place / "agent", keys)
    handler = type("_Handler", (_Agent,), {"token": token})
    with _Server(str(token.socket), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield token
        finally:
            server.shutdown()
