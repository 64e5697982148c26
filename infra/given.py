"""A certificate for browsers that the stack is given, in place of one of its own authority's.

It and its key are settings; the roster takes both to each machine that people reach by HTTPS.
"""

from __future__ import annotations

import datetime as dt
import functools
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from cloudinit.guest.alerts.faults import ENDS_SOON
from infra.model.person import WEB
from infra.model.problems import Problem, RefusedError
from infra.web import MOST, Certificate, PrivateKey, certificate_pem, host_of, key_pem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from infra.model.members import MachineRequest
    from infra.model.settings import Settings

_WEAKEST_RSA = 2048  # bits (NIST SP 800-57 part 1, 5.6.1)
_CURVES = ("secp256r1", "secp384r1")
_ANEW = "pulumi config set secondlock:webCertificate < CHAIN.pem"
_KEY = "pulumi config set --secret secondlock:webKey"
_KEY_ANEW = f"{_KEY} < KEY.pem"
_NO_MORE = "pulumi config rm secondlock:webCertificate"
_NO_KEY = "pulumi config rm secondlock:webKey"

_Kind = TypeVar("_Kind", bound=x509.ExtensionType)


@dataclass(frozen=True)
class Given:
    """A sound certificate, in PEM as machines take it."""

    chain: str
    """The machines' own, then each one's issuer."""
    key: str = field(repr=False)
    """Secret."""
    names: tuple[str, ...]
    """Those that it is good for, in small letters; `*.` stands for one label."""
    begins: dt.datetime
    ends: dt.datetime
    """When the first of the chain ends."""

    def covers(self, name: str) -> bool:
        """Whether a browser takes it for this name (RFC 9525, 6.3)."""
        return name in self.names or f"*.{name.partition('.')[2]}" in self.names

    def of(self, host: str) -> Certificate:
        """As the machine of this name has it."""
        return Certificate(host, self.chain, self.key, self.ends)


@functools.lru_cache(maxsize=4)
def read_given(chain: str, key: str) -> Given:
    """The certificate of the settings. Raises RefusedError, which quotes neither of them."""
    certificates = _certificates(chain)
    own, private = certificates[0], _private_key(key)
    try:
        fits = _public(own.public_key()) == _public(private.public_key())
    except (ValueError, UnsupportedAlgorithm):
        raise RefusedError(
            "the certificate's key is of a kind that no browser takes", _ANEW
        ) from None
    if not fits:
        raise RefusedError("the key is another certificate's", _KEY_ANEW)
    for one, issuer in pairwise(certificates):
        _check_issued(one, issuer)
    return Given(
        "".join(map(certificate_pem, certificates)),
        key_pem(private),
        _names(own),
        max(each.not_valid_before_utc for each in certificates),
        min(each.not_valid_after_utc for each in certificates),
    )


def given(settings: Settings) -> Given | None:
    """That of a stack's sound settings; None where it has its own authority's."""
    if not settings.web_certificate:
        return None
    return read_given(settings.web_certificate, settings.web_key)


def has_ended(settings: Settings, now: dt.datetime) -> bool:
    """Whether there is one that no browser takes any more: then the stack's own stands in for it.

    That stops nothing else: who leaves has to go, whatever day it is.
    """
    found = given(settings)
    return found is not None and found.ends <= now


def setting_problems(settings: Settings, now: dt.datetime) -> list[Problem]:
    """What is wrong with the two settings, as far as they alone tell."""
    if not settings.knows("web_certificate", "web_key"):
        return []
    if bool(settings.web_certificate) != bool(settings.web_key):
        lacks = "key" if settings.web_certificate else "certificate"
        mends = (_KEY_ANEW, _NO_MORE) if settings.web_certificate else (_ANEW, _NO_KEY)
        what = f"the certificate for browsers has no {lacks}"
        return [Problem(None, None, what, " or ".join(_for(settings, *mends)))]
    try:
        found = given(settings)
    except RefusedError as refused:
        return [_problem(settings, refused)]
    if found is not None and found.begins > now:
        what = f"the certificate for browsers begins on {found.begins.date()}"
        return [Problem(None, None, what, _renewed(settings))]
    return []


def name_problems(
    settings: Settings, machines: Sequence[MachineRequest], now: dt.datetime
) -> Iterator[Problem]:
    """Machines and people for whose names it is not good; for sound settings."""
    found = given(settings)
    if found is None or has_ended(settings, now):
        return
    for machine in machines:
        people = [one.researcher for one in machine.members if WEB in one.access]
        host = host_of(settings.stack, machine.name, settings.domain)
        wanted = [host, *(f"{name}.{host}" for name in people)] if people else []
        if lacks := [name for name in wanted if not found.covers(name)]:
            what = f"the certificate for browsers is not good for {lacks[0]}"
            mend = f"one with the names {host} and *.{host}: {_ANEW} --stack {settings.stack}"
            yield Problem(None, None, what, mend)


def expiry(settings: Settings, now: dt.datetime) -> Problem | None:
    """That the certificate of a stack with sound settings ends soon, or has ended. No `up` stops
    for it."""
    found = given(settings)
    left = None if found is None else (found.ends - now).days
    if found is None or left is None or left >= ENDS_SOON:
        return None
    if not has_ended(settings, now):
        what = f"the certificate for browsers ends in {left} days"
        return Problem(None, None, what, _renewed(settings), "note")
    what = (
        f"the certificate for browsers ended on {found.ends.date()}: machines show one of the"
        " stack's own, which only those browsers take that were told to trust its authority"
    )
    back = "; ".join(_for(settings, _NO_MORE, _NO_KEY))
    return Problem(None, None, what, f"{_renewed(settings)}; or, to keep the stack's own: {back}")


def _renewed(settings: Settings) -> str:
    """What brings another: it has another key, too."""
    return "; ".join(_for(settings, _ANEW, _KEY_ANEW))


def _for(settings: Settings, *commands: str) -> list[str]:
    return [f"{each} --stack {settings.stack}" for each in commands]


def _problem(settings: Settings, refused: RefusedError) -> Problem:
    problem = refused.problem
    return Problem(None, None, problem.what, f"{problem.mend} --stack {settings.stack}")


def _certificates(chain: str) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(chain.encode())
    except ValueError:
        raise RefusedError("the certificate for browsers is none", _ANEW) from None
    if len(found) > MOST:
        raise RefusedError(f"the certificate for browsers rests on more than {MOST - 1}", _ANEW)
    usage = _extension(found[0], x509.ExtendedKeyUsage)
    if usage is not None and ExtendedKeyUsageOID.SERVER_AUTH not in usage:
        raise RefusedError("the certificate for browsers is not one of a server's", _ANEW)
    if _authorises(found[0]):
        what = "the first certificate is an authority's: the machines' own comes first"
        raise RefusedError(what, _ANEW)
    return found


def _private_key(key: str) -> PrivateKey:
    try:
        found = serialization.load_pem_private_key(key.encode(), None)
    except TypeError:
        what = "the key of the certificate for browsers has a passphrase"
        raise RefusedError(what, f"openssl pkey -in KEY.pem | {_KEY}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise RefusedError("the key of the certificate for browsers is none", _KEY_ANEW) from None
    if isinstance(found, ec.EllipticCurvePrivateKey) and found.curve.name in _CURVES:
        return found
    if isinstance(found, rsa.RSAPrivateKey) and found.key_size >= _WEAKEST_RSA:
        return found
    what = "browsers take a key of P-256, P-384, or RSA with 2048 bits or more"
    raise RefusedError(what, f"have a certificate made with such a one, then: {_ANEW}")


def _check_issued(one: x509.Certificate, issuer: x509.Certificate) -> None:
    """Each is signed by the next (RFC 8446, 4.4.2)."""
    try:
        one.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        what = "a certificate of the chain was not issued by the one behind it"
        raise RefusedError(what, f"the machines' own first, then its issuer: {_ANEW}") from None
    if not _authorises(issuer):
        raise RefusedError("a certificate of the chain may issue none", _ANEW)


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Browsers look at no other field (RFC 9525, 2)."""
    names = _extension(certificate, x509.SubjectAlternativeName)
    found = () if names is None else names.get_values_for_type(x509.DNSName)
    return tuple(name.lower() for name in found)


def _authorises(certificate: x509.Certificate) -> bool:
    constraints = _extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def _extension(certificate: x509.Certificate, kind: type[_Kind]) -> _Kind | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
    except (ValueError, x509.DuplicateExtension):
        raise RefusedError("the certificate for browsers is malformed", _ANEW) from None


def _public(key: object) -> bytes:
    public: Callable[..., bytes] = key.public_bytes  # type: ignore[attr-defined]
    return public(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
