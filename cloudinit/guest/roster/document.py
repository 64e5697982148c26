"""The roster as it arrives: checked whole before anything on the machine changes."""

import base64
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
    r"(?:(?:sk-)?ssh-ed25519(?:@openssh\.com)?|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)"
    r"|sk-ecdsa-sha2-nistp256@openssh\.com) [A-Za-z0-9+/]+={0,2}"
    r"(?: [^\x00-\x1f\x7f\ud800-\udfff]*)?"
)
HOST_KEY = re.compile(
    r"-----BEGIN OPENSSH PRIVATE KEY-----\n[A-Za-z0-9+/=\n]+\n-----END OPENSSH PRIVATE KEY-----\n"
)
NETWORK = re.compile(r"[0-9a-f.:]+/[0-9]{1,3}")
PLACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
PASSWORD = re.compile(r"[!-9;-~]{12,128}")
FACTORS = ("key+totp", "password+totp")
MAX_BYTES = 1024 * 1024  # of what arrives; a roster of a hundred people has a tenth
DEEPEST = 8  # a roster has five levels
MOST = 2**63  # no serial and no time comes near it

# The curve of RFC 8032, section 5.1: -x^2 + y^2 = 1 + D x^2 y^2 modulo P.
P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


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
    first: a parameter that was made anew begins at serial 1 again. `known` are enrollments that
    earlier rosters of this machine carried, or None where all of this one's may have been.
    """

    serial: int
    modified: float
    new_volumes: bool
    known: frozenset[str] | None
    stack: str
    machine: str
    host_key: str = field(repr=False)
    allowed_from: tuple[str, ...]
    retired: frozenset[str]
    researchers: dict[str, Researcher]

    def bound_before(self, enrollment: str) -> bool:
        """Whether an earlier roster of this machine may have carried this enrollment."""
        return self.known is None or enrollment in self.known


def _need(holds: object, what: str) -> None:
    if not holds:
        raise GuestError(f"the roster is refused: {what}")


def _text(value: Any, pattern: re.Pattern[str], what: str) -> str:
    _need(isinstance(value, str) and pattern.fullmatch(value) is not None, f"{what} is malformed")
    return str(value)


def _flag(value: Any, what: str) -> bool:
    _need(isinstance(value, bool), f"{what} is malformed")
    return bool(value)


def _texts(value: Any, pattern: re.Pattern[str], what: str) -> tuple[str, ...]:
    _need(isinstance(value, list), f"{what} is not a list")
    return tuple(_text(item, pattern, what) for item in value)


def _networks(value: Any) -> tuple[str, ...]:
    """Networks in the one spelling that Python's library gives back: they go into nft's input."""
    networks = _texts(value, NETWORK, "a network of allowed_from")
    try:
        same = [str(ipaddress.ip_network(each)) for each in networks] == [*networks]
    except ValueError:
        same = False
    _need(same, "a network of allowed_from is malformed")
    return networks


def _keys(value: Any, name: str) -> tuple[str, ...]:
    what = f"an SSH key of {name}"
    keys = _texts(value, SSH_KEY, what)
    for key in keys:
        kind, body = key.split(" ", 2)[:2]
        _need(_is_key(kind, body), f"{what} is malformed or weak")
    return keys


def _is_key(kind: str, body: str) -> bool:
    """Whether the key is of its kind (RFC 4253, section 6.6) and no Ed25519 point of small order.

    Under those eight points a signature verifies that no private key made; y is then 0, 1, -1 or a
    root of D y^4 + 2 y^2 - 1. RFC 8032, section 5.1.3, takes only a y below P.
    """
    try:
        blob = base64.b64decode(body, validate=True)
    except ValueError:
        return False
    head = len(kind).to_bytes(4, "big") + kind.encode()
    if not blob.startswith(head) or len(blob) < len(head) + 36:
        return False
    if "ed25519" not in kind:
        return True
    start = len(head) + 4
    y = int.from_bytes(blob[start : start + 32], "little") & (2**255 - 1)
    return y < P and y * (y * y - 1) * (D * y**4 + 2 * y * y - 1) % P != 0


def _known(value: Any) -> frozenset[str] | None:
    return None if value is None else frozenset(_texts(value, ENROLLMENT, "a known enrollment"))


def _researcher(name: Any, entry: Any) -> Researcher:
    name = _text(name, NAME, "a researcher's name")
    _need(isinstance(entry, dict), f"the entry of {name} is not a mapping")
    factors = entry.get("factors")
    _need(factors in FACTORS, f"the factors of {name} are unknown")
    keys = _keys(entry.get("ssh_keys"), name)
    codes = _texts(entry.get("emergency_codes"), EMERGENCY_CODE, f"an emergency code of {name}")
    _need(len(set(codes)) == len(codes) == 5, f"{name} has not five emergency codes")
    password = None
    if factors == "password+totp":
        password = _text(entry.get("password"), PASSWORD, f"the password of {name}")
    else:
        _need(bool(keys), f"{name} has no SSH key")
        _need(entry.get("password") is None, f"{name} has a password that is not asked for")
    return Researcher(
        name=name,
        ssh_keys=keys,
        factors=factors,
        enrollment=_text(entry.get("enrollment"), ENROLLMENT, f"the enrollment of {name}"),
        totp_secret=_text(entry.get("totp_secret"), BASE32, f"the code's secret of {name}"),
        emergency_codes=codes,
        password=password,
        end_sessions=_flag(entry.get("end_sessions", False), f"end_sessions of {name}"),
    )


def _is_number(value: Any, kinds: tuple[type, ...]) -> bool:
    """Whether it is a number of these types: to Python a boolean is one too."""
    return type(value) in kinds and 0 <= value < MOST  # false for NaN


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    _need(len(fields) == len(pairs), "it names a field twice")
    return fields


def _no_number(_: str) -> None:
    raise ValueError


def _read(text: str | bytes) -> Any:
    """The JSON value, whatever it is. Raises GuestError for what others read otherwise (RFC 8259).

    That is a field named twice, NaN, Infinity, and what is too large or too deep to be one.
    """
    _need(len(text) <= MAX_BYTES, "it is too large")
    try:
        if isinstance(text, bytes):
            text = text.decode()
        _need(bool(text.strip()), "it is empty")
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
        _need(_depth(value) <= DEEPEST, "it is nested too deeply")
    except (ValueError, RecursionError):
        raise GuestError("the roster is refused: it is not JSON, or only a part of it") from None
    return value


def parse(text: str | bytes) -> Roster:
    """Read `{"serial": N, "modified": T, "new_volumes": bool, "roster": {...}}`.

    Raises GuestError, which names the fault and never quotes a value. Fields that it does not know
    are passed over: an older machine takes what a newer program writes.
    """
    envelope = _read(text)
    _need(isinstance(envelope, dict), "it is not a mapping")
    serial, roster = envelope.get("serial"), envelope.get("roster")
    _need(_is_number(serial, (int,)) and serial > 0, "no serial")
    _need(isinstance(roster, dict), "it is not a mapping")
    version = roster.get("version")
    _need(_is_number(version, (int,)) and version == 1, "its version is not 1")
    _need(isinstance(roster.get("researchers"), dict), "it names no researchers")
    host_key = roster.get("host_key")
    _need(isinstance(host_key, str) and HOST_KEY.fullmatch(host_key), "it holds no host key")
    researchers = {name: _researcher(name, entry) for name, entry in roster["researchers"].items()}
    enrollments = [researcher.enrollment for researcher in researchers.values()]
    _need(len(set(enrollments)) == len(enrollments), "two researchers share an enrollment")
    modified = envelope.get("modified", 0)
    _need(_is_number(modified, (int, float)), "its time is malformed")
    return Roster(
        serial=serial,
        modified=modified,
        new_volumes=_flag(envelope.get("new_volumes", False), "new_volumes"),
        known=_known(envelope.get("known", [])),
        stack=_text(roster.get("stack"), PLACE, "its stack"),
        machine=_text(roster.get("machine"), PLACE, "its machine"),
        host_key=host_key,
        allowed_from=_networks(roster.get("allowed_from")),
        retired=frozenset(_texts(roster.get("retired"), ENROLLMENT, "a retired enrollment")),
        researchers=researchers,
    )
