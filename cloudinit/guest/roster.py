"""The roster as it arrives: checked whole before anything on the machine changes."""

import ipaddress
import json
import re
from dataclasses import dataclass, field
from typing import Any

from guest.system import GuestError

NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
ENROLLMENT = re.compile(r"[0-9a-f]{32}")
BASE32 = re.compile(r"[A-Z2-7]{32}")
EMERGENCY_CODE = re.compile(r"[1-9][0-9]{7}")
SSH_KEY = re.compile(
    r"(ssh|sk-ssh|ecdsa-sha2|sk-ecdsa-sha2)-[a-z0-9@.-]+ [A-Za-z0-9+/=]+( [^\n\r]*)?"
)
PASSWORD = re.compile(r"[!-9;-~]{12,128}")
FACTORS = ("key+totp", "password+totp")


@dataclass(frozen=True)
class Researcher:
    """One entry of a roster."""

    name: str
    ssh_keys: tuple[str, ...]
    factors: str
    enrollment: str
    totp_secret: str = field(repr=False)
    emergency_codes: tuple[str, ...] = field(repr=False)
    password: str | None = field(repr=False)
    end_sessions: bool


@dataclass(frozen=True)
class Roster:
    """Who may enter this machine, with what; `serial` only grows.

    Where it comes from AWS, `modified` is AWS's own time for it (seconds since 1970) and counts
    first: a parameter that was made anew begins at serial 1 again.
    """

    serial: int
    modified: float
    new_volumes: bool
    stack: str
    machine: str
    host_key: str = field(repr=False)
    allowed_from: tuple[str, ...]
    retired: frozenset[str]
    researchers: dict[str, Researcher]


def _need(holds: bool, what: str) -> None:
    if not holds:
        raise GuestError(f"the roster is refused: {what}")


def _text(value: Any, pattern: re.Pattern[str], what: str) -> str:
    _need(isinstance(value, str) and pattern.fullmatch(value) is not None, f"{what} is malformed")
    return str(value)


def _texts(value: Any, pattern: re.Pattern[str], what: str) -> tuple[str, ...]:
    _need(isinstance(value, list), f"{what} is not a list")
    return tuple(_text(item, pattern, what) for item in value)


def _networks(value: Any) -> tuple[str, ...]:
    _need(isinstance(value, list), "allowed_from is not a list")
    try:
        return tuple(str(ipaddress.ip_network(item)) for item in value)
    except (ValueError, TypeError):
        raise GuestError("the roster is refused: allowed_from is malformed") from None


def _researcher(name: Any, entry: Any) -> Researcher:
    name = _text(name, NAME, "a researcher's name")
    _need(isinstance(entry, dict), f"the entry of {name} is not a mapping")
    factors = entry.get("factors")
    _need(factors in FACTORS, f"the factors of {name} are unknown")
    keys = _texts(entry.get("ssh_keys"), SSH_KEY, f"an SSH key of {name}")
    codes = _texts(entry.get("emergency_codes"), EMERGENCY_CODE, f"an emergency code of {name}")
    _need(len(set(codes)) == len(codes) == 5, f"{name} has not five emergency codes")
    password = None
    if factors == "password+totp":
        password = _text(entry.get("password"), PASSWORD, f"the password of {name}")
    else:
        _need(bool(keys), f"{name} has no SSH key")
    return Researcher(
        name=name,
        ssh_keys=keys,
        factors=factors,
        enrollment=_text(entry.get("enrollment"), ENROLLMENT, f"the enrollment of {name}"),
        totp_secret=_text(entry.get("totp_secret"), BASE32, f"the code's secret of {name}"),
        emergency_codes=codes,
        password=password,
        end_sessions=entry.get("end_sessions") is True,
    )


def parse(text: str) -> Roster:
    """Read `{"serial": N, "modified": T, "new_volumes": bool, "roster": {...}}`.

    Raises GuestError, which names the fault and never quotes a value.
    """
    _need(bool(text.strip()), "it is empty")
    try:
        envelope = json.loads(text)
    except ValueError:
        raise GuestError("the roster is refused: it is not JSON, or only a part of it") from None
    _need(isinstance(envelope, dict), "it is not a mapping")
    serial, roster = envelope.get("serial"), envelope.get("roster")
    _need(isinstance(serial, int) and not isinstance(serial, bool) and serial > 0, "no serial")
    _need(isinstance(roster, dict) and roster.get("version") == 1, "its version is not 1")
    _need(isinstance(roster.get("researchers"), dict), "it names no researchers")
    host_key = roster.get("host_key")
    _need(
        isinstance(host_key, str) and host_key.startswith("-----BEGIN OPENSSH PRIVATE KEY-----\n"),
        "it holds no host key",
    )
    researchers = {name: _researcher(name, entry) for name, entry in roster["researchers"].items()}
    enrollments = [researcher.enrollment for researcher in researchers.values()]
    _need(len(set(enrollments)) == len(enrollments), "two researchers share an enrollment")
    modified = envelope.get("modified", 0)
    _need(isinstance(modified, (int, float)), "its time is malformed")
    return Roster(
        serial=serial,
        modified=modified,
        new_volumes=envelope.get("new_volumes") is True,
        stack=str(roster.get("stack")),
        machine=str(roster.get("machine")),
        host_key=host_key,
        allowed_from=_networks(roster.get("allowed_from")),
        retired=frozenset(_texts(roster.get("retired"), ENROLLMENT, "a retired enrollment")),
        researchers=researchers,
    )
