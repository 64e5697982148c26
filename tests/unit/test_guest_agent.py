"""Programs run by a guest agent that is slow, or forgets."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from infra.local import agent
from infra.local.agent import AwayError, GuestAgent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Serve = Callable[[list[float]], GuestAgent]

ENDED = {"exited": True, "exitcode": 3, "out-data": "b25jZQ=="}


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """An agent that lets each question about a program wait, and tells its end once."""
    monkeypatch.setattr(agent, "_SILENCE", 0.2)
    monkeypatch.chdir(tmp_path)
    server = socket.socket(socket.AF_UNIX)
    threads: list[threading.Thread] = []

    def start(waits: list[float]) -> GuestAgent:
        server.bind("agent.sock")
        server.listen()
        threads.append(threading.Thread(target=_answer, args=(server, waits)))
        threads[0].start()
        return GuestAgent(tmp_path)

    yield start
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    threads[0].join()


def _answer(server: socket.socket, waits: list[float]) -> None:
    """As qemu-ga: one question after the other, and what was told of an end is forgotten."""
    known = {"ended": bool(waits)}
    connection, _ = server.accept()
    # Who asked may have hung up.
    with suppress(OSError), connection, connection.makefile("rwb") as stream:
        for line in stream:
            asked = json.loads(line.rpartition(b"\xff")[2])
            stream.write(_said(asked, waits, known))
            stream.flush()


def _said(asked: dict[str, Any], waits: list[float], known: dict[str, bool]) -> bytes:
    match asked["execute"]:
        case "guest-sync-delimited":
            return b"\xff" + json.dumps({"return": asked["arguments"]["id"]}).encode() + b"\n"
        case "guest-exec":
            return b'{"return": {"pid": 7}}\n'
    if not known["ended"]:
        return b'{"error": {"class": "GenericError", "desc": "PID 7 does not exist"}}\n'
    time.sleep(waits.pop(0))
    if waits:
        return b'{"return": {"exited": false}}\n'
    known["ended"] = False
    return json.dumps({"return": ENDED}).encode() + b"\n"


@pytest.mark.parametrize("waits", [[0.0], [0.5], [0.3, 0.9], [0.0, 0.3, 0.3]])
def test_an_end_that_is_told_late_is_heard(serve: Serve, waits: list[float]) -> None:
    assert serve(waits).run(["/bin/true"], timeout=20) == (3, b"once", b"")


def test_an_agent_that_knows_nothing_of_the_program_was_restarted(serve: Serve) -> None:
    with pytest.raises(AwayError, match="restarted"):
        serve([]).run(["/bin/true"], timeout=20)


def test_a_program_that_takes_too_long_is_no_restart(serve: Serve) -> None:
    with pytest.raises(agent.AgentError, match="no answer in time") as caught:
        serve([3.0]).run(["/bin/true"], timeout=1)
    assert not isinstance(caught.value, AwayError)
