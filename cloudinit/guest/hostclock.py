"""The host's clock as a chrony reference: the emulated real-time clock follows the host's time.

Each sample waits for the clock's own tick (rtc(4), RTC_UIE), where a full second begins, and goes
to chrony's SOCK driver (chrony.conf(5), refclock SOCK).
"""

import calendar
import fcntl
import os
import socket
import struct
import time
from pathlib import Path
from typing import NoReturn

RTC = "/dev/rtc0"
SOCKET = "/run/chrony/secondlock.sock"
RTC_UIE_ON, RTC_UIE_OFF, RTC_RD_TIME = 0x7003, 0x7004, 0x80247009
MAGIC = 0x534F434B
INTERVAL = 2  # seconds between samples


def _sample(rtc: int) -> bytes:
    """A `struct sock_sample`: local time, and how far the host's clock is ahead of it, seconds."""
    fcntl.ioctl(rtc, RTC_UIE_ON)
    try:
        os.read(rtc, 8)
        now = time.time_ns()
        raw = fcntl.ioctl(rtc, RTC_RD_TIME, bytes(36))
    finally:
        fcntl.ioctl(rtc, RTC_UIE_OFF)
    second, minute, hour, day, month, year = struct.unpack("9i", raw)[:6]
    host = calendar.timegm((year + 1900, month + 1, day, hour, minute, second))
    offset = host - now / 1e9
    return struct.pack("@qqdiiii", now // 10**9, now % 10**9 // 1000, offset, 0, 0, 0, MAGIC)


def main() -> NoReturn:
    """Feed chrony for ever."""
    rtc = os.open(RTC, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as chrony:
        while True:
            sample = _sample(rtc)
            if Path(SOCKET).exists():
                chrony.sendto(sample, SOCKET)
            time.sleep(INTERVAL)
