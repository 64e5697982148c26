"""What the OpenID provider calls each person: the roster's word, and nobody else's."""

import hashlib
import hmac
import json
from contextlib import suppress
from typing import Any

from guest.gateway import places as gateway
from guest.oidc import places
from guest.system import folder, write


def bind(name: str, enrollment: str, identity: str) -> bool:
    """Let in whom the provider calls so, and no other; True where that is a change.

    Raises GuestError.
    """
    known = {"enrollment": enrollment, "identity": identity}
    folder(gateway.STATE, 0o700)
    folder(places.IDENTITIES, 0o700)
    return write(places.IDENTITIES / name, json.dumps(known, sort_keys=True) + "\n", 0o600)


def forget(name: str) -> bool:
    """The provider's word lets this person in no more; True where that is a change."""
    there = (places.IDENTITIES / name).exists()
    (places.IDENTITIES / name).unlink(missing_ok=True)
    return there


def has(name: str, enrollment: str) -> bool:
    """Whether the person has one, of this enrollment."""
    return bool(_known(name).get("enrollment") == enrollment)


def of(name: str) -> str:
    """It; empty where the person has none."""
    return str(_known(name).get("identity", ""))


def mark(identity: str) -> str:
    """What a ticket shows that was given for it (guest/gateway/tickets.py, `issue`).

    The same name at another provider, or in another claim, is somebody else's.
    """
    said: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        said = json.loads(places.PROVIDER.read_text())
    whose = json.dumps([said.get("issuer"), said.get("claim"), identity])
    return f"provider {hashlib.sha256(whose.encode()).hexdigest()}"


def person(identity: str) -> str | None:
    """Whom the provider calls so, to the letter; None where nobody is, or several are."""
    found = [name for name in _names() if _is(_known(name).get("identity"), identity)]
    return found[0] if len(found) == 1 else None


def _is(known: object, identity: str) -> bool:
    return isinstance(known, str) and hmac.compare_digest(known.encode(), identity.encode())


def _names() -> list[str]:
    there = places.IDENTITIES
    # A dot begins what is just being written.
    return [each.name for each in there.iterdir() if each.name[0] != "."] if there.is_dir() else []


def _known(name: str) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        return dict(json.loads((places.IDENTITIES / name).read_text()))
    return {}
