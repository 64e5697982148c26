"""What a machine says of itself, and what is wrong with it: the same on every target."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, FiniteFloat, ValidationError

from cli.engine import Machine
from cli.project import Stack, command, pulumi
from cli.targets import target_of
from infra.model.problems import Problem
from infra.model.text import brief

if TYPE_CHECKING:
    from cloudinit.facets import Target

CODES_BEAR = 20.0
"""Seconds that a machine's clock may be off: beyond that it looks at no code of an app."""


def _seen(text: str) -> str:
    return brief(text, 1000)


Word = Annotated[str, AfterValidator(_seen)]
"""A machine's own words, which could hold control characters or be endless."""


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True)


class Clock(_Said):
    """How the guest's clock stands to its reference: positive seconds, and it is behind."""

    synchronised: bool
    offset_seconds: FiniteFloat | None
    source: Word | None = None


class Researcher(_Said):
    """One researcher as the machine sees them."""

    factors: Word
    frozen: bool
    wrong_codes: int
    emergency_codes_left: int | None
    """None for who logs in without codes."""
    codes_void: bool = False
    """Whether the machine lost its memory of which emergency codes were used: it takes none."""
    authenticators: tuple[Word, ...] = ()
    """What shows their codes."""
    last_authenticator: Word | None = None
    """What of it opened the last login that a code opened."""
    remembered_until: Word | None = None
    """When the last certificate ends that stands for their code."""
    sessions: int
    last_login: Word | None
    workspace: Word
    gpu: bool = False
    """Whether the workspace has the machine's GPUs."""


class Gpu(_Said):
    """The machine's GPUs."""

    count: int
    models: tuple[Word, ...]
    driver: Word | None
    listed: bool
    """Whether workspaces can have them."""


class Bundle(_Said):
    """What of ours runs on the machine."""

    version: Word | None
    """Its SHA-256; None on a machine that was made before there were upgrades."""
    error: Word | None = None
    """Why the last upgrade did not happen."""
    next_boot: tuple[Word, ...] = ()
    """Files of it that count from the next boot on."""


class GuestStatus(_Said):
    """What `secondlock-status` says on the machine, once a minute."""

    time: Word
    serial: int | None
    error: Word | None
    bundle: Bundle | None = None
    clock: Clock
    bans: tuple[Word, ...]
    gpu: Gpu | None = None
    researchers: dict[Word, Researcher]


@dataclass(frozen=True)
class Mends:
    """What mends, on one target, what a machine says is wrong with it."""

    roster: str
    clock: str
    gpu: str


@dataclass(frozen=True)
class Report:
    """One machine: what the stack says of it, what it says itself, and what is wrong."""

    name: str
    machine: Machine
    state: str
    """`running` when it answers; else what it does instead, such as `down` or `stopped`."""
    guest: GuestStatus | None
    problems: list[Problem] = field(default_factory=list)
    said_seconds_ago: float | None = None
    """How old `guest` is; None where the machine was asked just now."""
    instance: dict[str, Any] | None = None
    """Of an EC2 instance: its own id, state, type and zone."""


def read_status(said: str | bytes) -> GuestStatus:
    """A status line. Raises ValueError that names what is wrong in it, never its text."""
    try:
        return GuestStatus.model_validate_json(said)
    except ValidationError as error:
        places = [".".join(map(str, fault["loc"])) or "not JSON" for fault in error.errors()]
        raise ValueError(brief(", ".join(places), 200)) from None


def guest_problems(
    stack: Stack, name: str, machine: Machine, guest: GuestStatus, mends: Mends
) -> list[Problem]:
    """What the machine itself shows to be wrong."""
    found = []
    if guest.error:
        found.append(Problem(None, None, f"{name}: {guest.error}", mends.roster))
    if guest.bundle and guest.bundle.error:
        what = f"{name} was not upgraded: {guest.bundle.error}"
        found.append(Problem(None, None, what, mends.roster))
    elif guest.bundle and guest.bundle.version != newest(machine.target):
        what = f"{name} runs another version of what is ours on machines than this clone has"
        found.append(Problem(None, None, what, pulumi("up", stack=stack), "note"))
    if _is_behind(guest.serial, machine):
        has = "none" if guest.serial is None else str(guest.serial)
        found.append(
            Problem(None, None, f"{name} has roster {has}, not {machine.serial}", mends.roster)
        )
    offset = guest.clock.offset_seconds
    if offset is not None and abs(offset) > CODES_BEAR:
        found.append(Problem(None, None, clock_fault(name, offset), mends.clock))
    if guest.gpu is not None and not guest.gpu.listed:
        lacks = "its driver is not loaded" if guest.gpu.driver is None else "Docker has no list"
        what = f"{name}'s GPU cannot be used, logins are let in without it: {lacks}"
        found.append(Problem(None, None, what, mends.gpu))
    for researcher, one in guest.researchers.items():
        if one.frozen:
            what = f"{researcher} is frozen after too many wrong codes: the key may be stolen"
            mend = (
                f"replace the key in the request, then {command('rotate', researcher, stack=stack)}"
            )
            found.append(Problem(None, None, what, mend))
        elif one.codes_void:
            what = (
                f"{researcher}'s emergency codes are void: {name} no longer knows which were used"
            )
            found.append(Problem(None, None, what, command("codes", researcher, stack=stack)))
    return found


def newest(target: str) -> str:
    """The SHA-256 of the bundle that this clone makes for machines of the target."""
    from cloudinit.bundle import bundle  # takes a while

    return bundle(cast("Target", target)).digest


def clock_fault(name: str, offset: float) -> str:
    """That a machine's clock is too far off for codes."""
    way = "behind" if offset > 0 else "ahead"
    return f"{name}'s clock is {abs(offset):.0f} s {way}: codes are refused, emergency codes work"


def _is_behind(applied: int | None, machine: Machine) -> bool:
    return applied is None or target_of(machine.target).is_behind(applied, machine.serial)
