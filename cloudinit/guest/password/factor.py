"""Passwords: their roster entry, and the account's own (chpasswd(8))."""

import re
from pathlib import Path
from typing import Any

from guest.factors import Now, Person
from guest.reading import text
from guest.system import run

FIELDS = ("password",)
SHADOW = Path("/etc/shadow")
PASSWORD = re.compile(r"[!-9;-~]{12,128}")


def read(entry: dict[str, Any], name: str) -> str:
    """The password of the entry of `name`. Raises GuestError."""
    return text(entry.get("password"), PASSWORD, f"the password of {name}")


def ids(_: object) -> frozenset[str]:
    """None: all of it is the enrollment's."""
    return frozenset()


def marks(_: Person, __: object) -> frozenset[str]:
    """None: another comes with another enrollment."""
    return frozenset()


def differs(person: Person, password: str | None) -> bool:
    """Whether one is to be set and none is; another comes with another enrollment."""
    return password is not None and not _is_set(person.name)


def _is_set(name: str) -> bool:
    """Whether the account has a password (shadow(5)): a new root disk has forgotten it."""
    for line in SHADOW.read_text().splitlines():
        account, field, *_ = line.split(":")
        if account == name:
            return field.startswith("$")
    return False


def bind(person: Person, password: str | None, now: Now) -> str | None:
    """Set it where anything is new. PAM asks nobody of another method for theirs."""
    if password is not None and now.anew:
        run("chpasswd", stdin=f"{person.name}:{password}\n")
    return None


def forget(name: str) -> None:
    """Nothing of this person's opens anything any more."""
    run("usermod", "--password", "*", name)
