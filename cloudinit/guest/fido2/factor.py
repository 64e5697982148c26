"""Security keys: their roster entry, and where sshd looks for them alone.

Apart from other keys: a person who changes to this method is let in by no key of before, and sshd
demands touch and PIN of every key in the file.
"""

import base64
from typing import Any

from guest import paths
from guest.factors import Now, Person
from guest.key import factor as key
from guest.reading import need
from guest.system import folder, write

FIELDS = ()  # public keys are no secret
KEYS = paths.ETC / "security_keys"
# sshd knows a token by nothing else; one that was made for the web signs for the web.
APPLICATION = "ssh:"


def read(entry: dict[str, Any], name: str) -> tuple[str, ...]:
    """The public keys of the entry of `name`. Raises GuestError."""
    keys = key.read(entry, name)
    for line in keys:
        need(line.startswith("sk-"), f"an SSH key of {name} is on no security key")
        need(
            _application(line).startswith(APPLICATION),
            f"a security key of {name} is not for SSH",
        )
    return keys


def _application(line: str) -> str:
    """For what a security key was made: the last string of such a key (PROTOCOL.u2f of OpenSSH)."""
    blob = base64.b64decode(line.split(" ", 2)[1])
    strings: list[bytes] = []
    while blob:
        size = int.from_bytes(blob[:4], "big")
        strings.append(blob[4 : 4 + size])
        blob = blob[4 + size :]
    return strings[-1].decode("ascii", "replace") if strings else ""


def _is_in_force(name: str) -> str:
    try:
        return (KEYS / name).read_text()
    except FileNotFoundError:
        return ""


def ids(_: object) -> frozenset[str]:
    """None: all of it is the enrollment's."""
    return frozenset()


def marks(_: Person, keys: tuple[str, ...]) -> frozenset[str]:
    """The keys."""
    return frozenset(keys)


def differs(person: Person, keys: tuple[str, ...] | None) -> bool:
    """Whether other keys are let in now. Raises OSError where that cannot be seen."""
    return _is_in_force(person.name) != key.lines(keys)


def bind(person: Person, keys: tuple[str, ...] | None, _: Now) -> str | None:
    """Let these keys in and no others."""
    if keys is None:
        forget(person.name)
        return None
    folder(KEYS, 0o755)
    return "security keys" if write(KEYS / person.name, key.lines(keys), 0o644) else None


def forget(name: str) -> None:
    """Nothing of this person's opens anything any more."""
    (KEYS / name).unlink(missing_ok=True)
