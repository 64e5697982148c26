"""A machine's clocks against this computer's: what it is told of them, and how they stand.

QEMU starts a machine's real-time clock at the full second that has begun (`rtc_set_date_from_host`
in its hw/rtc/mc146818rtc.c), so the clock stays behind by the part of a second that had gone by.
Only from here can that be seen; the machine adds it to what it reads.
"""

from __future__ import annotations

import calendar
import time
from typing import TYPE_CHECKING, NamedTuple

from infra.local.agent import AgentError
from infra.local.qmp import Channel

if TYPE_CHECKING:
    from pathlib import Path

    from infra.local.agent import GuestAgent

RTC_BEHIND = "/etc/secondlock/rtc-behind"
_PATIENCE = 10.0  # seconds for a clock that ticks once in one
_SHARP = 0.005  # seconds; a tick that was seen to less than that is taken at once
_TICKS = 4  # looked at on a computer that is too busy for that
_LOOKS = 5


class Offset(NamedTuple):
    """How far a machine's clock is behind this computer's (negative: ahead), and how surely."""

    seconds: float
    bound: float


def rtc_behind(directory: Path) -> float:
    """Seconds that the real-time clock of the machine in `directory` is behind this computer's.

    Waits for its tick, a second at most where the computer is not too busy. Raises ChannelError.
    """
    with Channel(directory, "qmp.sock", _PATIENCE) as channel:
        channel.receive_line()  # the greeting
        channel.ask("qmp_capabilities")
        ticks: list[Offset] = []
        while len(ticks) < _TICKS:
            ticks.append(_tick(channel))
            if ticks[-1].bound < _SHARP:
                break
    return min(ticks, key=lambda tick: tick.bound).seconds


def _tick(channel: Channel) -> Offset:
    """Look until the second changes: between which two looks it did is this computer's time."""
    before = looked = ended = time.time()
    first = second = _second(channel)
    while second == first:
        time.sleep(0.001)
        before, looked = looked, time.time()
        second, ended = _second(channel), time.time()
    return Offset((before + ended) / 2 - second, (ended - before) / 2)


def _second(channel: Channel) -> int:
    """The real-time clock's second since 1970 (QOM: `rtc-time`, a `struct tm`)."""
    now = channel.ask("qom-get", path="/machine", property="rtc-time")
    fields = [now[f"tm_{name}"] for name in ("year", "mon", "mday", "hour", "min", "sec")]
    return calendar.timegm((fields[0] + 1900, fields[1] + 1, *fields[2:]))


def tell(agent: GuestAgent, behind: float) -> None:
    """Tell the machine what `rtc_behind` has found. Raises AgentError."""
    command = ["/usr/bin/tee", RTC_BEHIND]
    code, _, _ = agent.run(command, stdin=f"{behind:.4f}\n".encode())
    if code != 0:
        raise AgentError(f"it did not take the host's clock: tee ended with {code}")


def offset(agent: GuestAgent) -> Offset:
    """How the machine's clock stands now: the surest of a few looks. Raises AgentError."""
    return min((_look(agent) for _ in range(_LOOKS)), key=lambda look: look.bound)


def _look(agent: GuestAgent) -> Offset:
    started, machine, ended = agent.clock()
    return Offset(((started + ended) // 2 - machine) / 1e9, (ended - started) / 2e9)
