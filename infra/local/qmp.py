"""One JSON object a line over a unix socket: what QEMU's monitor (QMP) and its guest agent speak.

Both are synchronous here: one connection, one question, one answer. The library `qemu.qmp` is
asyncio throughout, which a dynamic provider's threads cannot share; this is all of it we need.
See "QEMU Machine Protocol Specification" in QEMU's documentation.
"""

from __future__ import annotations

import json
import os
import socket
import time
from typing import TYPE_CHECKING, Any

from infra.model.reading import from_json

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

Message = dict[str, Any]


class ChannelError(Exception):
    """The other end is not there, does not answer in time, or refuses the command."""


class SilentError(ChannelError):
    """No answer came in time; the other end may still be there."""


class DeclinedError(ChannelError):
    """The other end answered that it will not do that."""


class Channel:
    """A connection to the socket `name` in `folder`; answers are awaited `timeout` seconds."""

    def __init__(self, folder: Path, name: str, timeout: float) -> None:
        self._where = f"{folder / name}"
        self._buffer = b""
        self._deadline = time.monotonic() + timeout
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._connect(folder, name)
        except OSError as error:
            self._socket.close()
            raise ChannelError(f"{self._where}: {error.strerror or error}") from None

    def _connect(self, folder: Path, name: str) -> None:
        """Connect by way of the folder's descriptor: a socket's path is limited to 107 bytes."""
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:
            while not self._try_connect(f"/proc/self/fd/{descriptor}/{name}"):
                time.sleep(min(0.1, self._left()))
        finally:
            os.close(descriptor)

    def _try_connect(self, path: str) -> bool:
        """Whether it worked; not when QEMU serves one client and more than one waits already."""
        self._socket.settimeout(self._left())
        try:
            self._socket.connect(path)
        except BlockingIOError:
            return False
        return True

    def __enter__(self) -> Channel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def send(self, message: Message, prefix: bytes = b"") -> None:
        """Send one object, after `prefix` as it is. Raises ChannelError."""
        data = prefix + json.dumps(message).encode() + b"\n"
        try:
            self._socket.settimeout(self._left())
            self._socket.sendall(data)
        except OSError as error:
            raise ChannelError(f"{self._where}: {error.strerror or error}") from None

    def receive_line(self) -> bytes:
        """The next line, without its end. Raises ChannelError; SilentError where none comes."""
        while b"\n" not in self._buffer:
            try:
                self._socket.settimeout(self._left())
                data = self._socket.recv(65536)
            except TimeoutError:
                raise SilentError(f"{self._where}: no answer in time") from None
            except OSError as error:
                raise ChannelError(f"{self._where}: {error.strerror or error}") from None
            if not data:
                raise ChannelError(f"{self._where}: the connection was closed")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def read(self, line: bytes) -> Message:
        """The object that a line is. Raises ChannelError where it is none."""
        try:
            said = from_json(line)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise ChannelError(f"{self._where}: what it says is no object in JSON")
        return said

    def ask(self, command: str, **arguments: Any) -> Any:
        """Send `command` and give back what it returns, passing over events.

        Raises ChannelError; DeclinedError where the answer is an error.
        """
        self.send({"execute": command, **({"arguments": arguments} if arguments else {})})
        while True:
            answer = self.read(self.receive_line())
            if "error" in answer:
                fault = answer["error"]
                said = fault.get("desc") if isinstance(fault, dict) else fault
                raise DeclinedError(f"{self._where}: {command}: {said}")
            if "return" in answer:
                return answer["return"]

    def extend(self, timeout: float) -> None:
        """Wait up to `timeout` seconds from now for what is asked next."""
        self._deadline = time.monotonic() + timeout

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        return left


def monitor(folder: Path, command: str, timeout: float = 5.0, **arguments: Any) -> Any:
    """Run one QMP command on the machine whose folder holds `qmp.sock`. Raises ChannelError."""
    with Channel(folder, "qmp.sock", timeout) as channel:
        channel.receive_line()  # the greeting
        channel.ask("qmp_capabilities")
        return channel.ask(command, **arguments)
