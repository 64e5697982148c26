"""secondlock-doorkeeper: sends away who comes to the door and does not say for whom.

sshd's own patience (sshd_config(5), LoginGraceTime) is long enough for someone to find their phone.
Whoever opens connections and says nothing would have all of it, and keep everybody else out. Such a
connection ends after SILENT seconds, and one that names a person but shows neither key nor password
after CROWDED seconds where many wait. Seconds count in which sshd waited for the client: on a
machine under load it is not the client who is slow, and a client who sends chaff is no quicker.
Each is told to the journal with its address, for fail2ban to count.
"""

import grp
import os
import re
import signal
import syslog
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

from guest import services
from guest.remember import grants
from guest.system import run

INTERVAL = 2.0  # seconds
SILENT = 12.0  # seconds; a handshake takes one or two
CROWDED = 25.0  # seconds; a key's passphrase may have to be typed
CROWD = 10  # connections that wait
# A look through all of /proc would cost an emulated machine a third of a processor.
GROUP = Path("/sys/fs/cgroup/system.slice/ssh.service/cgroup.procs")
# Of sshd's monitor before anybody is named, and after (setproctitle in sshd-session.c, monitor.c).
UNNAMED = re.compile(r"sshd-session: (?:\[accepted\]|unknown \[priv\])")
NAMED = re.compile(r"sshd-session: \S+ \[priv\]")


class Process(NamedTuple):
    """A process: its parent, what it calls itself, and the seconds that it worked or had to wait
    for a processor."""

    pid: int
    parent: int
    title: str
    busy: float


def processes() -> list[Process]:
    """Every process of sshd's for whom nobody was let in yet: sessions have groups of their own."""
    found = []
    with suppress(OSError):
        for pid in GROUP.read_text().split():
            with suppress(OSError, ValueError, IndexError):
                found.append(_read(Path("/proc", pid)))
    return [each for each in found if each.title.startswith(("sshd-session: ", "sshd-auth: "))]


def _read(entry: Path) -> Process:
    title = (entry / "cmdline").read_bytes().rstrip(b"\0").decode(errors="replace")
    # Field 4 is the parent (proc_pid_stat(5)).
    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    # Nanoseconds on a processor and in the queue for one (kernel documentation, sched-stats).
    worked, queued = (entry / "schedstat").read_text().split()[:2]
    return Process(int(entry.name), parent, title, (int(worked) + int(queued)) / 1e9)


def end_logins(name: str) -> None:
    """End every connection that is on its way in as `name`, whatever it has proven."""
    for each in processes():
        if each.title.split()[1:2] in ([name], [grants.account(name)]):
            with suppress(ProcessLookupError):
                os.kill(each.pid, signal.SIGKILL)


def under_way() -> set[str]:
    """Whose name a connection has given that is on its way in, whatever it has proven."""
    names = {name for each in processes() for name in each.title.split()[1:2]}
    return {name.removesuffix(grants.SUFFIX) for name in names}


def asked_first() -> set[str]:
    """Who is asked by PAM for the first factor too, such as a password."""
    found = set()
    for method in services.methods().values():
        with suppress(KeyError):
            if not method["by_sshd"]:
                found |= set(grp.getgrnam(method["group"]).gr_mem)
    return found


class Watch:
    """Who waits at the door, and since when."""

    def __init__(self) -> None:
        self._since: dict[tuple[int, str], tuple[float, float]] = {}

    def idlers(self, found: list[Process], now: float, asked_first: set[str]) -> list[Process]:
        """The monitors of connections that wait too long at the time `now` (monotonic seconds).

        Either nobody was named, or there is a child that authenticates (sshd-auth) and none that
        asks for a code (`[pam]`); of people in `asked_first` that one asks for their first factor.
        """
        auth = {each.parent: each for each in found if each.title.startswith("sshd-auth: ")}
        asked = {
            each.parent
            for each in found
            if each.title.endswith(" [pam]") and each.title.split()[1] not in asked_first
        }
        waiting = [
            each
            for each in found
            if UNNAMED.fullmatch(each.title)
            or (NAMED.fullmatch(each.title) and each.pid in auth and each.pid not in asked)
        ]
        busy = {one.pid: one.busy for one in waiting}
        busy |= {pid: busy[pid] + auth[pid].busy for pid in busy.keys() & auth.keys()}
        marks = {(one.pid, one.title) for one in waiting}
        first = {mark: (now, busy[mark[0]]) for mark in marks}
        self._since = {mark: self._since.get(mark, first[mark]) for mark in marks}
        idle = {
            pid: now - since - max(busy[pid] - before, 0)
            for (pid, _), (since, before) in self._since.items()
        }
        patience = CROWDED if len(waiting) > CROWD else float("inf")
        return [
            each
            for each in waiting
            if idle[each.pid] > (SILENT if UNNAMED.fullmatch(each.title) else patience)
        ]


def addresses() -> dict[int, str]:
    """The peer's address of every process that holds a connection to sshd (ss(8))."""
    found: dict[int, str] = {}
    listed = run("ss", "-Htnp", "state", "established", "sport = :22", check=False)
    for line in listed.splitlines():
        peer = line.split()[3].rpartition(":")[0].strip("[]").removeprefix("::ffff:")
        found |= {int(pid): peer for pid in re.findall(r"pid=(\d+)", line)}
    return found


def send_away(idle: list[Process]) -> None:
    """End these connections as sshd's own alarm would; the journal has their addresses."""
    known = addresses()
    for each in idle:
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(each.pid)
            try:
                if _read(Path(f"/proc/{each.pid}")).title == each.title:
                    signal.pidfd_send_signal(handle, signal.SIGALRM)
                    address = known.get(each.pid, "an unknown address")
                    syslog.syslog(f"Silent connection from {address} ended")
            finally:
                os.close(handle)


def main() -> NoReturn:
    """Look for ever."""
    syslog.openlog("secondlock-doorkeeper", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    watch = Watch()
    while True:
        if idle := watch.idlers(processes(), time.monotonic(), asked_first()):
            send_away(idle)
        time.sleep(INTERVAL)
