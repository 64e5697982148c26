"""What became of people's codes, as the status line has it."""

import time
from typing import Any

from guest.methods import factors
from guest.totp import codes


def of_codes(name: str, method: str) -> dict[str, Any]:
    """What became of a person's codes; where that cannot be read, nobody of that name gets in.

    Who logs in by a method without codes has none.
    """
    none: dict[str, Any] = {
        "frozen": False,
        "wrong_codes": 0,
        "emergency_codes_left": None,
        "codes_void": False,
        "authenticators": [],
        "last_authenticator": None,
    }
    if "totp" not in factors(method):
        return none
    unknown = none | {"frozen": True, "emergency_codes_left": 0, "codes_void": True}
    try:
        issued = codes.issued(name)
        slate = codes.slate(name, issued) if issued else None
    except codes.CodesError:
        return unknown
    if issued is None or slate is None:
        return unknown
    return {
        "frozen": slate["frozen"],
        "wrong_codes": len(codes.wrong_today(slate, time.time())),
        "emergency_codes_left": codes.emergency_left(issued, slate),
        "codes_void": slate["void"],
        "authenticators": codes.authenticators(issued),
        "last_authenticator": slate.get("device"),
    }
