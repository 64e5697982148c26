"""Records off a local machine: by a port that QEMU adds to a file of the host's from.

Nobody in the machine reads that file or takes anything back, root neither. What may have been under
way when the power went is sent again: who reads the file passes over what is there twice.
"""

import contextlib
import os
from pathlib import Path

from guest.audit import store
from guest.system import GuestError, write

PORT = Path("/dev/virtio-ports/secondlock.audit")
AGAIN = 200  # records
AT_ONCE = 512 * 1024  # bytes


class Port:
    """The way out. Where there is none, nothing is sent, and that is no fault of the machine's."""

    def __init__(self) -> None:
        self._from = store.Following(max(_sent() - AGAIN, 0))
        self._rest = b"\n"  # ends half a line of before
        self._descriptor: int | None = None
        self.sent: int | None = None
        """The last record that is out; None where there is no way."""

    def send(self) -> None:
        """Send what is new, as much as is taken now."""
        if self._descriptor is None:
            try:
                self._descriptor = os.open(PORT, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                return
            self.sent = _sent()
        try:
            while self._push():
                pass
        except BlockingIOError:
            pass
        except OSError:
            os.close(self._descriptor)
            self._descriptor = None

    def _push(self) -> bool:
        """One more piece; whether there was one."""
        if not self._rest:
            self._rest = b"".join(self._from.lines(AT_ONCE))
        if not self._rest or self._descriptor is None:
            return False
        self._rest = self._rest[os.write(self._descriptor, self._rest) :]
        if not self._rest and self._from.seq > (self.sent or 0):
            self.sent = self._from.seq
            with contextlib.suppress(GuestError):
                write(store.SENT, str(self.sent), 0o600)
        return True


def _sent() -> int:
    try:
        return int(store.SENT.read_text())
    except (OSError, ValueError):
        return 0
