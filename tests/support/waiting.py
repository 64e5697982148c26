"""Logins that wait at the prompt for their code, and then all answer at the same instant."""

from __future__ import annotations

import threading
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import paramiko

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.support.client import Client
    from tests.support.people import Person

PATIENCE = 120  # seconds: so many handshakes at once take an emulated machine a while
AT_ONCE = 6  # handshakes


def answer_together(
    client: Client,
    person: Person,
    answers: Sequence[str | Callable[[], str]],
    before: Callable[[], None] | None = None,
) -> int:
    """How many get in of those who give these answers when all have been asked.

    `before` happens when all wait. An answer that is a function is asked for just then.
    """
    gate = threading.Barrier(len(answers), action=before)
    handshakes, entered = threading.Semaphore(AT_ONCE), []

    def login(answer: str | Callable[[], str]) -> None:
        def respond(_title: str, _words: str, prompts: list[tuple[str, bool]]) -> list[str]:
            if not prompts:
                return []
            handshakes.release()
            gate.wait(PATIENCE)
            return [answer if isinstance(answer, str) else answer()]

        with closing(paramiko.Transport((client.address, client.port))) as transport:
            transport.banner_timeout = transport.auth_timeout = PATIENCE
            handshakes.acquire()
            with suppress(paramiko.SSHException):
                transport.start_client(timeout=PATIENCE)
                key = paramiko.Ed25519Key.from_private_key_file(str(person.key))
                transport.auth_publickey(person.name, key)
                transport.auth_interactive(person.name, respond)
                entered.append(answer)

    threads = [threading.Thread(target=login, args=(each,), daemon=True) for each in answers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
    assert gate.n_waiting == 0
    assert not gate.broken, "not everyone was asked for a code"
    return len(entered)
