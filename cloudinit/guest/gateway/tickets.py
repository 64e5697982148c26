"""Who has come in by the HTTPS door, and for how long: one ticket a login.

The hub gets it for a right passphrase and code, or a provider's word, and has to show it for
everything that it asks of the helper in that person's name. So a hub that was taken over opens
nothing of those who are not in. A ticket is over with its enrollment, when its person is frozen or
may not come by HTTPS any more, and after HOURS. Here lies only what it hashes to.
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
from guest.system import folder, write
from guest.totp import codes

HOURS = 12
MOST = 8  # of one person at a time: the oldest goes


def issue(name: str, enrollment: str) -> str:
    """A new ticket of this person. Raises GuestError where it cannot be kept."""
    ticket = secrets.token_hex(32)
    one = {"hash": _hash(ticket), "enrollment": enrollment, "until": time.time() + HOURS * 3600}
    folder(places.TICKETS, 0o700)
    kept = [each for each in _read(name) if each["until"] > time.time()]
    write(_file(name), json.dumps([*kept, one][-MOST:]), 0o600)
    return ticket


def holds(name: str, ticket: str) -> bool:
    """Whether this ticket still stands for the person."""
    hashed = _hash(ticket)
    found = [each for each in _read(name) if secrets.compare_digest(each["hash"], hashed)]
    return bool(found) and found[0]["until"] > time.time() and _lives(name, found[0]["enrollment"])


def any_holds(name: str) -> bool:
    """Whether any does."""
    now = time.time()
    return any(each["until"] > now and _lives(name, each["enrollment"]) for each in _read(name))


def end(name: str, ticket: str | None = None) -> None:
    """This one is over, or all of the person's."""
    hashed = None if ticket is None else _hash(ticket)
    left = [each for each in _read(name) if hashed is not None and each["hash"] != hashed]
    if left:
        write(_file(name), json.dumps(left), 0o600)
    else:
        _file(name).unlink(missing_ok=True)


def _lives(name: str, enrollment: str) -> bool:
    """Whether the person may come in by what was issued under this id, and is not frozen."""
    if sign.words():
        return False
    try:
        issued = codes.issued(name)
        if issued is None or issued["enrollment"] != enrollment:
            return False
        lives = passphrases.has(name, enrollment) or identities.has(name, enrollment)
        return lives and not codes.slate(name, issued)["frozen"]
    except codes.CodesError:
        return False


def _read(name: str) -> list[dict[str, Any]]:
    with suppress(OSError, ValueError):
        return list(json.loads(_file(name).read_text()))
    return []


def _file(name: str) -> Path:
    return places.TICKETS / name


def _hash(ticket: str) -> str:
    return hashlib.sha256(ticket.encode()).hexdigest()
