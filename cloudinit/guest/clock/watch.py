"""Measures how far the machine's clock is from its reference, and sets it where that is much.

A machine that stood still (a suspend, a pause, a full disk) is behind by as long, and chrony takes
minutes to believe such a jump: here it is corrected within seconds. Small differences are chrony's.
What was measured is noted for logins and the status (`guest.clock`).

On a local machine the reference is the host's clock, which the emulated real-time clock follows.
Each sample waits for that clock's own tick (rtc(4), RTC_UIE), where a full second begins, and goes
to chrony's SOCK driver too (chrony.conf(5), refclock SOCK). On aws it is AWS's time server.
"""

import calendar
import contextlib
import fcntl
import json
import os
import socket
import struct
import time
from collections.abc import Callable
from typing import NoReturn

from guest import paths
from guest.clock import measured
from guest.system import run

INTERVAL = {"local": 2, "aws": 8}  # seconds between samples
# More than this is set at once, less is left to chrony: it has the clock run faster or slower.
JUMP = 0.1  # seconds
# Who is kept waiting seems to have a clock that is ahead: the earliest of these says what is so.
LOOKS = 3

RTC = "/dev/rtc0"
SOCKET = "/run/chrony/secondlock.sock"
RTC_UIE_ON, RTC_UIE_OFF, RTC_RD_TIME = 0x7003, 0x7004, 0x80247009
MAGIC = 0x534F434B

AWS = ("169.254.169.123", 123)
PATIENCE = 2.0  # seconds for AWS's answer
NTP_EPOCH = 2208988800  # seconds from 1900 to 1970 (RFC 5905, figure 4)
ASK, ANSWER = 0x23, 4  # version 4, mode 3; mode 4
UNKNOWN_STRATA = (0, 16)

Sample = tuple[int, float]
"""The machine's time, ns, and how far it was behind its reference then, seconds."""


def _rtc_behind() -> float:
    """Seconds that the real-time clock itself is behind the host's, as the host has measured.

    QEMU starts it at the full second that has begun, up to a second late.
    """
    with contextlib.suppress(OSError, ValueError):
        return float(paths.RTC_BEHIND.read_text())
    return 0.0


def host_sample(rtc: int) -> Sample:
    """One by the real-time clock's next tick."""
    fcntl.ioctl(rtc, RTC_UIE_ON)
    try:
        os.read(rtc, 8)
        now = time.time_ns()
        raw = fcntl.ioctl(rtc, RTC_RD_TIME, bytes(36))
    finally:
        fcntl.ioctl(rtc, RTC_UIE_OFF)
    second, minute, hour, day, month, year = struct.unpack("9i", raw)[:6]
    host = calendar.timegm((year + 1900, month + 1, day, hour, minute, second))
    return now, (host * 10**9 - now) / 1e9 + _rtc_behind()


def server_sample(address: tuple[str, int] = AWS) -> Sample:
    """One by a time server (RFC 5905, section 14: a client of SNTP). Raises OSError, ValueError."""
    cookie = os.urandom(8)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.settimeout(PATIENCE)
        server.connect(address)
        sent = time.time_ns()
        server.send(bytes([ASK]) + bytes(39) + cookie)
        answer = server.recv(512)
        received = time.time_ns()
    if len(answer) < 48 or answer[0] & 7 != ANSWER or answer[24:32] != cookie:
        raise ValueError("this is no answer to what was asked")
    if answer[1] in UNKNOWN_STRATA:
        raise ValueError("the time server does not know the time")
    theirs = (_timestamp(answer[32:40]) + _timestamp(answer[40:48])) // 2
    return received, (theirs - (sent + received) // 2) / 1e9


def _timestamp(raw: bytes) -> int:
    """NTP's 32 bits of seconds and 32 of fraction, as ns since 1970."""
    seconds, fraction = struct.unpack(">II", raw)
    return int((seconds - NTP_EPOCH) * 10**9 + (fraction * 10**9 >> 32))


def _feed(sample: Sample) -> None:
    """One `struct sock_sample`, for chronyd's socket where it is there."""
    now, offset = sample
    packed = struct.pack("@qqdiiii", now // 10**9, now % 10**9 // 1000, offset, 0, 0, 0, MAGIC)
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as chrony:
        chrony.sendto(packed, SOCKET)


def _set(offset: float) -> None:
    """Set the clock. chrony is to forget what it measured by the old time."""
    time.clock_settime_ns(time.CLOCK_REALTIME, time.time_ns() + round(offset * 1e9))
    run("chronyc", "reset", "sources", check=False)
    print(f"the machine's clock was {offset:+.2f} s behind and is set", flush=True)


def watch(measure: Callable[[], Sample], source: str) -> Sample | None:
    """Measure, note it, and set the clock where it is far off; a sample worth handing on, or None.

    Raises what `measure` does.
    """
    sample = measure()
    measured.note(sample[1], source)
    if abs(sample[1]) < JUMP:
        return sample
    offset = max(sample[1], *(measure()[1] for _ in range(LOOKS - 1)))
    if abs(offset) > JUMP:
        _set(offset)
        measured.note(0.0, source)
    return None


def main() -> NoReturn:
    """Watch the clock for ever."""
    target = json.loads(paths.MACHINE.read_text())["target"]
    rtc = os.open(RTC, os.O_RDONLY) if target == "local" else -1
    while True:
        if target == "local":
            if sample := watch(lambda: host_sample(rtc), "host"):
                _feed(sample)
        else:
            with contextlib.suppress(OSError, ValueError):  # the note grows old, and says so
                watch(server_sample, "aws")
        time.sleep(INTERVAL[target])
