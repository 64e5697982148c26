"""What of a machine's status line somebody has to know."""

import datetime as dt
from typing import Any

SILENT = 300.0
"""Seconds after which a status line is of before: one comes each minute."""
CLOCK = 5.0
"""Seconds that a clock may be off; a code bears twenty."""
FULL = 0.9
"""Of a disk."""
ENDS_SOON = 30
"""Days before its end from which on the certificate for browsers is told of."""
_ENDS = (ENDS_SOON, 7, 2, 0)
ROOM = {"system": "the system", "state": "what it remembers", "homes": "homes"}
"""What each is for (guest/volumes/room.py)."""
STALE = "status"
"""The name of the fault that hides all others."""


def found(status: dict[str, Any], now: dt.datetime) -> dict[str, str]:
    """Each fault in a sentence, by a name that stays the same for as long as it lasts.

    `status` is what `secondlock-status` wrote last.
    """
    written = dt.datetime.strptime(status["time"], "%Y-%m-%dT%H:%M:%S%z")
    if (now - written).total_seconds() > SILENT:
        return {STALE: f"it has not looked at itself since {status['time']}"}
    return {
        **_of_machine(status),
        **_of_clock(status["clock"]),
        **_of_disks(status["disks"]),
        **_of_certificate(status.get("certificate_days")),
        **_of_record(status["audit"]),
        **{f"ban {one}": f"{one} is banned for guessing" for one in status["bans"]},
        **_of_people(status["researchers"]),
    }


def _of_machine(status: dict[str, Any]) -> dict[str, str]:
    told = {}
    if error := status["error"]:
        told[f"error {error}"] = str(error)
    if error := status["bundle"]["error"]:
        told["upgrade"] = f"it was not upgraded: {error}"
    if status["door"] == "shut" and status["serial"]:
        told["door"] = "its sshd does not run: nobody gets in"
    gpu = status["gpu"]
    if gpu is not None and not gpu["listed"]:
        told["gpu"] = "its GPU cannot be used: logins are let in without it"
    return told


def _of_clock(clock: dict[str, Any]) -> dict[str, str]:
    offset = clock["offset_seconds"]
    if offset is None and not clock["synchronised"]:
        return {"clock": "how far its clock is off is not known, and nothing sets it"}
    if offset is not None and abs(offset) > CLOCK:
        return {"clock": f"its clock is off by {abs(offset):.0f} s: codes may be refused"}
    return {}


def _of_record(audit: dict[str, Any] | None) -> dict[str, str]:
    """Of who did what. What was lost is told each time that more is."""
    told = {}
    if audit and audit["lost"]:
        told[f"lost {audit['lost']}"] = f"{audit['lost']} records of who did what were lost"
    if audit and audit["error"]:
        told["audit"] = str(audit["error"])
    return told


def _of_disks(disks: dict[str, float]) -> dict[str, str]:
    return {
        f"disk {name}": f"its disk for {ROOM[name]} is full to {used:.0%}"
        for name, used in disks.items()
        if used >= FULL
    }


def _of_certificate(days: int | None) -> dict[str, str]:
    """Told a month before it ends, a week, two days, and when it has."""
    told = {}
    for near in _ENDS:
        if days is not None and days < near:
            when = f"ends within {near} days" if near else "has ended: no browser takes it"
            told[f"certificate {near}"] = f"its certificate for browsers {when}"
    return told


def _of_people(people: dict[str, dict[str, Any]]) -> dict[str, str]:
    told = {}
    for name, one in people.items():
        if one["frozen"]:
            what = f"{name} is frozen after too many wrong codes: the key may be stolen"
            told[f"frozen {name}"] = what
        if one.get("codes_void"):
            told[f"void {name}"] = f"{name}'s emergency codes are void: which were used is lost"
    return told
