"""The port of Jupyter: what a researcher may put behind it, and what it says of none."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.support.client import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.client import Session
    from tests.support.machine import Machine
    from tests.support.people import Person

AT_ONCE = 90  # seconds; an emulated machine needs some twenty for Python to load Jupyter

# In the workspace: a socket where Jupyter's is to be, that greets; then links in its place.
TALK = r"""
import os, socket, sys, threading
PLACE = "/run/secondlock/jupyter.sock"

def greet():
    while True:
        connection, _ = server.accept()
        with connection:
            try:
                if connection.recv(100):
                    connection.sendall(b"from the workspace")
            except OSError:
                pass  # the machine only looked whether anything listens

def talk(words, patience=15):
    with socket.create_connection(("127.0.0.1", 8888), 60) as port:
        port.settimeout(patience)
        said = b""
        try:
            port.sendall(words)
            while more := port.recv(4096):
                said += more
        except socket.timeout:
            return b"someone listens"
        except OSError:
            pass
        return said

server = socket.socket(socket.AF_UNIX)
server.bind(PLACE)
server.listen()
threading.Thread(target=greet, daemon=True).start()
assert talk(b"hello", 180) == b"from the workspace", "not led on"
auth = b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n"
get = b"GET /version HTTP/1.0\r\n\r\n"
forged = b"sshd-session\n\n6\n0\n0\n0\n0\nAccepted publickey for trudy from 6.6.6.6 port 1 ssh2\n"
varlink = b'{"method":"org.varlink.service.GetInfo","parameters":{}}\0'
for target, words in (
    ("/run/dbus/system_bus_socket", auth),
    ("/run/systemd/journal/stdout", forged),
    ("/run/systemd/resolve/io.systemd.Resolve", varlink),
    ("/run/systemd/userdb/io.systemd.DynamicUser", varlink),
    ("/run/docker.sock", get),
):
    for prefix in ("", "../..", "/proc/1/root", "/proc/self/root"):
        os.unlink(PLACE)
        os.symlink(prefix + target, PLACE)
        print(prefix + target, talk(words))
"""


@pytest.fixture(scope="module")
def owner(machine: Machine) -> Iterator[tuple[Person, Session]]:
    """Someone whose port 8888 it is, in their workspace."""
    person = machine.researcher()
    with machine.client.session(person) as session:
        assert session.succeed("id -un", timeout=300) == person.name
        machine.succeed(f"systemctl start secondlock-jupyter-proxy@{person.name}.socket")
        yield person, session
        machine.succeed(f"systemctl stop secondlock-jupyter-proxy@{person.name}.socket")


def test_it_leads_to_no_socket_of_the_machines(
    machine: Machine, owner: tuple[Person, Session]
) -> None:
    person, session = owner
    machine.succeed(f"systemctl mask secondlock-jupyter@{person.name}.service")
    try:
        said = session.run("python3 -", stdin=TALK.encode(), timeout=300)
    finally:
        machine.succeed(f"systemctl unmask secondlock-jupyter@{person.name}.service")
        machine.succeed(f"systemctl stop secondlock-jupyter-proxy@{person.name}.service")
    lines = said.output.splitlines()
    assert (said.exit, len(lines)) == (0, 20), said.errors
    assert [line for line in lines if not line.endswith(" b''")] == []
    machine.fail("journalctl -t sshd-session -t sshd --since -10min | grep trudy")


def test_what_it_says_is_in_no_log_of_the_machines(
    machine: Machine, owner: tuple[Person, Session]
) -> None:
    person, session = owner
    # Programs of one's own come first on one's PATH.
    session.succeed("mkdir -p ~/.local/bin && rm -rf ~/.local/share/secondlock")
    flood = "#!/bin/sh\nyes flooded | head -c 50M\nyes flooded | head -c 50M >&2\nexit 1\n"
    session.run("cat >~/.local/bin/jupyter", stdin=flood.encode())
    session.succeed("chmod +x ~/.local/bin/jupyter")
    try:
        said = _refused(session)
    finally:
        session.succeed("rm ~/.local/bin/jupyter /run/secondlock/jupyter.log")
    assert b"flooded" in said
    assert len(said) < 64 << 10
    machine.succeed("journalctl --sync")
    machine.fail("journalctl -b -o cat | grep -qx flooded")
    unit = f"secondlock-jupyter@{person.name}.service"
    assert len(machine.succeed(f"journalctl -b -o cat -u {unit}").splitlines()) < 40


def test_a_jupyter_that_fails_at_once_is_told_at_once(
    machine: Machine, owner: tuple[Person, Session]
) -> None:
    _, session = owner
    session.succeed("mkdir -p ~/.local/share; rm -rf ~/.local/share/secondlock")
    session.succeed("touch ~/.local/share/secondlock")  # where its folder is to be
    for _ in range(2):
        started = time.monotonic()
        assert b"mkdir" in _refused(session)
        assert time.monotonic() - started < AT_ONCE
    machine.succeed("systemctl reset-failed 'secondlock-jupyter@*'")


def _refused(session: Session) -> bytes:
    """What a visitor of the port is told in place of a Jupyter."""
    near = free_port()
    assert session.forward("-L", f"127.0.0.1:{near}:127.0.0.1:8888").exit == 0
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with pytest.raises(urllib.error.HTTPError) as refused:
        opener.open(f"http://127.0.0.1:{near}/", timeout=300)
    assert refused.value.code == 503
    said = refused.value.read()
    assert b"Jupyter did not start" in said
    return said
