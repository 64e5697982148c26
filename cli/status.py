"""`secondlock status`: each machine as it says it is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.engine import Machine, machines
from cli.options import JsonOption, StackOption, echo_json
from cli.project import Stack, choose_stack, command, pulumi
from cli.ssh_config import alias, host_key_alias, own_key
from infra.local.agent import AgentError, GuestAgent
from infra.local.qemu import is_running

_ANSWER_WITHIN = 5.0
"""Seconds after which a machine whose guest agent says nothing counts as down."""

_STATUS_WITHIN = 30.0
"""Seconds for the status itself: an emulated machine is slow to collect it."""

_CODE_WINDOW = 30.0
"""Seconds that the clock may be off before codes are refused (one step of RFC 6238)."""

_WIDE = 200  # columns, where the output is not a terminal


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text)


Word = Annotated[str, AfterValidator(_printable)]


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True)


class Clock(_Said):
    """How the guest's clock stands to its source."""

    synchronised: bool
    offset_seconds: float | None
    source: Word | None = None


class Researcher(_Said):
    """One researcher as the machine sees them."""

    factors: Word
    frozen: bool
    wrong_codes: int
    emergency_codes_left: int
    sessions: int
    last_login: Word | None
    workspace: Word


class GuestStatus(_Said):
    """What `secondlock-status` prints on the machine."""

    time: Word
    serial: int | None
    error: Word | None
    clock: Clock
    bans: tuple[Word, ...]
    researchers: dict[str, Researcher]


@dataclass(frozen=True)
class Trouble:
    """What is wrong with a machine, and what mends it."""

    what: str
    mend: str


@dataclass(frozen=True)
class Report:
    """One machine: what the stack says of it, what it says itself, and what is wrong."""

    name: str
    machine: Machine
    guest: GuestStatus | None
    troubles: list[Trouble] = field(default_factory=list)


def status(stack: StackOption = None, as_json: JsonOption = False) -> None:
    """Show every machine: state, address, clock offset, researchers, bans, roster applied.

    Exit code 1 when a machine does not answer or something needs attention: what mends it is
    said below the table, and under `problems` in the JSON.
    """
    chosen = choose_stack(stack)
    everything = machines(chosen)
    with ThreadPoolExecutor(max_workers=16) as pool:
        reports = list(pool.map(lambda pair: _report(chosen, *pair), everything.items()))
    if as_json:
        documents = {one.name: _document(chosen, one) for one in reports}
        echo_json({"stack": chosen.name, "machines": documents})
    else:
        _print(chosen, reports)
    if any(one.troubles for one in reports):
        raise typer.Exit(1)


def _report(stack: Stack, name: str, machine: Machine) -> Report:
    try:
        guest = _ask(name, machine)
    except AgentError as error:
        mend = pulumi("up", stack=stack)
        return Report(name, machine, None, [Trouble(_printable(str(error)), mend)])
    return Report(name, machine, guest, _troubles(stack, name, machine, guest))


def _ask(name: str, machine: Machine) -> GuestStatus:
    """What the machine says of itself. Raises AgentError."""
    if machine.directory is None:
        raise AgentError(f"{name} is on target {machine.target}, where status cannot ask it")
    agent = GuestAgent(machine.directory)
    if not agent.ping(_ANSWER_WITHIN):
        if is_running(machine.directory):
            raise AgentError(f"{name} runs but does not answer; it may still be booting")
        raise AgentError(f"{name} is not running")
    code, said, _ = agent.run(["/usr/local/sbin/secondlock-status"], timeout=_STATUS_WITHIN)
    if code != 0:
        raise AgentError(f"{name} answers, but its status program ended with {code}")
    try:
        return GuestStatus.model_validate_json(said)
    except ValidationError as error:
        places = ", ".join(".".join(map(str, fault["loc"])) for fault in error.errors())
        raise AgentError(f"{name} answers, but its status cannot be read: {places}") from None


def _troubles(stack: Stack, name: str, machine: Machine, guest: GuestStatus) -> list[Trouble]:
    up = pulumi("up", stack=stack)
    found = []
    if guest.error:
        found.append(Trouble(f"{name}: {guest.error}", up))
    if guest.serial is None or guest.serial < machine.serial:
        has = "none" if guest.serial is None else str(guest.serial)
        found.append(Trouble(f"{name} has roster {has}, not {machine.serial}", up))
    offset = guest.clock.offset_seconds
    if offset is not None and abs(offset) > _CODE_WINDOW:
        what = f"{name}'s clock is {offset:+.0f} s off: codes are refused, emergency codes work"
        found.append(Trouble(what, f"correct this computer's clock, then {up}"))
    for researcher, one in guest.researchers.items():
        if one.frozen:
            what = f"{researcher} is frozen after too many wrong codes: the key may be stolen"
            mend = (
                f"replace the key in the request, then {command('rotate', researcher, stack=stack)}"
            )
            found.append(Trouble(what, mend))
    return found


def _document(stack: Stack, report: Report) -> dict[str, Any]:
    machine, guest = report.machine, report.guest
    said = None if guest is None else guest.model_dump()
    return {
        "state": "running" if guest else "down",
        "target": machine.target,
        "address": machine.address,
        "port": machine.port,
        "host_key": machine.host_key,
        "host_key_alias": host_key_alias(stack, report.name),
        "key": next(filter(None, (own_key(stack, one) for one in machine.researchers)), None),
        "ssh_hosts": {one: alias(stack, one) for one in machine.researchers},
        "roster": {"wanted": machine.serial, "applied": guest.serial if guest else None},
        "clock": said["clock"] if said else None,
        "bans": said["bans"] if said else None,
        "researchers": said["researchers"] if said else dict.fromkeys(machine.researchers),
        "time": said["time"] if said else None,
        "problems": [{"what": one.what, "mend": one.mend} for one in report.troubles],
    }


def _print(stack: Stack, reports: list[Report]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDE
    table = Table(title=f"Stack {stack.name}", title_justify="left", show_lines=True)
    for heading in ("Machine", "State", "Address", "Clock", "Roster", "Researchers", "Bans"):
        table.add_column(heading, overflow="fold")
    for report in reports:
        table.add_row(*_row(report))
    console.print(table)
    for report in reports:
        for trouble in report.troubles:
            console.print(Text(f"{trouble.what} ({trouble.mend})"), soft_wrap=True)


def _row(report: Report) -> list[Text]:
    machine, guest = report.machine, report.guest
    address = Text(f"{machine.address}:{machine.port}")
    if guest is None:
        names = Text("\n".join(machine.researchers))
        return [
            Text(report.name),
            Text("down", "bold red"),
            address,
            *map(Text, "--"),
            names,
            Text("-"),
        ]
    bad = bool(report.troubles)
    return [
        Text(report.name),
        Text("running", "yellow" if bad else "green"),
        address,
        Text(_offset(guest.clock)),
        Text(str(guest.serial)),
        Text("\n".join(_person(name, one) for name, one in guest.researchers.items()) or "-"),
        Text("\n".join(guest.bans) or "-"),
    ]


def _offset(clock: Clock) -> str:
    if clock.offset_seconds is None:
        return "unknown"
    offset = f"{clock.offset_seconds:+.3f} s"
    return offset if clock.synchronised else f"{offset}, not synchronised"


def _person(name: str, one: Researcher) -> str:
    facts = [
        "FROZEN" if one.frozen else one.factors,
        f"{one.sessions} session{'' if one.sessions == 1 else 's'}",
        f"{one.emergency_codes_left} emergency codes",
        f"workspace {one.workspace}",
    ]
    return f"{name}: {', '.join(facts)}"
