"""Who has come in by the HTTPS door, and for how long: one ticket a login.

The hub gets it for a right passphrase and code, or a provider's word, and has to show it for
everything that it asks of the helper in that person's name. So a hub that was taken over opens
nothing of those who are not in. A ticket is over with its enrollment and with what let its person
in: what showed the code, or what the provider calls them. So it is when they are frozen or may not
come by HTTPS any more, and after HOURS. Here lies only what it hashes to.
"""

import hashlib
import json
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from guest.closing import sign
from guest.gateway import passphrases, places
from guest.oidc import identities
from guest.system import GuestError, folder, write
from guest.totp import codes, verify

HOURS = 12
MOST = 8  # of one person at a time: the oldest goes


def issue(name: str, enrollment: str, by: str) -> str:
    """A new ticket of this person, which is over with what let them in.

    `by` tells that: `by_code`, or `identities.mark`.
    The caller holds `codes.locked(name)`. Raises GuestError where it cannot be kept.
    """
    ticket, until = secrets.token_hex(32), time.time() + HOURS * 3600
    one = {"hash": _hash(ticket), "enrollment": enrollment, "by": by, "until": until}
    folder(places.TICKETS, 0o700)
    write(_file(name), json.dumps([*_standing(name), one][-MOST:]), 0o600)
    return ticket


def holds(name: str, ticket: str) -> bool:
    """Whether this ticket still stands for the person. Raises OSError."""
    hashed = _hash(ticket)
    return any(secrets.compare_digest(each["hash"], hashed) for each in _standing(name))


def any_holds(name: str) -> bool:
    """Whether any does. Raises OSError."""
    return bool(_standing(name))


def end(name: str) -> None:
    """All of the person's are over. Raises GuestError."""
    try:
        with codes.locked(name):  # one that is being issued is so before, or after
            _file(name).unlink(missing_ok=True)
    except codes.CodesError as error:
        raise GuestError(f"who is in as {name} cannot be put out: {error}") from None


def _standing(name: str) -> list[dict[str, Any]]:
    """Those of the person's that have not run out, if none of them is over before its time.

    Who has given a phone back is out in every browser: which of them came by it the hub cannot say.
    """
    now = time.time()
    found = [each for each in _read(name) if each["until"] > now]
    return found if found and _all_live(name, found) else []


def _all_live(name: str, found: list[dict[str, Any]]) -> bool:
    """Whether the person may come in by what these were issued for, and is not frozen."""
    if sign.words():
        return False
    try:
        issued = codes.issued(name)
        if issued is None or codes.slate(name, issued)["frozen"]:
            return False
    except codes.CodesError:
        return False
    known, marks = issued["enrollment"], _marks(name, issued)
    return all(each["enrollment"] == known and each.get("by") in marks for each in found)


def _marks(name: str, issued: dict[str, Any]) -> set[str]:
    """What lets the person in: passphrase and a code, or the provider's word."""
    enrollment, marks = issued["enrollment"], set()
    if passphrases.has(name, enrollment):
        marks |= _of_codes(issued)
    if identities.has(name, enrollment):
        marks.add(identities.mark(identities.of(name)))
    return marks


def _of_codes(issued: dict[str, Any]) -> set[str]:
    """What shows codes, by the ids of it (guest/totp/factor.py, `marks`)."""
    own = {issued["enrollment"]} if "secret" in issued else set()
    every = own | {each for each, _ in issued.get("others", {}).values()}
    return {f"authenticator {each}" for each in every} | {_emergency(issued)}


def _emergency(issued: dict[str, Any]) -> str:
    return f"codes {issued.get('codes', issued['enrollment'])}"


def by_code(name: str) -> str:
    """What showed the code of this person's that was used last. Raises GuestError, CodesError."""
    issued = codes.issued(name)
    if issued is None:
        raise GuestError(f"{name} has no codes")
    device = codes.slate(name, issued)["device"]
    if device == verify.EMERGENCY:
        return _emergency(issued)
    if "secret" in issued and device == issued.get("first", codes.PHONE):
        return f"authenticator {issued['enrollment']}"
    return f"authenticator {issued['others'][device][0]}"


def _read(name: str) -> list[dict[str, Any]]:
    with suppress(FileNotFoundError, ValueError):
        return list(json.loads(_file(name).read_text()))
    return []


def _file(name: str) -> Path:
    return places.TICKETS / name


def _hash(ticket: str) -> str:
    return hashlib.sha256(ticket.encode()).hexdigest()
