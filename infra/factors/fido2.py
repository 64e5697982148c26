"""A security key (FIDO2), with touch and PIN: the key alone is two factors, and no phone is asked.

What the machine's sshd demands of it is in cloudinit/guest/fido2/.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from infra.factors import Issued, Streams, Who

REQUEST: dict[str, Any] = {
    "required": ["ssh_keys"],
    "properties": {"ssh_keys": {"minItems": 1, "items": {"pattern": "^sk-"}}},
}
FIELDS: tuple[str, ...] = ()

MAKE = "ssh-keygen -t ed25519-sk -O resident -O verify-required"
"""The command that makes a key on a token which asks for touch and PIN."""

_WINDOWS = "In Windows (10 or later): the same in PowerShell, where Windows Hello asks for the PIN."
_MACOS = "In macOS: `brew install openssh` first; Apple's own ssh knows no security keys."


class SHOWN(BaseModel):
    """Nothing: the researcher has it already."""


def fault(field: str, value: Any) -> tuple[str, str] | None:
    """A login takes one of the request's keys, and each is to be on a token."""
    if field != "ssh_keys":
        return None
    if not value:
        return "no SSH key: nobody could log in", f"make one: {MAKE}"
    if all(str(key).strip().startswith("sk-") for key in value):
        return None
    return "an SSH key that is on no security key", f"make one that is: {MAKE}"


def issue(_streams: Streams, _who: Who) -> Issued:
    """Nothing: the request has the keys."""
    return Issued()


def ids(_entry: Mapping[str, Any]) -> set[str]:
    """None: all of it is the enrollment's."""
    return set()


def scanned(_shown: SHOWN) -> dict[str, str]:
    """Nothing."""
    return {}


def steps(_shown: SHOWN, *, in_words: bool) -> list[str]:  # noqa: ARG001 (the contract's)
    """To use it; and to make one, for who reads this before."""
    use = "Plug your security key in: ssh asks for its PIN, and then to touch it."
    return [f"{use}\n   Such a key is made by: {MAKE}\n   {_WINDOWS}\n   {_MACOS}"]
