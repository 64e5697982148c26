"""Jupyter in a researcher's workspace; systemd starts this when port 8888 is first used.

Docker runs it there, and this process stays as long as it does: systemd is told when it listens,
and that it failed as soon as it ends.
"""

import os
import pwd
import select
import socket
import sys
import time
from pathlib import Path

from guest import paths
from guest.system import GuestError
from guest.workspace import containers, docker

SOCKET = "jupyter.sock"
PATIENCE = 280  # seconds; emulated machines load Python slowly
LOOK = 0.3  # seconds between two looks for its socket


def _mark(place: Path) -> tuple[int, int] | None:
    """Which socket is there; a link or file in its place is none, and is not followed."""
    try:
        found = place.lstat()
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns


def _tell_systemd(words: str) -> None:
    """sd_notify(3)."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.sendto(words.encode(), address.replace("@", "\0", 1))


def _start(account: pwd.struct_passwd) -> socket.socket:
    """Have Docker start it: a connection that stays open until it ends."""
    environment = {
        "HOME": account.pw_dir,
        "USER": account.pw_name,
        "LANG": "C.UTF-8",
        "PATH": containers.search_path(account),
    }
    body = {
        "AttachStdout": True,
        "AttachStderr": True,
        "User": f"{account.pw_uid}:{account.pw_gid}",
        "WorkingDir": account.pw_dir,
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Cmd": [f"{containers.TOOLS}/secondlock-jupyter", "serve"],
    }
    made = docker.call("POST", f"/containers/{containers.ensure(account)}/exec", body)
    return docker.follow(f"/exec/{made['Id']}/start", {"Detach": False, "Tty": False})


def _has_ended(connection: socket.socket) -> bool:
    """Whether it has within a moment. Its words are its owner's: they have them in a file."""
    if not select.select([connection], [], [], LOOK)[0]:
        return False
    return not connection.recv(65536)


def main() -> int:
    """`jupyter USER` runs it until it ends."""
    account = pwd.getpwnam(sys.argv[1])
    place = paths.SOCKETS / account.pw_name / SOCKET
    before, deadline = _mark(place), time.monotonic() + PATIENCE
    try:
        connection = _start(account)
    except GuestError as error:
        print(f"Jupyter cannot be started: {error}", file=sys.stderr)
        return 1
    while _mark(place) in (before, None):
        if _has_ended(connection):
            print("Jupyter ended before it listened", file=sys.stderr)
            return 1
        if time.monotonic() > deadline:
            print(f"Jupyter did not listen within {PATIENCE} s", file=sys.stderr)
            return 1
    _tell_systemd("READY=1")
    while not _has_ended(connection):
        pass
    return 0
