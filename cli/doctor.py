"""`secondlock doctor`: what would stop `pulumi up`, before it starts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

from cli.doctor_stack import findings as of_stack
from cli.doctor_stack import left_behind, look
from cli.engine import environment, find_pulumi
from cli.findings import Finding, Verdict, ok, stop
from cli.options import JsonOption, StackOption, echo_json
from cli.project import Stack, choose_stack
from cli.targets import target_of
from infra.model.problems import Problem

# Without these it runs neither a program in Python nor resources that are written in it.
_RUNS_PYTHON = (
    "pulumi-language-python",
    "pulumi-language-python-exec",
    "pulumi-resource-pulumi-python",
)

_COLOURS: dict[Verdict, str] = {"ok": "green", "note": "yellow", "stop": "bold red"}


def doctor(stack: StackOption = None, as_json: JsonOption = False) -> None:
    """Look for what would stop `pulumi up` or a login, and name what mends it.

    The stack's seed, settings, requests and state; its machines, where it is up. On aws:
    credentials, quotas, instance types and images of the account and region. On local: this
    computer. Changes nothing. Exit code 1 when something would stop `up` or a login.
    """
    chosen = choose_stack(stack)
    target = chosen.target()
    checked, said = look(chosen)
    every = [_pulumi(chosen), *said, *target_of(target).findings(chosen, checked)]
    once: dict[str | Problem, Finding] = {}
    for one in [*every, *left_behind(), *of_stack(chosen, checked)]:
        once.setdefault(one.found, one)
    found = [*once.values()]
    fine = all(one.verdict != "stop" for one in found)
    if as_json:
        findings = [one.document() for one in found]
        echo_json({"stack": chosen.name, "target": target, "ok": fine, "findings": findings})
    else:
        _print(chosen, target, found)
    if not fine:
        raise typer.Exit(1)


def _pulumi(stack: Stack) -> Finding:
    variables = environment(stack, os.environ)
    program = find_pulumi(variables)
    if program is None:
        return stop("pulumi", "`pulumi` is not on PATH", "make setup")
    if missing := [each for each in _RUNS_PYTHON if _missing(each, program, variables)]:
        what = f"{program} cannot run this program without {' and '.join(missing)}"
        return stop("pulumi", what, "make setup")
    return ok("pulumi", program)


def _missing(name: str, pulumi: str, variables: Mapping[str, str]) -> bool:
    """Whether a program is neither on PATH nor beside `pulumi`, where that really lies."""
    places = [variables.get("PATH", os.defpath), Path(pulumi).parent, Path(pulumi).resolve().parent]
    return shutil.which(name, path=os.pathsep.join(map(str, places))) is None


def _print(stack: Stack, target: str, found: list[Finding]) -> None:
    console = Console(highlight=False)
    console.print(Text(f"Stack {stack.name}, target {target}"))
    width = max(len(one.check) for one in found)
    for one in found:
        line = Text.assemble(
            (f"{one.verdict:<5}", _COLOURS[one.verdict]), f"{one.check:<{width}}  ", one.what
        )
        console.print(line, soft_wrap=True)
        if one.mend:
            console.print(Text(f"{'':<5}{'':<{width}}  -> {one.mend}"), soft_wrap=True)
