"""One-time codes from the researcher's phone (RFC 6238), and five emergency codes beside them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Annotated, Any

import pyotp
from pydantic import BaseModel, ConfigDict, StringConstraints

from infra.factors import Issued, Streams, Who
from infra.factors.draw import below

EMERGENCY_CODES = 5
"""How many an enrollment has."""

REQUEST: dict[str, Any] = {}

_SECRET_BYTES = 20  # RFC 4226, section 4: 160 bits are recommended
_CODE_MIN = 10_000_000  # emergency codes have eight digits, one-time codes six
_CODE_RANGE = 90_000_000


class SHOWN(BaseModel):
    """What a person is shown."""

    model_config = ConfigDict(hide_input_in_errors=True, frozen=True)

    uri: Annotated[str, StringConstraints(pattern=r"^otpauth://[!-~]{1,1000}\z")]
    """For an authenticator app: Google Authenticator's Key URI Format."""
    emergency_codes: tuple[Annotated[str, StringConstraints(pattern=r"^[0-9]{8}\z")], ...]
    """Each opens the door once."""


def fault(_field: str, _value: Any) -> None:
    """Nothing: it needs nothing of a request."""


def issue(streams: Streams, who: Who) -> Issued:
    """The secret that the phone shares, base32 without padding, and the emergency codes."""
    secret = base64.b32encode(streams("totp")(_SECRET_BYTES)).decode()
    codes = _emergency_codes(streams("emergency-codes"))
    account = f"{who.researcher}@{who.machine}"
    return Issued(
        {"totp_secret": secret, "emergency_codes": codes},
        {"uri": _uri(secret, stack=who.stack, account=account), "emergency_codes": codes},
    )


def qr(shown: SHOWN) -> str:
    """The URI."""
    return shown.uri


def steps(shown: SHOWN, *, in_words: bool) -> list[str]:
    """To bind the phone, and to write the emergency codes down."""
    scan = "Scan the QR with any authenticator app."
    if in_words:
        scan += f" Or give it this address:\n   {shown.uri}"
    codes = "  ".join(shown.emergency_codes)
    write = "Write these emergency codes on paper. Each is good once, in place of the app's code:"
    return [scan, f"{write}\n   {codes}"]


def _emergency_codes(read: Callable[[int], bytes]) -> list[str]:
    codes: dict[str, None] = {}
    numbers = below(_CODE_RANGE, read, 4)
    while len(codes) < EMERGENCY_CODES:
        codes[str(_CODE_MIN + next(numbers))] = None
    return list(codes)


def _uri(secret: str, *, stack: str, account: str) -> str:
    """Google Authenticator's Key URI Format. Defaults are spelt out: not every app has the same."""
    uri = pyotp.TOTP(secret).provisioning_uri(name=account, issuer_name=f"Secondlock {stack}")
    return f"{uri}&algorithm=SHA1&digits=6&period=30"
