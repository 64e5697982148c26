"""`secondlock status`: each machine as it says it is."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.engine import Machine, machines
from cli.options import JsonOption, StackOption, echo_json
from cli.project import Stack, choose_stack
from cli.reports import Clock, GuestStatus, Report, Researcher
from cli.ssh_config import outdated, own_key
from cli.targets import target_of
from infra.model.problems import Problem, ProblemsError
from infra.ssh_file import alias, host_key_alias

_WIDE = 200  # columns, where the output is not a terminal


def status(stack: StackOption = None, as_json: JsonOption = False) -> None:
    """Show every machine: state, address, clock offset, researchers, bans, roster applied.

    Exit code 1 when a machine does not answer or something needs attention: what mends it is
    said below the table, and under `problems` in the JSON.
    """
    chosen = choose_stack(stack)
    everything = _everything(chosen)
    reports, others = reports_of(chosen, everything)
    others = [*others, *outdated(chosen, everything)]
    if as_json:
        documents = {one.name: _document(chosen, one) for one in reports}
        problems = [one.document() for one in others]
        echo_json({"stack": chosen.name, "machines": documents, "problems": problems})
    else:
        _print(chosen, reports, others)
    told = [*others, *(problem for one in reports for problem in one.problems)]
    if any(problem.severity == "stop" for problem in told):
        raise typer.Exit(1)


def _everything(stack: Stack) -> dict[str, Machine]:
    """The stack's machines. Raises ProblemsError.

    An `up` that was cut off may have left things before there was any output to tell of them.
    """
    try:
        return machines(stack)
    except ProblemsError as error:
        left: list[Problem] = []
        with suppress(ProblemsError):
            left = target_of(stack.target()).others(stack, {})
        raise ProblemsError([*error.problems, *left]) from None


def reports_of(stack: Stack, everything: dict[str, Machine]) -> tuple[list[Report], list[Problem]]:
    """Of every machine, each asked the way its target has; and what else there is.

    Raises ProblemsError.
    """
    found: list[Report] = []
    others: list[Problem] = []
    for name in dict.fromkeys(one.target for one in everything.values()):
        target = target_of(name)
        its = {each: one for each, one in everything.items() if one.target == name}
        found += target.reports(stack, its)
        others += target.others(stack, its)
    return found, others


def _document(stack: Stack, report: Report) -> dict[str, Any]:
    machine, guest = report.machine, report.guest
    said = None if guest is None else guest.model_dump()
    return {
        "state": report.state,
        "target": machine.target,
        "address": machine.address if machine.public else None,
        "port": machine.port,
        "host_key": machine.host_key,
        "host_key_alias": host_key_alias(stack.name, report.name),
        "key": next(filter(None, (own_key(stack, one) for one in machine.researchers)), None),
        "ssh_hosts": {one: alias(stack.name, one) for one in machine.by_ssh},
        "roster": {"wanted": machine.serial, "applied": guest.serial if guest else None},
        "bundle": said["bundle"] if said else None,
        "clock": said["clock"] if said else None,
        "bans": said["bans"] if said else None,
        "audit": said["audit"] if said else None,
        "gpu": said["gpu"] if said else None,
        "researchers": said["researchers"] if said else dict.fromkeys(machine.researchers),
        "time": said["time"] if said else None,
        "said_seconds_ago": report.said_seconds_ago,
        "instance": report.instance,
        "problems": [one.document() for one in report.problems],
    }


def _print(stack: Stack, reports: list[Report], others: list[Problem]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDE
    table = Table(title=f"Stack {stack.name}", title_justify="left", show_lines=True)
    with_gpu = any(one.guest is not None and one.guest.gpu for one in reports)
    for heading in ("Machine", "State", "Address", "Clock", "Roster", "Researchers", "Bans"):
        table.add_column(heading, overflow="fold")
    if with_gpu:
        table.add_column("GPU", overflow="fold")
    for report in reports:
        table.add_row(*_row(report), *([_gpu(report.guest)] if with_gpu else []))
    console.print(table)
    for problems in (*(report.problems for report in reports), others):
        for problem in problems:
            console.print(Text(str(problem)), soft_wrap=True)


def _row(report: Report) -> list[Text]:
    machine, guest = report.machine, report.guest
    address = Text(f"{machine.address}:{machine.port}" if machine.public else "Session Manager")
    state = Text(report.state, _colour(report))
    if guest is None:
        names = Text("\n".join(machine.researchers))
        return [Text(report.name), state, address, *map(Text, "--"), names, Text("-")]
    return [
        Text(report.name),
        state,
        address,
        Text(_offset(guest.clock)),
        Text(str(guest.serial)),
        Text("\n".join(_person(name, one) for name, one in guest.researchers.items()) or "-"),
        Text("\n".join(guest.bans) or "-"),
    ]


def _gpu(guest: GuestStatus | None) -> Text:
    """Model and driver; who has it stands with the researchers."""
    gpu = guest and guest.gpu
    if not gpu:
        return Text("-")
    lines = [*gpu.models, f"driver {gpu.driver}" if gpu.driver else "no driver"]
    return Text("\n".join(lines if gpu.listed else [*lines, "not usable"]))


def _colour(report: Report) -> str:
    if report.state != "running":
        return "bold red"
    return "yellow" if report.problems else "green"


def _offset(clock: Clock) -> str:
    if clock.offset_seconds is None:
        return "unknown"
    offset = f"{clock.offset_seconds:+.3f} s"
    return offset if clock.synchronised else f"{offset}, not synchronised"


def _person(name: str, one: Researcher) -> str:
    left = one.emergency_codes_left
    codes = "emergency codes void" if one.codes_void else f"{left} emergency codes"
    by = one.last_authenticator
    facts = [
        "FROZEN" if one.frozen else one.factors,
        f"{one.sessions} session{'' if one.sessions == 1 else 's'}",
        *([] if left is None else [codes]),
        *([f"remembered until {one.remembered_until}"] if one.remembered_until else []),
        *([f"last login by {by}"] if by and (by,) != one.authenticators else []),
        f"workspace {one.workspace}{', with GPU' if one.gpu else ''}",
    ]
    return f"{name}: {', '.join(facts)}"
