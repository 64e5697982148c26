"""One-time codes: their roster entry, and what the verifier knows of them."""

import base64
import re
from dataclasses import dataclass, field
from typing import Any

from guest.factors import Now, Person
from guest.reading import need, text, texts
from guest.system import GuestError
from guest.totp import codes, legacy

FIELDS = ("totp_secret", "authenticators", "emergency_codes", "codes_enrollment")
BASE32 = re.compile(r"[A-Z2-7]{32}")
EMERGENCY_CODE = re.compile(r"[1-9][0-9]{7}")
ID = re.compile(r"[0-9a-f]{32}")
NAME = re.compile(r"[a-z][a-z0-9-]{0,19}")
MOST = 5  # authenticators of a person: each makes a guess likelier


@dataclass(frozen=True)
class Codes:
    """What was issued."""

    secret: str | None = field(repr=False)
    """Of the enrollment's own phone (RFC 6238), in hexadecimal; None: other authenticators."""
    authenticators: dict[str, tuple[str, str]] = field(repr=False)
    """Where the entry names them: by name, each with its id and secret."""
    emergency: tuple[str, ...] = field(repr=False)
    codes: str | None = None
    """The id of the emergency codes; None: the enrollment's."""


def read(entry: dict[str, Any], name: str) -> Codes:
    """The codes of the entry of `name`. Raises GuestError."""
    emergency = texts(entry.get("emergency_codes"), EMERGENCY_CODE, f"an emergency code of {name}")
    need(len(set(emergency)) == len(emergency) == 5, f"{name} has not five emergency codes")
    of_codes = entry.get("codes_enrollment")
    if of_codes is not None:
        text(of_codes, ID, f"the id of the emergency codes of {name}")
    named = entry.get("authenticators")
    if named is None:
        return Codes(_secret(entry, name), {}, emergency, of_codes)
    need(isinstance(named, dict) and 0 < len(named) <= MOST, f"{name} has no authenticators")
    need("totp_secret" not in entry, f"{name} has a secret beside those of the authenticators")
    found = {
        text(each, NAME, f"an authenticator of {name}"): _authenticator(one, name)
        for each, one in named.items()
    }
    distinct = {each for each, _ in found.values()}
    need(len(distinct) == len(found), f"two authenticators of {name} share an id")
    return Codes(None, found, emergency, of_codes)


def _authenticator(entry: Any, name: str) -> tuple[str, str]:
    need(isinstance(entry, dict), f"an authenticator of {name} is not a mapping")
    found = text(entry.get("enrollment"), ID, f"the id of an authenticator of {name}")
    return found, _secret(entry, name)


def _secret(entry: dict[str, Any], name: str) -> str:
    secret = text(entry.get("totp_secret"), BASE32, f"the code's secret of {name}")
    return base64.b32decode(secret).hex()


def ids(issues: Codes) -> frozenset[str]:
    """What was issued apart from the enrollment."""
    found = {each for each, _ in issues.authenticators.values()}
    return frozenset(found | {issues.codes} if issues.codes else found)


def marks(person: Person, issues: Codes) -> frozenset[str]:
    """The authenticators and the emergency codes, by their ids."""
    own = {person.enrollment} if issues.secret is not None else set()
    every = own | {each for each, _ in issues.authenticators.values()}
    found = {f"authenticator {each}" for each in every}
    return frozenset({*found, f"codes {issues.codes or person.enrollment}"})


def differs(person: Person, issues: Codes | None) -> bool:
    """Whether another enrollment or method holds now, or an authenticator less."""
    try:
        found = codes.issued(person.name)
    except codes.CodesError:
        return True
    if found is None or issues is None:
        return (found is None) != (issues is None)
    wanted = _wanted(person, issues)
    if any(found[each] != wanted[each] for each in ("enrollment", "method")):
        return True
    return not _bound(found) <= _bound(wanted)


def _wanted(person: Person, issues: Codes) -> dict[str, Any]:
    """As guest/totp/codes.py keeps it."""
    wanted: dict[str, Any] = {
        "enrollment": person.enrollment,
        "method": person.method,
        "emergency": list(issues.emergency),
    }
    if issues.secret is not None:
        wanted["secret"] = issues.secret
    if issues.codes is not None:
        wanted["codes"] = issues.codes
    for name, (each, secret) in issues.authenticators.items():
        if each == person.enrollment:
            wanted |= {"secret": secret, "first": name}
        else:
            wanted.setdefault("others", {})[name] = [each, secret]
    return wanted


def _bound(issued: dict[str, Any]) -> set[str]:
    """The secrets that codes are made from."""
    others = {secret for _, secret in issued.get("others", {}).values()}
    return others | {issued["secret"]} if "secret" in issued else others


def bind(person: Person, issues: Codes | None, now: Now) -> str | None:
    """Bind the enrollment's codes. Raises GuestError where they cannot be kept."""
    name = person.name
    if issues is None:
        try:
            codes.withdraw(name)
        except codes.CodesError as error:
            raise GuestError(f"the codes of {name} cannot be removed: {error}") from None
        return None
    wanted = _wanted(person, issues)
    older = legacy.slate(name, wanted) if person.enrollment in now.known else None
    try:
        new = codes.enroll(name, wanted, now.known, older)
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
