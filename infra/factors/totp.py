"""One-time codes from a phone and what else shows them (RFC 6238), and five emergency codes."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import pyotp
from pydantic import BaseModel, ConfigDict, StringConstraints

from infra.factors import PHONE, Issued, Streams, Who
from infra.factors.draw import below

EMERGENCY_CODES = 5
"""How many an enrollment has."""

LABEL = 64
"""Bytes of issuer and account, with a colon between them, that a YubiKey keeps (OATH)."""

REQUEST: dict[str, Any] = {}

_SECRET_BYTES = 20  # RFC 4226, section 4: 160 bits are recommended
_CODE_MIN = 10_000_000  # emergency codes have eight digits, one-time codes six
_CODE_RANGE = 90_000_000


FIELDS = ("authenticators", "emergency_codes")

_Uri = Annotated[str, StringConstraints(pattern=r"^otpauth://[!-~]{1,1000}\z")]
_Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}\z")]
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,19}\z")]


class Authenticator(BaseModel):
    """One of several things that show a person's codes."""

    model_config = ConfigDict(hide_input_in_errors=True, frozen=True)

    enrollment: _Id
    uri: _Uri


class SHOWN(BaseModel):
    """What a person is shown."""

    model_config = ConfigDict(hide_input_in_errors=True, frozen=True)

    uri: _Uri | None = None
    """For an authenticator app: Google Authenticator's Key URI Format."""
    authenticators: dict[_Name, Authenticator] = {}
    """In the place of `uri`, for who has several or another one than the enrollment's."""
    emergency_codes: tuple[Annotated[str, StringConstraints(pattern=r"^[0-9]{8}\z")], ...]
    """Each opens the door once."""
    codes_enrollment: _Id | None = None
    """Their id, where it is not the enrollment's."""


def fault(_field: str, _value: Any) -> None:
    """Nothing: it needs nothing of a request."""


def issue(streams: Streams, who: Who) -> Issued:
    """The secret that each authenticator shares, base32 without padding, and emergency codes."""
    codes: dict[str, Any] = {
        "emergency_codes": _emergency_codes(streams("emergency-codes", who.codes))
    }
    if who.codes is not None:
        codes["codes_enrollment"] = who.codes
    if who.authenticators is None:
        secret = _secret(streams, None)
        return Issued({"totp_secret": secret, **codes}, {"uri": _uri(secret, who), **codes})
    secrets = {
        name: (issued, _secret(streams, issued)) for name, issued in who.authenticators.items()
    }
    kept = {
        name: {"enrollment": issued, "totp_secret": secret}
        for name, (issued, secret) in secrets.items()
    }
    shown = {
        name: {"enrollment": issued, "uri": _uri(secret, who)}
        for name, (issued, secret) in secrets.items()
    }
    return Issued({"authenticators": kept, **codes}, {"authenticators": shown, **codes})


def _secret(streams: Streams, issued: str | None) -> str:
    return base64.b32encode(streams("totp", issued)(_SECRET_BYTES)).decode()


def ids(entry: Mapping[str, Any]) -> set[str]:
    """Of each of several authenticators, and of emergency codes that have one of their own."""
    found = {each["enrollment"] for each in entry.get("authenticators", {}).values()}
    return found | ({entry["codes_enrollment"]} if "codes_enrollment" in entry else set())


def scanned(shown: SHOWN) -> dict[str, str]:
    """The URIs."""
    if shown.uri is not None:
        return {PHONE: shown.uri}
    return {name: each.uri for name, each in shown.authenticators.items()}


def steps(shown: SHOWN, *, in_words: bool) -> list[str]:
    """To bind the phone, and to write the emergency codes down."""
    found = scanned(shown)
    scan = "Scan the QR with any authenticator app."
    if len(found) > 1:
        scan = "Scan each QR with the device of its name: any authenticator app."
    if in_words:
        scan += " Or give it this address:"
        scan += "".join(
            f"\n   {uri if len(found) == 1 else f'{name}: {uri}'}" for name, uri in found.items()
        )
    codes = "  ".join(shown.emergency_codes)
    write = "Write these emergency codes on paper. Each is good once, in place of the app's code:"
    return [scan, f"{write}\n   {codes}"]


def _emergency_codes(read: Callable[[int], bytes]) -> list[str]:
    codes: dict[str, None] = {}
    numbers = below(_CODE_RANGE, read, 4)
    while len(codes) < EMERGENCY_CODES:
        codes[str(_CODE_MIN + next(numbers))] = None
    return list(codes)


def _uri(secret: str, who: Who) -> str:
    """Google Authenticator's Key URI Format. Defaults are spelt out: not every app has the same.

    Names of several authenticators are short enough for a YubiKey. Who has one phone keeps the name
    that stands in it.
    """
    issuer, account = f"Secondlock {who.stack}", f"{who.researcher}@{who.machine}"
    if who.authenticators is not None and len(f"{issuer}:{account}") > LABEL:
        account = who.researcher
        issuer = issuer[: LABEL - len(f":{account}")]
    uri = pyotp.TOTP(secret).provisioning_uri(name=account, issuer_name=issuer)
    return f"{uri}&algorithm=SHA1&digits=6&period=30"
