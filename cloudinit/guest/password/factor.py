"""Passwords: their roster entry, and the account's own (chpasswd(8))."""

import re
from typing import Any

from guest.factors import Now, Person
from guest.reading import text
from guest.system import run

FIELDS = ("password",)
PASSWORD = re.compile(r"[!-9;-~]{12,128}")


def read(entry: dict[str, Any], name: str) -> str:
    """The password of the entry of `name`. Raises GuestError."""
    return text(entry.get("password"), PASSWORD, f"the password of {name}")


def differs(_person: Person, _password: str | None) -> bool:
    """Never by itself: it comes with an enrollment, which is another then."""
    return False


def bind(person: Person, password: str | None, now: Now) -> str | None:
    """Set it where anything is new. PAM asks nobody of another method for theirs."""
    if password is not None and now.anew:
        run("chpasswd", stdin=f"{person.name}:{password}\n")
    return None


def forget(name: str) -> None:
    """Nothing of this person's opens anything any more."""
    run("usermod", "--password", "*", name)
