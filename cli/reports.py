"""What a machine says of itself, and what is wrong with it: the same on every target."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, FiniteFloat, ValidationError

from cli.engine import Machine
from cli.project import Stack, command, pulumi
from cli.targets import target_of
from cloudinit.guest.alerts.faults import ENDS_SOON, FULL
from infra.model.problems import Problem
from infra.model.text import brief, shell_word

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudinit.facets import Target

CODES_BEAR = 20.0
"""Seconds that a machine's clock may be off: beyond that it looks at no code of an app."""

SHUT = "shut"
BANNED = "ADDRESS"

# Of the words of cloudinit/guest/status/line.py, and of workspace/fetch-image.
_SYSTEM_FULL, _STATE_FULL = "the system disk is full", "the state volume is full"
_COMING, _FAILED = "none: its image is being fetched", " cannot be fetched: "


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


class Alerts(_Said):
    """What the lab's webhook was told."""

    error: Word | None
    """Why the last message did not arrive."""


class Closing(_Said):
    """From when on nobody is on a machine."""

    at: Word
    closed: bool
    """Whether that is so by now."""


class Audit(_Said):
    """How the record of who did what stands."""

    seq: int
    """Its last record's number."""
    hash: Word
    sent: int | None = None
    """How many are off the machine, where it sends them by itself."""
    lost: int = 0
    """What could not be recorded since the machine started."""
    error: Word | None = None


class GuestStatus(_Said):
    """What `secondlock-status` says on the machine, once a minute."""

    time: Word
    serial: int | None
    error: Word | None
    bundle: Bundle | None = None
    clock: Clock
    door: Word | None = None
    """`open` where sshd listens, else `shut`; None on a machine that does not say so yet."""
    web: Word | None = None
    """The same of HTTPS; None also where nobody comes by it."""
    certificate_days: int | None = None
    """Until its certificate for browsers ends."""
    bans: tuple[Word, ...]
    disks: dict[Word, FiniteFloat] = {}
    """The used part of each, 0 to 1: `system`, `state` and `homes`."""
    alerts: Alerts | None = None
    """None where the stack has no webhook."""
    closes: Closing | None = None
    """None for a machine that stays open."""
    audit: Audit | None = None
    gpu: Gpu | None = None
    researchers: dict[Word, Researcher]


@dataclass(frozen=True)
class Mends:
    """What mends, on one target, what a machine says is wrong with it."""

    up: str
    roster: str
    clock: str
    gpu: str
    door: str
    web: str
    certificate: str
    docker: str
    ban: str
    """With `BANNED` in the place of the address."""
    everybody: str | None = None
    """The one address at which the machine sees every client, where there is such."""


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
    return [
        *_set_up(name, machine, guest, mends),
        *_door(name, guest, mends),
        *_clock(name, guest.clock, mends),
        *_disks(name, guest),
        *_alerts(stack, name, guest),
        *_closing(name, guest),
        *_workspaces(name, guest, mends),
        *_people(stack, name, guest),
        *_audit(stack, name, guest, mends),
    ]


def _set_up(name: str, machine: Machine, guest: GuestStatus, mends: Mends) -> Iterator[Problem]:
    """Roster and bundle."""
    behind = None
    if _is_behind(guest.serial, machine):
        has = "none" if guest.serial is None else str(guest.serial)
        behind = f"has roster {has}, not {machine.serial}"
    if guest.error:
        what = f"{name}: {guest.error}" + (f"; it {behind}" if behind else "")
        yield Problem(None, None, what, _mend_of(guest.error, mends))
    elif behind:
        yield Problem(None, None, f"{name} {behind}", mends.roster)
    if guest.bundle and guest.bundle.error:
        what = f"{name} was not upgraded: {guest.bundle.error}"
        yield Problem(None, None, what, mends.roster)
    elif guest.bundle and guest.bundle.version != newest(machine.target):
        what = f"{name} runs another version of what is ours on machines than this clone has"
        yield Problem(None, None, what, mends.up, "note")


def _mend_of(error: str, mends: Mends) -> str:
    """What mends a fault that the machine tells; never in its own words: people type it."""
    if error.startswith(_SYSTEM_FULL):
        return _rebuilt(mends)
    if error.startswith(_STATE_FULL):
        return "make room in /var/lib/secondlock there, and report it: only Secondlock writes there"
    return mends.roster


def _door(name: str, guest: GuestStatus, mends: Mends) -> Iterator[Problem]:
    """What keeps people out before anything is asked of them."""
    if guest.door == SHUT and guest.serial:  # without a roster it has to be
        yield Problem(None, None, f"{name}'s sshd does not run: nobody gets in", mends.door)
    if guest.web == SHUT:
        what = f"{name}'s nginx does not run: nobody gets in by a browser"
        yield Problem(None, None, what, mends.web)
    if guest.certificate_days is not None and guest.certificate_days < ENDS_SOON:
        ends, over = f"ends in {guest.certificate_days} days", guest.certificate_days < 0
        what = f"{name}'s certificate for browsers {'has ended' if over else ends}"
        yield Problem(None, None, what, mends.certificate, "stop" if over else "note")
    for address in dict.fromkeys(guest.bans):  # there are two kinds of bans
        mend = mends.ban.replace(BANNED, shell_word(address))
        if address == mends.everybody:
            what = f"{name} has banned {address}, which is everybody on this computer"
            yield Problem(None, None, f"{what}: no new login gets in", mend)
        else:
            what = f"{name} has banned {address}: no new login from there gets in"
            yield Problem(None, None, what, mend, "note")


def _disks(name: str, guest: GuestStatus) -> Iterator[Problem]:
    for place, used in guest.disks.items():
        if used >= FULL:
            what = f"{name}'s disk `{place}` is full to {used:.0%}"
            yield Problem(None, None, what, None, "note")


def _closing(name: str, guest: GuestStatus) -> Iterator[Problem]:
    if guest.closes:
        what = "is closed since" if guest.closes.closed else "closes at"
        mend = "`closed_from` says so; without it people come in again"
        yield Problem(None, None, f"{name} {what} {guest.closes.at}", mend, "note")


def _alerts(stack: Stack, name: str, guest: GuestStatus) -> Iterator[Problem]:
    if guest.alerts and guest.alerts.error:
        what = f"{name} cannot tell anybody what is wrong there: {guest.alerts.error}"
        set_it = "config", "set", "--secret", "secondlock:alertWebhook"
        yield Problem(None, None, what, pulumi(*set_it, stack=stack), "note")


def _clock(name: str, clock: Clock, mends: Mends) -> Iterator[Problem]:
    offset = clock.offset_seconds
    if offset is None:
        what = f"how far {name}'s clock is off is not known"
        if clock.synchronised:
            yield Problem(None, None, what, mends.clock, "note")
        else:
            what = f"{what}, and nothing sets it: codes may be refused, emergency codes work"
            yield Problem(None, None, what, mends.clock)
    elif abs(offset) > CODES_BEAR:
        far = f"{abs(offset):.0f} s {'behind' if offset > 0 else 'ahead'}"
        what = f"{name}'s clock is {far}: codes are refused, emergency codes work"
        yield Problem(None, None, what, mends.clock)


def _workspaces(name: str, guest: GuestStatus, mends: Mends) -> Iterator[Problem]:
    """What keeps people from entering theirs, each once for all of them."""
    if guest.gpu is not None and not guest.gpu.listed:
        lacks = "its driver is not loaded" if guest.gpu.driver is None else "Docker has no list"
        what = f"{name}'s GPU cannot be used, logins are let in without it: {lacks}"
        yield Problem(None, None, what, mends.gpu)
    for state in sorted({one.workspace for one in guest.researchers.values()}):
        if state == "unknown":
            what = f"Docker does not answer on {name}: who has no workspace there cannot enter"
            yield Problem(None, None, what, mends.docker)
        elif state.startswith("none: ") and not state.startswith(_COMING):
            what = f"no workspace can be made on {name}: {state.removeprefix('none: ')}"
            again = "it is tried again every minute: look at `tensorflow_image`, and at the network"
            anew = f"raise `rebuild` in the request, then {mends.up}"
            yield Problem(None, None, what, again if _FAILED in state else anew)


def _audit(stack: Stack, name: str, guest: GuestStatus, mends: Mends) -> Iterator[Problem]:
    """What of people's doings is not recorded. Nobody is shut out for that."""
    if guest.audit is None:  # a machine with programs of before
        return
    if guest.audit.error:
        yield Problem(None, None, f"{name}: {guest.audit.error}", _rebuilt(mends), "note")
    if guest.audit.lost:
        what = f"{name} lost {guest.audit.lost} records of who did what since it started"
        look = command("audit", "--kind", "alert", stack=stack)
        yield Problem(None, None, what, look, "note")


def _rebuilt(mends: Mends) -> str:
    return f"raise `rebuild` in the request, which keeps homes, then {mends.up}"


def _people(stack: Stack, name: str, guest: GuestStatus) -> Iterator[Problem]:
    """Who is shut out alone."""
    for researcher, one in guest.researchers.items():
        if one.frozen:
            what = f"{researcher} is frozen after too many wrong codes: the key may be stolen"
            mend = (
                f"replace the key in the request, then {command('rotate', researcher, stack=stack)}"
            )
            yield Problem(None, None, what, mend)
        elif one.codes_void:
            what = (
                f"{researcher}'s emergency codes are void: {name} no longer knows which were used"
            )
            yield Problem(None, None, what, command("codes", researcher, stack=stack))


def newest(target: str) -> str:
    """The SHA-256 of the bundle that this clone makes for machines of the target."""
    from cloudinit.bundle import bundle  # takes a while

    return bundle(cast("Target", target)).digest


def _is_behind(applied: int | None, machine: Machine) -> bool:
    return applied is None or target_of(machine.target).is_behind(applied, machine.serial)
