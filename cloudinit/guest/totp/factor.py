"""One-time codes: their roster entry, and what the verifier knows of them."""

import base64
import re
from dataclasses import dataclass, field
from typing import Any

from guest.factors import Now, Person
from guest.reading import need, text, texts
from guest.system import GuestError
from guest.totp import codes, legacy

FIELDS = ("totp_secret", "emergency_codes")
BASE32 = re.compile(r"[A-Z2-7]{32}")
EMERGENCY_CODE = re.compile(r"[1-9][0-9]{7}")


@dataclass(frozen=True)
class Codes:
    """What an enrollment issued."""

    secret: str = field(repr=False)
    """Of RFC 6238, in hexadecimal."""
    emergency: tuple[str, ...] = field(repr=False)


def read(entry: dict[str, Any], name: str) -> Codes:
    """The codes of the entry of `name`. Raises GuestError."""
    emergency = texts(entry.get("emergency_codes"), EMERGENCY_CODE, f"an emergency code of {name}")
    need(len(set(emergency)) == len(emergency) == 5, f"{name} has not five emergency codes")
    secret = text(entry.get("totp_secret"), BASE32, f"the code's secret of {name}")
    return Codes(base64.b32decode(secret).hex(), emergency)


def differs(person: Person, issues: Codes | None) -> bool:
    """Whether another enrollment or method holds now."""
    try:
        found = codes.issued(person.name)
    except codes.CodesError:
        return True
    if found is None or issues is None:
        return (found is None) != (issues is None)
    return (found["enrollment"], found["method"]) != (person.enrollment, person.method)


def bind(person: Person, issues: Codes | None, now: Now) -> str | None:
    """Bind the enrollment's codes. Raises GuestError where they cannot be kept."""
    name = person.name
    if issues is None:
        forget(name)
        return None
    wanted = {
        "enrollment": person.enrollment,
        "method": person.method,
        "secret": issues.secret,
        "emergency": list(issues.emergency),
    }
    older = legacy.slate(name, wanted) if now.known_before else None
    try:
        new = codes.enroll(name, wanted, now.known_before, older)
    except (codes.CodesError, OSError) as error:
        raise GuestError(f"the codes of {name} cannot be kept: {error}") from None
    legacy.forget(name)
    return "enrollment" if new else None


def forget(name: str) -> None:
    """Nothing of this person's opens anything any more. Raises GuestError."""
    try:
        codes.forget(name)
    except codes.CodesError as error:
        raise GuestError(f"the codes of {name} cannot be removed: {error}") from None
    legacy.forget(name)
