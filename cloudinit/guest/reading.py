"""What others wrote, read strictly: each value is what it has to be, or the roster is refused."""

import ipaddress
import re
from typing import Any

from guest.system import GuestError

MOST = 2**63  # no serial and no time comes near it


def need(holds: object, what: str) -> None:
    """Raise GuestError where it does not hold. `what` never quotes a value."""
    if not holds:
        raise GuestError(f"the roster is refused: {what}")


def text(value: Any, pattern: re.Pattern[str], what: str) -> str:
    """A text that the pattern fits from end to end."""
    need(isinstance(value, str) and pattern.fullmatch(value) is not None, f"{what} is malformed")
    return str(value)


def texts(value: Any, pattern: re.Pattern[str], what: str) -> tuple[str, ...]:
    """A list of such texts."""
    need(isinstance(value, list), f"{what} is not a list")
    return tuple(text(item, pattern, what) for item in value)


NETWORK = re.compile(r"[0-9a-f.:]+/[0-9]{1,3}")


def networks(value: Any, what: str) -> tuple[str, ...]:
    """Networks in the one spelling that Python's library gives back: they go into nft's input."""
    found = texts(value, NETWORK, f"a network of {what}")
    try:
        same = [str(ipaddress.ip_network(each)) for each in found] == [*found]
    except ValueError:
        same = False
    need(same, f"a network of {what} is malformed")
    return found


def flag(value: Any, what: str) -> bool:
    """True or false, and nothing that Python only takes for one of them."""
    need(isinstance(value, bool), f"{what} is malformed")
    return bool(value)


def is_number(value: Any, kinds: tuple[type, ...]) -> bool:
    """Whether it is a number of these types: to Python a boolean is one too."""
    return type(value) in kinds and 0 <= value < MOST  # false for NaN
