"""What would stop `up` or a login on every target: seed, settings, requests, state, machines."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import TYPE_CHECKING

from cli.engine import State, config_values, environment, locks, machines, state
from cli.findings import Finding, note, ok, stop, wrong
from cli.project import Stack, pulumi
from cli.ssh_config import outdated
from cli.status import reports_of
from infra.checks import Checked, check_stack
from infra.given import expiry
from infra.model.problems import ProblemsError
from infra.model.reading import expanded
from infra.model.text import shell_word
from infra.record import RECORD, Record, refusals
from infra.targets import target_of

if TYPE_CHECKING:
    from infra.plan import Plan

_MACHINES = (":Machine", ":Instance")  # on local, and on aws


def look(stack: Stack) -> tuple[Checked, list[Finding]]:
    """What people ask of the stack, and what is wrong with it: as `up` tells it.

    Where Pulumi does not decrypt the configuration, all that can be said without the seed.
    """
    found: list[Finding] = []
    encrypted: set[str] | None = None
    try:
        values = config_values(stack)
    except ProblemsError as error:
        found, config = wrong("plan", error), stack.values()
    else:
        config = {key: one.value for key, one in values.items()}
        encrypted = {key for key, one in values.items() if one.secret}
    checked = check_stack(stack.name, stack.root, config, encrypted=encrypted)
    many = f"{len(checked.asked.people)}, without a fault"
    found += wrong("settings", ProblemsError(checked.in_settings)) or [
        ok("settings", str(stack.config))
    ]
    if checked.plan is not None:
        soon = expiry(checked.settings, dt.datetime.now(dt.timezone.utc))
        found += [] if soon is None else [Finding("settings", soon)]
    found += wrong("requests", ProblemsError(checked.in_requests)) or [ok("requests", many)]
    return checked, found


def findings(stack: Stack, checked: Checked) -> list[Finding]:
    """What is found beside that, good and bad."""
    found = _locks(stack) + wrong("plan", ProblemsError(checked.in_plan))
    try:
        known = state(stack)
    except ProblemsError as error:
        return found + wrong("state", error)
    if checked.plan is not None:
        try:
            against = _against(stack, checked.plan, known)
        except ProblemsError as error:
            against = wrong("state", error)
        if not against and not checked.problems:
            against = [ok("plan", "seed, settings, requests and state fit")]
        found += against
    return found + _logins(stack, known)


def _against(stack: Stack, plan: Plan, known: State) -> list[Finding]:
    """The plan against what the stack's state knows."""
    place, found = target_of(plan.settings.target).place(plan.settings), []
    for one in known.resources:
        if one.urn.endswith(f"::pulumi:index:Stash::{RECORD}"):
            held = Record.parse(str(one.inputs.get("input", "")))
            found += [Finding("state", each) for each in refusals(held, plan, place)]
    if known.pending_operations:
        what = f"{len(known.pending_operations)} operations were cut off before they were recorded"
        mend = pulumi("refresh", "--clear-pending-creates", stack=stack)
        found.append(note("state", what, mend))
    return found


def _locks(stack: Stack) -> list[Finding]:
    """Who holds the stack in a backend of files; others tell it when they are asked."""
    url = environment(stack, os.environ).get("PULUMI_BACKEND_URL", "")
    if not url.startswith("file://"):
        return []
    backend = expanded(url.removeprefix("file://"))
    mend = f"wait for it to end; if it is gone: {pulumi('cancel', stack=stack)}"
    return [stop("state", f"{lock} holds the stack", mend) for lock in locks(backend, stack.name)]


def _logins(stack: Stack, known: State) -> list[Finding]:
    """What `status` finds wrong with machines that are up."""
    if not any(one.kind.endswith(_MACHINES) for one in known.resources):
        return []
    try:
        everything = machines(stack)
        reports, _ = reports_of(stack, everything)
        stale = outdated(stack, everything)
    except ProblemsError as error:
        return wrong("login", error)
    problems = [*(each for one in reports for each in one.problems), *stale]
    if not problems:
        return [ok("login", f"{len(reports)} machines answer, nobody is shut out")]
    return [Finding("login", one) for one in problems]


def left_behind() -> list[Finding]:
    """Logs that `pulumi -v=9` wrote: they hold every secret, and all users may read them."""
    folder = Path(os.environ.get("TMPDIR") or "/tmp")  # noqa: S108 - where the engine writes them
    found = []
    for path in sorted(folder.glob("pulumi*.log.*")):
        if path.is_file() and not path.is_symlink():
            what = f"{path} is a log of the engine's, which may hold secrets in clear"
            found.append(note("logs", what, f"shred -u {shell_word(str(path))}"))
    return found
