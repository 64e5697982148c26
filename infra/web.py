"""The HTTPS door of a machine: its names, its certificate, and the authority that people trust.

Nobody else vouches for a machine, so the stack does: its authority (CA) is derived from the seed,
may sign for servers of the stack's own names alone (RFC 5280, 4.2.1.10), and its key is never
outside this program. `enroll` hands its certificate out.

On the target local names end in `.localhost`, which browsers take for their own computer (RFC 6761,
6.3): there the machine's port is.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass, field
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from infra.enrollment import stream

LOCAL = "localhost"

# P-256's order (SEC 2, 2.4.2).
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_SCALAR = (
    40  # bytes, of which the order takes 32: none of its values is favoured (FIPS 186-5, A.2.1)
)
_SINCE = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
_AUTHORITY_UNTIL = dt.datetime(2046, 1, 1, tzinfo=dt.timezone.utc)
# Apple takes none that lasts longer than 825 days; each half of a year has another.
_LASTS = dt.timedelta(days=800)
_FOR_SERVERS = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
_SERIAL = 19  # bytes: at most 20, the first bit unset (RFC 5280, 4.1.2.2)


MOST = 5
"""Certificates that a machine takes behind each other (guest/gateway/asked.py)."""
PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Certificate:
    """A machine's, in PEM."""

    host: str
    certificate: str
    """Of the stack's own authority, with nothing behind it: clients have the authority's."""
    key: str = field(repr=False)
    """Secret."""
    ends: dt.datetime
    """From then on no browser takes it, or the one that it stands in for."""


def host_of(stack: str, machine: str, domain: str = LOCAL) -> str:
    """The name of a machine's hub; a person's own place there has theirs in front."""
    labels = (each.lower().replace("_", "-").strip("-") for each in (machine, stack))
    return ".".join((*labels, domain))


def authority(seed: str, stack: str, domain: str = LOCAL) -> str:
    """The certificate of the stack's authority, in PEM. Raises ValueError for a bad seed."""
    key = _key(seed, "web-authority", stack)
    name = _name(f"Secondlock {stack}")
    within = host_of(stack, "x", domain).removeprefix("x.")
    usage = _usage(key_cert_sign=True, crl_sign=True)
    built = (
        _builder(seed, name, name, key, ("web-authority-serial-2", stack, within))
        .not_valid_before(_SINCE)
        .not_valid_after(_AUTHORITY_UNTIL)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(_only(within), critical=True)
        .add_extension(_FOR_SERVERS, critical=False)
    )
    return _signed(built, key)


def certificate(
    seed: str,
    *,
    stack: str,
    machine: str,
    today: dt.date,
    domain: str = LOCAL,
) -> Certificate:
    """That of a machine and of each person's place there, the same on each day of half a year.

    It names nobody: who comes or goes changes nothing for the others, whose connections would end.

    Raises ValueError for a bad seed.
    """
    host = host_of(stack, machine, domain)
    key, signer = _key(seed, "web", stack, machine), _key(seed, "web-authority", stack)
    names = [host, f"*.{host}"]
    begins = dt.datetime(today.year, 1 if today.month <= 6 else 7, 1, tzinfo=dt.timezone.utc)
    marks = ("web-serial", stack, machine, begins.date().isoformat(), host)
    built = (
        _builder(seed, _name(host), _name(f"Secondlock {stack}"), key, marks)
        .not_valid_before(begins)
        .not_valid_after(begins + _LASTS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(_FOR_SERVERS, critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    return Certificate(host, _signed(built, signer), key_pem(key), begins + _LASTS)


def _only(domain: str) -> x509.NameConstraints:
    """Names of it alone: a kind of which nothing is said would be free (RFC 5280, 4.2.1.10).

    No mail address is at a host of that name, and no IP address is allowed at all.
    """
    allowed = [x509.DNSName(domain), x509.RFC822Name(domain)]
    every = [x509.IPAddress(ipaddress.ip_network(each)) for each in ("0.0.0.0/0", "::/0")]
    return x509.NameConstraints(allowed, every)


def _key(seed: str, purpose: str, *names: str) -> ec.EllipticCurvePrivateKey:
    number = int.from_bytes(stream(seed, purpose, *names)(_SCALAR), "big")
    return ec.derive_private_key(number % (_ORDER - 1) + 1, ec.SECP256R1())


def _builder(
    seed: str,
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    marks: tuple[str, ...],
) -> x509.CertificateBuilder:
    """With a serial number of its own: that of other names, or of another time, is another."""
    serial = int.from_bytes(stream(seed, *marks)(_SERIAL), "big") + 1
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(serial)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _name(common: str) -> x509.Name:
    """At most 64 characters (RFC 5280, A.1, ub-common-name)."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _usage(**said: bool) -> x509.KeyUsage:
    every = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
        "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{each: said.get(each, False) for each in every})


def _signed(built: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> str:
    """By RFC 6979, without chance: the roster is the same at every run."""
    signed = built.sign(key, hashes.SHA256(), ecdsa_deterministic=True)
    return certificate_pem(signed)


def certificate_pem(certificate: x509.Certificate) -> str:
    """As machines take it."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def key_pem(key: PrivateKey) -> str:
    """As machines take it. Secret."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
