"""A shared machine: each workspace in a network of its own, reached by its owner's tunnels."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.support.client import free_port
from tests.support.shared import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.client import Session
    from tests.support.shared import SharedMachine

# Answers with its owner's name, on the loopback alone.
SERVER = """
import getpass, http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(getpass.getuser().encode())
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
PORT = 6006
# Tells everyone who calls from where they seem to come.
WORLD = """
import socket
with socket.create_server(("", 80)) as server:
    while True:
        caller, (address, _) = server.accept()
        caller.sendall(address.encode())
        caller.close()
"""


@pytest.fixture(scope="module")
def pair(shared: SharedMachine) -> Iterator[tuple[Session, Session]]:
    """Two people, each logged in, each with a server on the same port of their own loopback."""
    first, second = shared.researcher(), shared.researcher()
    client = shared.client
    with client.session(first) as one, client.session(second) as other:
        for person, session in ((first, one), (second, other)):
            assert session.succeed("id -un", timeout=300) == person.name
            session.succeed(f"cat >server.py && (nohup python3 server.py {PORT} >/dev/null 2>&1 &)",
                            stdin=SERVER.encode())  # fmt: skip
            until(partial(answer, session, f"localhost:{PORT}"), "the server answers")
        yield one, other


def answer(session: Session, where: str) -> str:
    """What a server says through a tunnel (`ssh -W`)."""
    asked = subprocess.run(
        [*session.argv("-W", where)], input=b"GET / HTTP/1.0\r\n\r\n", capture_output=True,
        timeout=60,
    )  # fmt: skip
    return asked.stdout.decode().rpartition("\r\n\r\n")[2]


def test_a_tunnel_ends_in_its_owners_workspace(
    shared: SharedMachine, pair: tuple[Session, Session]
) -> None:
    names = [session.succeed("id -un") for session in pair]
    assert [answer(each, f"localhost:{PORT}") for each in pair] == names
    assert [answer(each, f"127.0.0.1:{PORT}") for each in pair] == names
    # Root of the machine does not meet them there.
    shared.fail(f"bash -c '</dev/tcp/127.0.0.1/{PORT}'")
    for kind, make in (("-L", "127.0.0.1:{}:localhost:6006"), ("-D", "127.0.0.1:{}")):
        port = free_port()
        assert pair[0].forward(kind, make.format(port)).exit == 0
        with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
            if kind == "-D":
                connection.sendall(b"\5\1\0")
                assert connection.recv(2) == b"\5\0"
                connection.sendall(b"\5\1\0\3\x09localhost" + PORT.to_bytes(2, "big"))
                assert connection.recv(10)[1] == 0
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            connection.settimeout(30)
            assert names[0].encode() in b"".join(iter(lambda: connection.recv(4096), b""))


def test_jupyter_is_its_owners(pair: tuple[Session, Session]) -> None:
    session, _ = pair
    token = session.succeed(
        "secondlock-jupyter >/tmp/address & until grep -q token= /tmp/address; do sleep 0.2;"
        " done; kill $!; sed -n 's/.*token=//p' /tmp/address"
    )
    port = free_port()
    assert session.forward("-L", f"127.0.0.1:{port}:localhost:8888").exit == 0
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/api?token={token}", timeout=280) as answered:
        assert answered.status == 200


def test_a_workspace_reaches_the_world_by_the_machines_address(
    shared: SharedMachine, pair: tuple[Session, Session]
) -> None:
    shared.succeed(
        "ip netns add world && ip link add world0 type veth peer name world1 netns world"
        " && ip addr add 203.0.113.1/24 dev world0 && ip link set world0 up"
        " && ip -n world addr add 203.0.113.2/24 dev world1 && ip -n world link set world1 up"
        " && systemd-run --unit=world --property=NetworkNamespacePath=/run/netns/world"
        f" python3 -c '{WORLD}'"
    )
    try:
        hello = "import socket; print(socket.create_connection(('203.0.113.2', 80), 10).recv(99))"
        assert "203.0.113.1" in pair[0].succeed(f'python3 -c "{hello}"')
    finally:
        shared.run("systemctl stop world; ip netns del world")


def test_names_are_resolved_by_the_machines_own_servers(pair: tuple[Session, Session]) -> None:
    servers = pair[0].succeed("cat /etc/resolv.conf")
    assert "nameserver 127." not in servers
    assert "nameserver" in servers


def test_a_workspace_that_starts_again_has_its_network_again(
    shared: SharedMachine, pair: tuple[Session, Session]
) -> None:
    one, _ = pair
    name = one.succeed("id -un")
    shared.succeed(f"docker restart --time 0 workspace-{name}", timeout=180)
    assert one.succeed("id -un", timeout=120) == name
    one.succeed(f"(nohup python3 server.py {PORT} >/dev/null 2>&1 &)")
    until(lambda: answer(one, f"localhost:{PORT}") == name, "the server answers again")


def test_a_tunnel_to_a_workspace_that_does_not_run_leads_nowhere(shared: SharedMachine) -> None:
    """It neither waits for long nor leaves the machine."""
    with shared.client.session(shared.researcher()) as session:
        before = time.monotonic()
        assert answer(session, f"localhost:{PORT}") == ""
        assert time.monotonic() - before < 30
