"""Root in the guest without a network: the QEMU guest agent over a virtio-serial socket.

See "QEMU Guest Agent Protocol Reference". The socket serves one client at a time; a second one
waits until the first hangs up, so connections here are as short as the work.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from infra.local.qmp import Channel, ChannelError, DeclinedError, SilentError
from infra.model.problems import FaultError

if TYPE_CHECKING:
    from pathlib import Path

Alive = Callable[[], bool]
# What comes of answers that are objects but none of an agent's: the guest may be in other hands.
_NONSENSE = (ValueError, TypeError, KeyError, AttributeError, OverflowError)
_TIMES = 2**63  # ns since 1970
_SILENCE = 10.0  # seconds; what is not answered by then may have been lost with a restart


class AgentError(FaultError):
    """The guest agent does not answer, or did not do what it was asked."""


class AwayError(AgentError):
    """The guest stopped or restarted: the program did not run, or not to its end."""


def _always() -> bool:
    return True


class GuestAgent:
    """The guest agent of the machine in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ping(self, timeout: float = 3.0) -> bool:
        """Whether the agent answers within `timeout` seconds."""
        try:
            with self._connect(timeout):
                return True
        except ChannelError:
            return False

    def run(
        self,
        argv: Sequence[str],
        stdin: bytes = b"",
        timeout: float = 120.0,
        alive: Alive = _always,
    ) -> tuple[int, bytes, bytes]:
        """Run `argv` as root in the guest: exit code (128 + signal), stdout, stderr.

        Raises AgentError when the program takes longer than `timeout` seconds, and AwayError when
        the guest restarted meanwhile, there was no agent to begin with, or `alive`, which is asked
        in a silence of the agent, says no.
        Neither `stdin` nor the output is in any error's text: they may be secret.
        """
        try:
            channel = self._connect(min(timeout, 30.0))
        except ChannelError as error:
            raise AwayError(f"its guest agent does not answer: {error}") from None
        with channel:
            try:
                return _execute(channel, argv, stdin, timeout, alive)
            except ChannelError as error:
                raise AgentError(f"{argv[0]} in the guest: {error}") from None
            except _NONSENSE:
                raise AgentError(f"{argv[0]} in the guest: no agent answers so") from None

    def exists(self, path: str) -> bool:
        """Whether `path` exists in the guest. Raises AgentError."""
        return self.run(["/usr/bin/test", "-e", path])[0] == 0

    def clock(self) -> tuple[int, int, int]:
        """The machine's time between this computer's before and after, ns since 1970.

        Raises AgentError.
        """
        try:
            with self._connect(3.0) as channel:
                started = time.time_ns()
                machine = int(channel.ask("guest-get-time"))
                if not 0 <= machine < _TIMES:
                    raise ValueError("no clock shows that")
                return started, machine, time.time_ns()
        except (ChannelError, *_NONSENSE) as error:
            raise AgentError(f"its guest agent does not tell the time: {error}") from None

    def shutdown(self) -> bool:
        """Ask the guest to power off; whether the agent took the request."""
        try:
            with self._connect(3.0) as channel:
                # guest-shutdown answers nothing when it works.
                channel.send({"execute": "guest-shutdown", "arguments": {"mode": "powerdown"}})
                return True
        except ChannelError:
            return False

    def _connect(self, timeout: float) -> Channel:
        """A connection past whatever an earlier client left unread in the channel."""
        channel = Channel(self._folder, "agent.sock", timeout)
        try:
            _synchronise(channel)
        except BaseException:
            channel.__exit__(None, None, None)
            raise
        return channel


def _synchronise(channel: Channel, late: list[bytes] | None = None) -> None:
    """guest-sync-delimited: 0xFF makes the agent drop half a command, and begins its answer.

    What it answered before that, to a question that was given up, is added to `late`.
    """
    number = secrets.randbelow(2**31)
    message = {"execute": "guest-sync-delimited", "arguments": {"id": number}}
    channel.send(message, prefix=b"\xff")
    while True:
        before, delimiter, line = channel.receive_line().rpartition(b"\xff")
        if delimiter and channel.read(line).get("return") == number:
            return
        if late is not None and not before:
            late.append(line)


def _execute(
    channel: Channel, argv: Sequence[str], stdin: bytes, timeout: float, alive: Alive
) -> tuple[int, bytes, bytes]:
    until = time.monotonic() + timeout
    channel.extend(timeout)
    arguments: dict[str, Any] = {"path": argv[0], "arg": list(argv[1:]), "capture-output": True}
    if stdin:
        arguments["input-data"] = base64.b64encode(stdin).decode()
    pid = channel.ask("guest-exec", **arguments)["pid"]
    pause = 0.05
    while not (status := _status(channel, pid, until, alive))["exited"]:
        time.sleep(pause)
        pause = min(pause * 1.5, 0.4)
    code = int(status["exitcode"] if "exitcode" in status else 128 + status.get("signal", 0))
    out, err = (base64.b64decode(status.get(name, "")) for name in ("out-data", "err-data"))
    return code, out, err


def _status(channel: Channel, pid: int, until: float, alive: Alive) -> dict[str, Any]:
    """How the program is, asked again where a restart may have swallowed the question."""
    late: list[bytes] = []
    asked = False
    while True:
        channel.extend(min(until - time.monotonic(), _SILENCE))
        try:
            if asked:
                _synchronise(channel, late)
            # An agent tells the end once, and may have told it late.
            if ended := _ended(channel, late):
                return ended
            status: dict[str, Any] = channel.ask("guest-exec-status", pid=pid)
        except DeclinedError:
            # What it has not told, an agent forgets only by ending.
            raise AwayError("the guest restarted in the middle of it") from None
        except SilentError:
            if not alive():
                raise AwayError("the machine stopped in the middle of it") from None
            if time.monotonic() >= until:
                raise
            asked = True
        else:
            return status


def _ended(channel: Channel, late: Sequence[bytes]) -> dict[str, Any] | None:
    """The end of the program, where one of the late answers tells it."""
    for line in late:
        answer = channel.read(line).get("return")
        if isinstance(answer, dict) and answer.get("exited"):
            return answer
    return None
