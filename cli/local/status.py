"""Status of local machines: each is asked through its guest agent."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

from cli.engine import Machine
from cli.local.trails import prune
from cli.project import Stack, pulumi
from cli.reports import GuestStatus, Mends, Report, guest_problems, read_status
from infra.local.agent import AgentError, GuestAgent
from infra.local.clock import offset as offset_of
from infra.local.qemu import full_folder, is_running, processes, shorten_console

_ANSWER_WITHIN = 5.0
"""Seconds after which a machine whose guest agent says nothing counts as down."""

_STATUS_WITHIN = 30.0
"""Seconds for the status itself: an emulated machine is slow to collect it."""

_EVERYBODY = "10.0.2.2"
"""Whom a machine sees, whoever comes: QEMU's user network has this computer there."""


def reports(stack: Stack, machines: Mapping[str, Machine]) -> list[Report]:
    """A report of each machine, in the order of `machines`; what has run out of records goes."""
    with suppress(OSError):
        prune(stack)
    with ThreadPoolExecutor(max_workers=16) as pool:
        return list(pool.map(lambda pair: _report(stack, *pair), machines.items()))


def _report(stack: Stack, name: str, machine: Machine) -> Report:
    up = pulumi("up", stack=stack)
    try:
        guest = _ask(name, machine)
    except AgentError as error:
        problem = error.problem
        mend = f"{problem.mend}, then {up}" if problem.mend else up
        return Report(name, machine, "down", None, [replace(problem, mend=mend)])
    problems = guest_problems(stack, name, machine, guest, _mends(machine, up))
    return Report(name, machine, "running", guest, problems)


def _mends(machine: Machine, up: str) -> Mends:
    """Nobody has a shell of root's there: what a restart mends is restarted from here."""
    pids = processes(machine.directory) if machine.directory else []
    restart = f"kill {' '.join(map(str, pids))}; {up}" if pids else up
    return Mends(
        up=up,
        roster=up,
        clock="it is set within a minute",
        gpu="no machine of the target local has one",
        door=restart,
        web=restart,
        certificate=f"./secondlock doctor says which; then {up}",
        docker=restart,
        ban="it ends by itself: a first one after ten minutes, later ones within a day",
        everybody=_EVERYBODY,
    )


def _ask(name: str, machine: Machine) -> GuestStatus:
    """What the machine says of itself. Raises AgentError."""
    if machine.directory is None:
        raise AgentError(f"{name} has no folder on this computer")
    shorten_console(machine.directory)
    agent = GuestAgent(machine.directory)
    if not agent.ping(_ANSWER_WITHIN):
        if is_running(machine.directory):
            raise AgentError(f"{name} runs but does not answer; it may still be booting")
        if full := full_folder(machine.directory):
            what = f"{name} stands still: too little room is left on the file system of {full}"
            raise AgentError(what, "make room there")
        raise AgentError(f"{name} is not running")
    code, said, _ = agent.run(["/usr/local/sbin/secondlock-status"], timeout=_STATUS_WITHIN)
    if code != 0:
        raise AgentError(f"{name} answers, but its status program ended with {code}")
    try:
        return _by_our_clock(read_status(said), agent)
    except ValueError as error:
        raise AgentError(f"{name} answers, but its status cannot be read: {error}") from None


def _by_our_clock(guest: GuestStatus, agent: GuestAgent) -> GuestStatus:
    """With the clock's distance as this computer sees it: the machine knows its own view alone."""
    offset = round(offset_of(agent).seconds, 3)
    return guest.model_copy(
        update={"clock": guest.clock.model_copy(update={"offset_seconds": offset})}
    )
