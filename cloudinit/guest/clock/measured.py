"""How far the machine's clock is from its reference: the host's clock, or AWS's.

`guest.clock.watch` measures it every few seconds and notes it here; a login and the status line
look. Imports little: a login has to wait for it.
"""

import os
import time

from guest import lean

NOTE = "/run/secondlock/clock.json"
# The emulated real-time clock follows the host through every pause of the machine (rtc(4)).
RTC = "/sys/class/rtc/rtc0/since_epoch"
FRESH = 30  # seconds after which a measurement says nothing of now
# What a full second's reading cannot tell apart, with the second that QEMU may leave out.
COARSE = 2.0


def note(offset: float, source: str) -> None:
    """Keep a measurement: seconds that the machine is behind its reference, `host` or `aws`."""
    text = lean.dumps({"offset_seconds": offset, "boottime": _boottime(), "source": source})
    os.makedirs(os.path.dirname(NOTE), mode=0o755, exist_ok=True)
    new = os.open(f"{NOTE}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(new, "w") as file:
        file.write(text)
    os.rename(f"{NOTE}.new", NOTE)


def offset() -> float | None:
    """Seconds that the machine is behind its reference, negative where ahead; None: not known.

    A machine that stood still does not know it: until the next measurement the last one seems
    fresh. Where the host is the reference, its real-time clock tells of that at once.
    """
    try:
        with open(NOTE, "rb") as file:
            said = lean.loads(file.read())
        measured = float(said["offset_seconds"])
        fresh = _boottime() - float(said["boottime"]) < FRESH
        rough = _rough() if said["source"] == "host" else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if rough is None:
        return measured if fresh else None
    return measured if fresh and abs(rough - measured) < COARSE else rough


def source() -> str | None:
    """What the machine's clock is measured against: `host` or `aws`; None: nothing yet."""
    try:
        with open(NOTE, "rb") as file:
            return str(lean.loads(file.read())["source"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _boottime() -> float:
    """Counts on while the machine is suspended (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _rough() -> float | None:
    """`offset` to a second, by the real-time clock; None where there is none."""
    try:
        with open(RTC) as file:
            return int(file.read()) + 0.5 - time.time()
    except (OSError, ValueError):
        return None
