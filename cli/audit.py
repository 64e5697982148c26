"""`secondlock audit`: who did what on the machines, and whether the record of it holds."""

from __future__ import annotations

import csv
import datetime as dt
import heapq
import re
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from cli.engine import machines
from cli.options import JsonOption, StackOption, echo_json, one_of
from cli.project import Stack, check_researcher, choose_stack
from cli.targets import target_of
from cli.trails import Trail
from cloudinit.guest.audit import chain
from infra.model.problems import Problem, ProblemsError
from infra.model.text import brief

FIELDS = (
    "time", "machine", "person", "kind", "what", "result", "where", "way", "address", "key",
    "device", "program", "session", "lost", "seq",
)  # fmt: skip
"""What a record may say; docs/reference/audit.md has what each means."""
_AGO = re.compile(r"(\d{1,5})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_BEGINS = re.compile(r";(?=[\s\"']*[=+@-])")
_MANY = 200
"""Breaks that are told of one machine."""
_PAUSES = (2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds: a machine sends what it has recorded within a minute."""

PersonOption = Annotated[
    str | None,
    typer.Option("--person", metavar="RESEARCHER", help="Of one person alone.", show_default=False),
]
KindOption = Annotated[
    str | None,
    typer.Option(
        "--kind",
        metavar="|".join(chain.KINDS),
        parser=one_of(chain.KINDS),
        help="Of one kind alone.",
        show_default=False,
    ),
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        help="From then on: 2026-11-27, 2026-11-27T16:30 (UTC), or so long ago: 30m, 8h, 7d.",
        show_default=False,
    ),
]
UntilOption = Annotated[
    str | None,
    typer.Option("--until", metavar="TIME", help="Before then.", show_default=False),
]
VerifyOption = Annotated[
    bool,
    typer.Option("--verify", help="Say whether any record was changed, removed or moved."),
]
CsvOption = Annotated[bool, typer.Option("--csv", help="Say it as CSV (RFC 4180).")]


def audit(
    person: PersonOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    kind: KindOption = None,
    verify: VerifyOption = False,
    stack: StackOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Show who did what: logins, commands, changes and alerts, the oldest first.

    With --verify, whether the record holds instead; exit code 1 where it does not.
    """
    if as_json and as_csv:
        raise typer.BadParameter("it is one or the other", param_hint="--json and --csv")
    chosen = choose_stack(stack)
    name = None if person is None else check_researcher(person)
    first, last = _time(since, "--since"), _time(until, "--until")
    trails = _trails(chosen, None if verify else first, verify)
    if verify:
        _verify(chosen, trails, as_json)
        return
    found = (
        record
        for record in _merged(trails)
        if (name is None or record.get("person") == name)
        and (kind is None or record["kind"] == kind)
        and (first is None or record["time"] >= first)
        and (last is None or record["time"] < last)
    )
    if as_json:
        echo_json({"stack": chosen.name, "records": list(found)})
    elif as_csv:
        _write_csv(found)
    else:
        for record in found:
            typer.echo(_line(record))


def _trails(stack: Stack, since: str | None, ends: bool) -> list[Trail]:
    """Of every machine; a stack that was destroyed may have left some. Raises ProblemsError."""
    try:
        there = machines(stack)
    except ProblemsError as error:
        trails = target_of(stack.target()).trails(stack, {}, since, ends=False)
        if not trails:
            raise error from None
        return trails
    return target_of(stack.target()).trails(stack, there, since, ends=ends)


def _merged(trails: Iterable[Trail]) -> Iterator[dict[str, Any]]:
    """All machines' records by time."""
    yield from heapq.merge(*map(_named, trails), key=lambda record: record["time"])


def _named(trail: Trail) -> Iterator[dict[str, Any]]:
    """Those that have not run out."""
    for record in trail.once():
        if trail.whole is None or record["time"] >= trail.whole:
            yield {**record, "machine": trail.machine}


def _verify(stack: Stack, trails: Iterable[Trail], as_json: bool) -> None:
    documents, problems = {}, list[Problem]()
    for trail in trails:
        count, found = _breaks(trail)
        documents[trail.machine] = {
            "records": count,
            "machine_asked": trail.end is not None,
            "breaks": [vars(one) for one in found],
        }
        problems += [Problem(None, None, f"{trail.machine}: {_told(one)}") for one in found[:_MANY]]
        if not as_json:
            asked = "" if trail.end else "; the machine was not asked for its last one"
            held = "does NOT hold" if found else "holds"
            typer.echo(f"{trail.machine}: {count} records, the chain {held}{asked}")
    if as_json:
        told = [one.document() for one in problems]
        echo_json({"stack": stack.name, "machines": documents, "problems": told})
    if problems:
        if as_json:
            raise typer.Exit(1)
        raise ProblemsError(problems)


def _breaks(trail: Trail) -> tuple[int, list[chain.Break]]:
    """How many records there are, and where they do not hold. What the machine has recorded and not
    sent yet is waited for."""
    for pause in (*_PAUSES, None):
        seen = set[int]()
        found = list(chain.verify(_counted(trail, seen), trail.end, trail.whole))
        if pause is None or trail.end is None or max(seen, default=0) >= trail.end.seq:
            break
        time.sleep(pause)
    return len(seen), found


def _counted(trail: Trail, seen: set[int]) -> Iterator[dict[str, Any]]:
    for record in trail.records():
        seen.add(record["seq"])
        yield record


def _told(found: chain.Break) -> str:
    if found.first == found.last:
        return f"record {found.first} {found.what}"
    return f"records {found.first} to {found.last} {found.what}"


def _line(record: dict[str, Any]) -> str:
    """One record for a person. What machines wrote is shown, never sent to the terminal."""
    words = {name: brief(str(record.get(name, "")), 1000) for name in FIELDS}
    came = " ".join(filter(None, (words["way"], words["device"] or words["key"], words["address"])))
    place = ", ".join(filter(None, (words["where"], words["result"])))
    who = f"{words['person'] or '-'} ({came})" if came else words["person"] or "-"
    parts = (words["time"], words["machine"], who, words["kind"], f"{words['what']} [{place}]")
    return "  ".join(parts)


def _write_csv(found: Iterable[dict[str, Any]]) -> None:
    out = csv.writer(sys.stdout, lineterminator="\r\n", quoting=csv.QUOTE_ALL)
    out.writerow(FIELDS)
    for record in found:
        out.writerow([_cell(record.get(name, "")) for name in FIELDS])


def _cell(value: Any) -> str:
    """As text: to a spreadsheet what begins like a formula would be one (OWASP, CSV injection).

    Also behind a semicolon: where spreadsheets separate by those, a cell begins there, whatever
    quotes there are.
    """
    text = _BEGINS.sub(";'", brief(str(value), 1000))
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _time(text: str | None, option: str) -> str | None:
    """A time as records have it. Raises typer.BadParameter."""
    if text is None:
        return None
    if found := _AGO.fullmatch(text):
        ago = dt.timedelta(**{_UNITS[found[2]]: int(found[1])})
        return _written(dt.datetime.now(dt.timezone.utc) - ago)
    try:
        when = dt.datetime.fromisoformat(text.removesuffix("Z"))
    except ValueError:
        what = f"'{brief(text)}' is no time: 2026-11-27, 2026-11-27T16:30, 30m, 8h or 7d"
        raise typer.BadParameter(what, param_hint=option) from None
    return _written(when.astimezone(dt.timezone.utc) if when.tzinfo else when)


def _written(when: dt.datetime) -> str:
    return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03}Z"
