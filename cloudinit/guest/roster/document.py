"""The roster as it arrives: checked whole before anything on the machine changes."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from guest import factors, methods, reading
from guest.gateway import asked
from guest.gateway.asked import Access, Door
from guest.methods import METHODS
from guest.reading import flag, is_number, need, texts
from guest.system import GuestError
from guest.workspace import share
from guest.workspace.share import Share

NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
ENROLLMENT = re.compile(r"[0-9a-f]{32}")
HOST_KEY = re.compile(
    r"-----BEGIN OPENSSH PRIVATE KEY-----\n[A-Za-z0-9+/=\n]+\n-----END OPENSSH PRIVATE KEY-----\n"
)
WEBHOOK = re.compile(r"https://[!-~]{1,2000}")
PLACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
MAX_BYTES = 1024 * 1024  # of what arrives; a roster of a hundred people has a tenth
DEEPEST = 8  # a roster has five levels


@dataclass(frozen=True)
class Researcher:
    """One entry of a roster."""

    name: str
    method: str
    """One of METHODS."""
    enrollment: str
    end_sessions: bool
    parts: dict[str, Any] = field(repr=False)
    """What each of the method's factors read, by its name."""
    remember_hours: int = 0
    """For how long a code may stand for the next ones; 0: not at all."""
    networks: tuple[str, ...] = ()
    """From where, then."""
    share: Share | None = None
    """What they may take of a machine that others share; None: all of it."""
    access: Access = field(default_factory=Access, repr=False)

    @property
    def ids(self) -> frozenset[str]:
        """Of all that was issued to them: the enrollment's, and of what has one of its own."""
        of_parts = (factors.load(name).ids(part) for name, part in self.parts.items())
        return frozenset({self.enrollment}).union(*of_parts)


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
    homes: dict[str, str]
    """What becomes of the homes of some who have left: `archive` or `delete`."""
    webhook: str | None = field(repr=False, default=None)
    """Where to post what is wrong with the machine. Secret."""
    closes: int | None = None
    """From when on nobody is on the machine (seconds since 1970); None: it stays open."""
    door: Door | None = None
    """The HTTPS door; None: nobody has it."""
    web_port: int | None = None
    """That of the host's which leads to it, where it is another."""

    def bound_before(self, issued: str) -> bool:
        """Whether an earlier roster of this machine may have carried this id."""
        return self.known is None or issued in self.known


def _networks(value: Any) -> tuple[str, ...]:
    return reading.networks(value, "allowed_from")


def _known(value: Any) -> frozenset[str] | None:
    return None if value is None else frozenset(texts(value, ENROLLMENT, "a known enrollment"))


def _researcher(name: Any, entry: Any) -> Researcher:
    name = reading.text(name, NAME, "a researcher's name")
    need(isinstance(entry, dict), f"the entry of {name} is not a mapping")
    method = entry.get("factors")
    need(method in METHODS, f"the factors of {name} are unknown")
    taken = methods.factors(method)
    for factor, module in factors.every().items():
        unasked = factor not in taken and any(entry.get(each) is not None for each in module.FIELDS)
        need(not unasked, f"{name} has a {factor} that is not asked for")
    access = asked.read_access(entry, name)
    need(not access.web or "totp" in taken, f"{name} has web and no codes")
    hours, networks = _remember(entry.get("remember"), name)
    need(access.ssh or not hours, f"{name} is remembered and has no SSH")
    # Without SSH nothing of its factors lets anybody in but the code, which both ask for.
    bound = taken if access.ssh else tuple(each for each in taken if each == "totp")
    return Researcher(
        name=name,
        method=method,
        enrollment=reading.text(entry.get("enrollment"), ENROLLMENT, f"the enrollment of {name}"),
        end_sessions=flag(entry.get("end_sessions", False), f"end_sessions of {name}"),
        parts={factor: factors.load(factor).read(entry, name) for factor in bound},
        remember_hours=hours,
        networks=networks,
        share=share.read(entry.get("share"), name),
        access=access,
    )


def _door(value: Any, researchers: Collection[Researcher]) -> Door | None:
    """Who has it needs a machine that has it, and the other way round."""
    door = asked.read_door(value)
    has = any(each.access.web for each in researchers)
    need(
        has == (door is not None), "some have web and the machine has none, or the other way round"
    )
    return door


def _web_port(value: Any) -> int | None:
    need(value is None or (is_number(value, (int,)) and 0 < value < 65536), "the web's port")
    return None if value is None else int(value)


def _homes(value: Any, researchers: Collection[str]) -> dict[str, str]:
    need(isinstance(value, dict), "what becomes of homes is not a mapping")
    for name, word in value.items():
        reading.text(name, NAME, "a leaver's name")
        need(word in ("archive", "delete"), "what becomes of a home is malformed")
        need(name not in researchers, "the home of one who stays would go")
    return dict(value)


def _webhook(value: Any) -> str | None:
    return None if value is None else reading.text(value, WEBHOOK, "the webhook")


def _closes(value: Any) -> int | None:
    need(value is None or (is_number(value, (int,)) and value < 2**33), "its closing is malformed")
    return None if value is None else int(value)


def _check_shares(researchers: Collection[Researcher]) -> None:
    """All have one or none has: who has the whole machine would have the others' too."""
    shares = [each.share for each in researchers if each.share is not None]
    need(len(shares) in (0, len(researchers)), "some have a share of the machine, and some none")
    gpus = [gpu for each in shares for gpu in each.gpus]
    need(len(set(gpus)) == len(gpus), "two researchers share a GPU")


def _remember(value: Any, name: str) -> tuple[int, tuple[str, ...]]:
    """For how many hours, and from which networks, a code may stand for the next ones."""
    if value is None:
        return 0, ()
    need(isinstance(value, dict), f"what is remembered of {name} is not a mapping")
    hours = value.get("hours")
    need(is_number(hours, (int,)) and 0 < hours <= 12, f"the hours of {name} are malformed")
    networks = _networks(value.get("allowed_from"))
    need(bool(networks), f"{name} may be remembered from nowhere")
    return int(hours), networks


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    need(len(fields) == len(pairs), "it names a field twice")
    return fields


def _no_number(_: str) -> None:
    raise ValueError


def _read(text: str | bytes) -> Any:
    """The JSON value, whatever it is. Raises GuestError for what others read otherwise (RFC 8259).

    That is a field named twice, NaN, Infinity, and what is too large or too deep to be one.
    """
    need(len(text) <= MAX_BYTES, "it is too large")
    try:
        if isinstance(text, bytes):
            text = text.decode()
        need(bool(text.strip()), "it is empty")
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
        need(_depth(value) <= DEEPEST, "it is nested too deeply")
    except (ValueError, RecursionError):
        raise GuestError("the roster is refused: it is not JSON, or only a part of it") from None
    return value


def parse(text: str | bytes) -> Roster:
    """Read `{"serial": N, "modified": T, "new_volumes": bool, "roster": {...}}`.

    Raises GuestError, which names the fault and never quotes a value. Fields that it does not know
    are passed over: an older machine takes what a newer program writes.
    """
    envelope = _read(text)
    need(isinstance(envelope, dict), "it is not a mapping")
    serial, roster = envelope.get("serial"), envelope.get("roster")
    need(is_number(serial, (int,)) and serial > 0, "no serial")
    need(isinstance(roster, dict), "it is not a mapping")
    version = roster.get("version")
    need(is_number(version, (int,)) and version == 1, "its version is not 1")
    need(isinstance(roster.get("researchers"), dict), "it names no researchers")
    host_key = roster.get("host_key")
    need(isinstance(host_key, str) and HOST_KEY.fullmatch(host_key), "it holds no host key")
    researchers = {name: _researcher(name, entry) for name, entry in roster["researchers"].items()}
    issued = [each for researcher in researchers.values() for each in researcher.ids]
    need(len(set(issued)) == len(issued), "two researchers share an enrollment")
    _check_shares(researchers.values())
    modified = envelope.get("modified", 0)
    need(is_number(modified, (int, float)), "its time is malformed")
    return Roster(
        serial=serial,
        modified=modified,
        new_volumes=flag(envelope.get("new_volumes", False), "new_volumes"),
        known=_known(envelope.get("known", [])),
        stack=reading.text(roster.get("stack"), PLACE, "its stack"),
        machine=reading.text(roster.get("machine"), PLACE, "its machine"),
        host_key=host_key,
        allowed_from=_networks(roster.get("allowed_from")),
        retired=frozenset(texts(roster.get("retired"), ENROLLMENT, "a retired enrollment")),
        researchers=researchers,
        homes=_homes(roster.get("homes", {}), researchers),
        webhook=_webhook(roster.get("webhook")),
        closes=_closes(roster.get("closes")),
        door=_door(roster.get("web"), researchers.values()),
        web_port=_web_port(envelope.get("web_port")),
    )
