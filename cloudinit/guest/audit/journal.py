"""The door's lines in the journal, as they come."""

import json
import os
import subprocess
from collections.abc import Iterator

from guest.status.logins import SOURCES

AT_ONCE = 8 * 1024 * 1024  # bytes


class Journal:
    """What sshd and the judge of codes say, and journald of what it passed over."""

    def __init__(self, cursor: str | None) -> None:
        self.cursor = cursor
        """How far it was read."""
        self._rest = b""
        self._program: subprocess.Popen[bytes] | None = None

    def lines(self) -> Iterator[tuple[float, int, str]]:
        """What is new: when (seconds since 1970), by which process, and what."""
        for raw in self._read():
            try:
                entry = json.loads(raw)
                when = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
                process, message = int(entry.get("_PID", 0)), entry.get("MESSAGE")
                cursor = str(entry["__CURSOR"])
            except (ValueError, KeyError, TypeError):
                continue
            if isinstance(message, str):
                yield when, process, message
            self.cursor = cursor

    def _read(self) -> list[bytes]:
        if self._program is None or self._program.poll() is not None:
            self._program = self._start()
            self._rest = b""
        output = self._program.stdout
        read = 0
        while output is not None and read < AT_ONCE:
            try:
                more = os.read(output.fileno(), 1 << 20)
            except BlockingIOError:
                break
            if not more:
                break
            self._rest += more
            read += len(more)
        *whole, self._rest = self._rest.split(b"\n")
        return whole

    def _start(self) -> subprocess.Popen[bytes]:
        after = [f"--after-cursor={self.cursor}"] if self.cursor else ["--boot", "--lines=all"]
        program = subprocess.Popen(
            ["journalctl", "-q", "-f", "-o", "json", "--output-fields=MESSAGE,_PID", *after,
             *SOURCES, "SYSLOG_IDENTIFIER=systemd-journald"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        if program.stdout is not None:
            os.set_blocking(program.stdout.fileno(), False)
        return program
