"""Enrollment: what a seed becomes, and that it never becomes anything else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import secrets
import shutil
import struct
import subprocess
from typing import TYPE_CHECKING

import pyotp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cli.qr import qr_png, qr_terminal
from infra.enrollment import (
    Enrollment,
    derive,
    derive_host_key,
    fingerprint,
    pin_fault,
    seed_fault,
)

if TYPE_CHECKING:
    from pathlib import Path

SEED = "9f1c6d0e7b2a4f538c9d0e1f2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d"
ALICE = {
    "stack": "demo",
    "machine": "alice",
    "researcher": "alice",
    "enrollment": "0123456789abcdef0123456789abcdef",
}


def enrol(method: str = "key+totp", change: dict[str, str] | None = None) -> Enrollment:
    names = {**ALICE, **(change or {})}
    return derive(
        SEED,
        stack=names["stack"],
        machine=names["machine"],
        researcher=names["researcher"],
        enrollment=names["enrollment"],
        method=method,
    )


def hkdf(key: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    """RFC 5869 in its own words, as a second opinion."""
    prk = hmac.digest(salt, key, hashlib.sha256)
    output = block = b""
    for count in range(1, -(-size // 32) + 1):
        block = hmac.digest(prk, block + info + bytes([count]), hashlib.sha256)
        output += block
    return output[:size]


def test_golden_vector() -> None:
    """If this fails, every phone and every known host key in the field has just become useless."""
    alice = enrol("password+totp")
    host_key = derive_host_key(SEED, stack="demo", machine="alice")
    assert alice.entry["totp_secret"] == "MT3FYL3ENNZTBGAPE6KKH5NMCCKX4Z5N"
    assert alice.entry["emergency_codes"] == [
        "57759588", "69518323", "46181507", "28767442", "26731411",
    ]  # fmt: skip
    assert alice.entry["password"] == "byx9b-79avs-7a7mb-hufrj"
    assert alice.shown["uri"] == (
        "otpauth://totp/Secondlock%20demo:alice%40alice?secret=MT3FYL3ENNZTBGAPE6KKH5NMCCKX4Z5N"
        "&issuer=Secondlock%20demo&algorithm=SHA1&digits=6&period=30"
    )
    assert fingerprint(SEED) == "28861bcfb9c0dfd4"
    assert host_key.public_openssh == (
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAKSeavuRQzefndtPOEcGo7plvaQRAvlEEmYvNRDgeAq"
    )


def test_totp_secret_is_hkdf_of_seed_salt_and_prefixed_names() -> None:
    # RFC 5869, A.1, so that the second opinion is worth something
    okm = hkdf(b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)), 42)
    assert okm.hex().startswith("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf")
    names = [b"secondlock/1", b"totp", b"demo", b"alice", b"alice"]
    info = b"".join(struct.pack(">I", len(name)) + name for name in names)
    expected = hkdf(bytes.fromhex(SEED), bytes.fromhex(ALICE["enrollment"]), info, 20)
    assert base64.b32decode(enrol().entry["totp_secret"]) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"stack": "dem", "machine": "oalice"},
        {"machine": "alic", "researcher": "ealice"},
        {"machine": "bob"},
        {"researcher": "bob"},
        {"enrollment": "0123456789abcdef0123456789abcdee"},
    ],
)
def test_any_other_input_is_another_phone(change: dict[str, str]) -> None:
    one, other = enrol(), enrol(change=change)
    assert one.entry["totp_secret"] != other.entry["totp_secret"]
    assert not set(one.entry["emergency_codes"]) & set(other.entry["emergency_codes"])


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=16, max_size=16))
def test_emergency_codes_are_five_and_fit_the_pam_module(salt: bytes) -> None:
    codes = enrol(change={"enrollment": salt.hex()}).entry["emergency_codes"]
    assert len(set(codes)) == len(codes) == 5
    assert all(10_000_000 <= int(code) <= 99_999_999 for code in codes)


def test_password_only_where_it_is_a_factor() -> None:
    assert "password" not in enrol().entry
    password = enrol("password+totp").entry["password"]
    assert password is not None
    assert len(password.replace("-", "")) == 20


def test_an_app_reads_the_uri_and_shows_rfc_6238_codes() -> None:
    alice = enrol()
    app = pyotp.parse_uri(alice.shown["uri"])
    assert isinstance(app, pyotp.TOTP)
    assert (app.secret, app.issuer, app.name) == (
        alice.entry["totp_secret"],
        "Secondlock demo",
        "alice@alice",
    )
    rfc = app.__class__(base64.b32encode(b"12345678901234567890").decode())
    assert rfc.at(59) == "287082"  # RFC 6238, appendix B, the last six of eight digits


def test_secrets_do_not_show_in_repr() -> None:
    alice = enrol("password+totp")
    host_key = derive_host_key(SEED, stack="demo", machine="alice")
    shown = repr(alice) + repr(host_key)
    for secret in (
        alice.entry["totp_secret"],
        alice.entry["password"],
        *alice.entry["emergency_codes"],
        "PRIVATE KEY",
    ):
        assert secret is not None
        assert secret not in shown


def test_host_key_is_the_same_text_each_time_and_openssh_reads_it(tmp_path: Path) -> None:
    host_key = derive_host_key(SEED, stack="demo", machine="alice")
    assert host_key == derive_host_key(SEED, stack="demo", machine="alice")
    assert host_key != derive_host_key(SEED, stack="demo", machine="bob")
    file = tmp_path / "key"
    file.touch(mode=0o600)
    file.write_text(host_key.private_openssh)
    shown = subprocess.run(
        ["ssh-keygen", "-y", "-f", file], check=True, capture_output=True, text=True
    )
    assert shown.stdout.strip() == host_key.public_openssh


def drawn(terminal: str, *, dark: bool) -> bytes:
    """A screenshot of a terminal whose own background is dark or light."""
    colours, end = "\x1b[38;5;16;48;5;231m", "\x1b[0m"
    lines = terminal.splitlines()
    assert all(line.startswith(colours) and line.endswith(end) for line in lines)
    body = [line[len(colours) : -len(end)] for line in lines]
    image = Image.new("L", (len(body[0]) + 20, 2 * len(body) + 20), 0 if dark else 255)
    for y, line in enumerate(body):
        for x, block in enumerate(line):
            image.putpixel((x + 10, 2 * y + 10), 0 if block in "▀█" else 255)
            image.putpixel((x + 10, 2 * y + 11), 0 if block in "▄█" else 255)
    buffer = io.BytesIO()
    image.resize((image.width * 6, image.height * 6), Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.skipif(not shutil.which("zbarimg"), reason="zbarimg (package zbar-tools) is missing")
def test_qr_codes_scan(tmp_path: Path) -> None:
    uri = enrol().shown["uri"]
    terminal = qr_terminal(uri)
    for name, image in {
        "png": qr_png(uri),
        "dark": drawn(terminal, dark=True),
        "light": drawn(terminal, dark=False),
    }.items():
        file = tmp_path / f"{name}.png"
        file.write_bytes(image)
        scan = subprocess.run(["zbarimg", "-q", "--raw", file], capture_output=True, text=True)
        assert scan.stdout.strip() == uri, name


MAKE = "openssl rand -hex 32 | pulumi config set --secret secondlock:enrollmentSeed --stack demo"


@pytest.mark.parametrize(
    "seed",
    [
        "",
        SEED[:62],
        "x" * 64,
        "0" * 64,
        "0123456789abcdef" * 4,
        bytes(range(32)).hex(),
        b"correct horse battery staple 123".hex(),
    ],
)
def test_missing_or_weak_seed_names_the_command_and_not_the_seed(seed: str) -> None:
    fault = str(seed_fault(seed, "demo"))
    assert MAKE in fault
    assert not seed or seed not in fault


def test_changed_seed_needs_consent() -> None:
    own, other = fingerprint(SEED), fingerprint(secrets.token_hex(32))
    assert pin_fault(SEED, own, False, "demo") is None
    assert pin_fault(SEED, other, True, "demo") is None
    changed, unpinned, again = (
        str(pin_fault(SEED, pinned, new, "demo"))
        for pinned, new in ((other, False), (None, False), (own, True))
    )
    assert "pulumi config set secondlock:newSeed true" in changed
    assert f"seedFingerprint {own} --stack demo" in unpinned
    assert "pulumi config rm secondlock:newSeed" in again


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=32, max_size=32).filter(lambda raw: len(set(raw)) > 24))
def test_random_seeds_pass(raw: bytes) -> None:
    digest = hashlib.sha256(raw).hexdigest()
    assert seed_fault(digest, "demo") is None
