"""What the hub may have done as root: judge a login, open and shut a person's gate. Nothing else.

One line of JSON in, one out, over a unix socket that systemd holds for the hub's group; who asks
is told by the kernel (unix(7), SO_PEERCRED). Beside that it looks every few seconds whether those
who are in may still be: who was revoked, rotated or frozen loses their gate, and with it every
connection, WebSockets included.
"""

import json
import os
import pwd
import socket
import struct
import syslog
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from guest.gateway import door, gates, login, places, tickets
from guest.oidc import login as oidc
from guest.roster.document import NAME
from guest.system import GuestError

LISTENING = 3  # the socket's descriptor (sd_listen_fds(3))
MOST = 64 * 1024  # bytes of a question
PATIENCE = 30.0  # seconds for a question to come
AT_ONCE = 32  # questions; the others wait for systemd's socket
# The hub has people wait for their turn (secondlock_hub.py): it asks no more than these at once.
LOGINS_AT_ONCE = 4  # each takes 16 MiB while it is judged
VOUCHED_AT_ONCE = 4  # each waits for the provider
STARTS_AT_ONCE = 5
LOOK = 2.0  # seconds between two looks at who is in
LATER = "That cannot be done just now: try again in a moment."

_logins = threading.BoundedSemaphore(LOGINS_AT_ONCE)
_vouched = threading.BoundedSemaphore(VOUCHED_AT_ONCE)
_starts = threading.BoundedSemaphore(STARTS_AT_ONCE)


class _BusyError(Exception):
    """There are as many at once as may be."""


@contextmanager
def _room(of: threading.BoundedSemaphore) -> Iterator[None]:
    """A place, or none: who waits here would keep others from asking. Raises _BusyError."""
    if not of.acquire(blocking=False):
        raise _BusyError
    try:
        yield
    finally:
        of.release()


def _log_in(asked: dict[str, str]) -> dict[str, Any]:
    with _room(_logins):
        ticket, words = login.log_in(
            asked["user"], asked["passphrase"], asked["code"], asked["address"]
        )
    return {"ok": ticket is not None, "ticket": ticket, "words": words}


def _begin(asked: dict[str, Any]) -> dict[str, Any]:
    with _room(_vouched):
        return oidc.begin(asked["binding"], str(asked["then"]))


def _finish(asked: dict[str, Any]) -> dict[str, Any]:
    said = {name: str(asked[name]) for name in ("state", "code", "binding", "issuer")}
    address = str(asked["address"])
    with _room(_vouched):  # before it is used up: who is told to wait can come again
        return oidc.finish(said, address)


def _holds(asked: dict[str, str]) -> dict[str, Any]:
    return {"ok": tickets.holds(asked["user"], asked["ticket"])}


def _open(asked: dict[str, Any]) -> dict[str, Any]:
    if not tickets.holds(asked["user"], asked["ticket"]):
        return {"ok": False, "words": "Log in again."}
    with _room(_starts):
        gates.open_gate(asked["user"], asked["told"])
    return {"ok": True}


def _is_open(asked: dict[str, str]) -> dict[str, Any]:
    return {"ok": gates.is_open(asked["user"])}


def _shut(asked: dict[str, str]) -> dict[str, Any]:
    gates.shut(asked["user"])
    return {"ok": True}


def _leave(asked: dict[str, str]) -> dict[str, Any]:
    door.leave(asked["user"])
    return {"ok": True}


ANSWERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "log in": _log_in,
    "begin": _begin,
    "finish": _finish,
    "holds": _holds,
    "open": _open,
    "is open": _is_open,
    "shut": _shut,
    "leave": _leave,
}
UNNAMED = ("log in", "begin", "finish")
"""What is asked before it is known who somebody is."""


def answer(question: bytes) -> dict[str, Any]:
    """What is answered to a line. Nothing that is asked is ever in it, or in a log.

    With `fault` it says nothing of what was asked: nobody is out for that.
    """
    try:
        asked = json.loads(question)
        user = asked["user"]
        if not isinstance(user, str):
            raise TypeError("user")  # noqa: TRY301
        if asked["ask"] not in UNNAMED and not NAME.fullmatch(user):
            raise ValueError("user")  # noqa: TRY301
        return ANSWERS[asked["ask"]](asked)
    except GuestError as error:
        syslog.syslog(syslog.LOG_ERR, str(error))
        return {"ok": False, "words": str(error)}
    except (_BusyError, OSError) as error:
        syslog.syslog(syslog.LOG_ERR, f"{type(error).__name__}: {error}")
        return {"ok": False, "fault": True, "words": LATER}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        syslog.syslog(syslog.LOG_ERR, f"a question that is none: {type(error).__name__}")
        return {"ok": False, "words": "a question that is none"}


def _asker(connection: socket.socket) -> int:
    """The uid of who is at the other end (struct ucred: pid, uid, gid)."""
    known = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", known)[1])


def serve(connection: socket.socket, allowed: int) -> None:
    """Answer one question of who may ask; nobody else hears anything."""
    with connection, suppress(OSError):
        if _asker(connection) != allowed:
            return
        connection.settimeout(PATIENCE)
        with connection.makefile("rb") as lines:
            question = lines.readline(MOST)
        connection.settimeout(None)  # the workspace of who comes first takes its time
        connection.sendall(json.dumps(answer(question)).encode() + b"\n")


def look() -> None:
    """Shut the gates of those who may not be in any more."""
    for name in gates.opened():
        if not tickets.any_holds(name):
            syslog.syslog(syslog.LOG_AUTHPRIV | syslog.LOG_INFO, f"Web session of {name} ended")
            gates.shut(name)


def _watch() -> NoReturn:
    while True:
        try:
            look()
        except (GuestError, OSError) as error:
            syslog.syslog(syslog.LOG_ERR, f"{type(error).__name__}: {error}")
        time.sleep(LOOK)


def listen(listening: socket.socket, allowed: int) -> NoReturn:
    """Answer for ever, so many at once and no more."""

    def answer_all() -> NoReturn:
        while True:
            try:
                connection, _ = listening.accept()
                serve(connection, allowed)
            # One question's fault is none of the others'; of too many open files it waits.
            except Exception as error:  # noqa: BLE001
                syslog.syslog(syslog.LOG_ERR, f"{type(error).__name__}: {error}")
                time.sleep(1)

    for _ in range(AT_ONCE - 1):
        threading.Thread(target=answer_all, daemon=True).start()
    answer_all()


def main() -> NoReturn:
    """Serve the hub, and look after who is in."""
    os.umask(0o077)
    # As the verifier: what looks for logins and guesses in the journal finds these too.
    syslog.openlog("secondlock-verify", syslog.LOG_PID)
    threading.Thread(target=_watch, daemon=True).start()
    listen(socket.socket(fileno=LISTENING), pwd.getpwnam(places.HUB_USER).pw_uid)
