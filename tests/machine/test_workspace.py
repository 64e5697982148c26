"""The workspace behind the door: what researchers do there, and what they cannot reach."""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import shutil
import socket
import struct
import subprocess
import time
import zipfile
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import paramiko
import pexpect
import pytest
from paramiko.common import cMSG_CHANNEL_REQUEST

from tests.support.client import PATIENCE, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.client import Client, Session
    from tests.support.machine import Machine
    from tests.support.people import Person

MIB = 2**20

# Sends its words by UDP wherever QEMU's user network may take them to the host's loopback.
DATAGRAMS = """
import socket, sys
port, word = int(sys.argv[1]), sys.argv[2].encode()
four = ["10.0.2.2", "10.0.2.4", "10.0.2.77", "10.0.2.255", "255.255.255.255", "224.0.0.1"]
six = ["fec0::2", "fec0::77", "fe80::2", "ff02::1", "ff02::2"]
own = ["127.0.0.1", "127.9.9.9", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1"]
for address in four + six + own:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        if address in own:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        scope = socket.if_nametoindex("eth0")
        place = (address, port, 0, scope) if family == socket.AF_INET6 else (address, port)
        try:
            sender.sendto(word + b" to " + address.encode(), place)
        except OSError:
            pass
"""

TRAIN = """
import tensorflow as tf
print(tf.__version__)
x = tf.random.stateless_normal((64, 4), seed=(1, 2))
y = tf.reduce_sum(x, axis=1, keepdims=True)
model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
model.compile("sgd", "mse")
losses = model.fit(x, y, epochs=3, verbose=0).history["loss"]
print(losses[-1] < losses[0])
"""

SERVER = """
import http.server, os, pathlib
server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
os.chdir("/tmp")
pathlib.Path("greeting").write_text("from the workspace")
pathlib.Path("port.new").write_text(str(server.server_port))
os.rename("port.new", "port")
server.serve_forever()
"""


@pytest.fixture(scope="module")
def person(machine: Machine) -> Person:
    """Whose workspace the tests look at from within."""
    return machine.researcher()


@pytest.fixture(scope="module")
def inside(machine: Machine, person: Person) -> Iterator[Session]:
    """One login with many commands in it: a code is good for only one."""
    with machine.client.session(person) as session:
        assert session.succeed("id -un", timeout=300) == person.name
        yield session


@pytest.mark.timeout(1200, method="signal")
def test_tensorflow_trains_a_model(inside: Session) -> None:
    result = inside.run("python -", stdin=TRAIN.encode(), timeout=900)
    assert (result.exit, result.output.split()) == (0, ["2.9.3", "True"]), result.errors


# Packages of one's own


def _wheel(name: str, version: str, requires: str = "") -> bytes:
    """A package with a module and a command of its name, which print its version."""
    archive = io.BytesIO()
    about = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {
        f"{name}.py": f"__version__ = '{version}'\ndef main(): print(__version__)\n",
        f"{about}/METADATA": metadata + (f"Requires-Dist: {requires}\n" if requires else ""),
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
        f"{about}/RECORD": "",
    }
    with zipfile.ZipFile(archive, "w") as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)
    return archive.getvalue()


@pytest.fixture(scope="module")
def packages(inside: Session) -> None:
    """A folder `packages`: the newest `modern` needs the newest numpy, the one before does not."""
    wheels = (("numpy", "2.0", ""), ("modern", "2.0", "numpy>=2"), ("modern", "1.0", "numpy"))
    for name, version, requires in wheels:
        path = f"packages/{name}-{version}-py3-none-any.whl"
        inside.succeed(f"mkdir -p packages && cat >{path}", stdin=_wheel(name, version, requires))


PIP = 300  # seconds; emulated machines load pip slowly
FROM_FOLDER = "install --quiet --no-index --find-links packages"


@pytest.mark.timeout(900, method="signal")
@pytest.mark.usefixtures("packages")
def test_what_someone_installs_does_not_break_tensorflow(inside: Session) -> None:
    inside.succeed(f"pip {FROM_FOLDER} --user modern", timeout=PIP)
    assert inside.succeed("modern; bash -lc modern").split() == ["1.0", "1.0"]  # by PATH
    refused = inside.run(f"pip {FROM_FOLDER} --user numpy==2.0", timeout=PIP)
    assert refused.exit != 0
    assert "conflicting dependencies" in refused.errors
    assert inside.succeed("python -c 'import numpy; print(numpy.__version__)'").startswith("1.")


@pytest.mark.usefixtures("packages")
def test_a_virtual_environment_takes_what_tensorflow_could_not(inside: Session) -> None:
    inside.succeed("python -m venv --without-pip free")
    inside.succeed(f"pip --python free/bin/python {FROM_FOLDER} modern", timeout=PIP)
    assert inside.succeed("free/bin/modern") == "2.0"


# Commands and data


def test_exit_codes_come_through(inside: Session) -> None:
    assert [inside.run(f"exit {code}").exit for code in (0, 7, 255)] == [0, 7, 255]


def test_signals_that_a_client_sends_reach_the_command(machine: Machine, client: Client) -> None:
    names = ("TERM", "INT", "HUP", "USR1")
    traps = " ".join(f"trap 'echo {name}; exit 9' {name};" for name in names)
    # Bash looks at signals when the command that it waits for has ended.
    command = f"{traps} echo ready; while :; do sleep 0.1; done"
    person = machine.researcher()
    with client.transport(person, machine.host_key.public_openssh) as transport:
        for name in names:
            channel = _started(transport, command)
            _signal(channel, name)
            assert channel.makefile().read() == f"{name}\n".encode()
            assert channel.recv_exit_status() == 9
        _signal(_started(transport, "echo ready; exec sleep 4005"), "KILL")
        machine.wait_for("! pgrep -x -f 'sleep 4005'")


def _started(transport: paramiko.Transport, command: str) -> paramiko.Channel:
    channel = transport.open_session(timeout=PATIENCE)
    channel.settimeout(PATIENCE)
    channel.exec_command(command)
    said = b""
    while said != b"ready\n":
        said += channel.recv(1)
    return channel


def _signal(channel: paramiko.Channel, name: str) -> None:
    """RFC 4254, section 6.9; paramiko itself has no word for it."""
    message = paramiko.Message()
    message.add_byte(cMSG_CHANNEL_REQUEST)
    message.add_int(channel.remote_chanid)
    message.add_string("signal")
    message.add_boolean(False)
    message.add_string(name)
    channel.get_transport()._send_user_message(message)  # type: ignore[attr-defined]


def test_standard_error_stays_apart(inside: Session) -> None:
    result = inside.run("echo out; echo err >&2")
    assert (result.output, result.errors.strip()) == ("out", "err")


def test_a_hundred_megabytes_arrive_as_they_were(inside: Session, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(os.urandom(MIB) * 100)
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    with path.open("rb") as data:
        done = subprocess.run(
            [*inside.argv(), "sha256sum"], stdin=data, capture_output=True, timeout=400
        )
    assert done.stdout.split() == [expected.encode(), b"-"], done.stderr


def test_binary_output_is_not_touched(inside: Session) -> None:
    assert inside.run("cat", stdin=bytes(range(256)) * 3).data == bytes(range(256)) * 3


def test_scp_sftp_and_rsync_carry_files_both_ways(
    inside: Session, client: Client, person: Person, tmp_path: Path
) -> None:
    ours, host = tmp_path / "ours", f"{person.name}@{client.address}"
    ours.write_bytes(os.urandom(100_000))
    options = ["-o", f"ControlPath={inside.control}", *client.options(person.key)]

    def run(*argv: str, stdin: str = "") -> None:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr

    run("scp", *options, str(ours), f"{host}:by-scp")
    run("sftp", *options, "-b", "-", host, stdin=f"put {ours} by-sftp\nget by-scp {tmp_path}/1\n")
    if shutil.which("rsync"):
        shell = " ".join(["ssh", *options])
        run("rsync", "-e", shell, str(ours), f"{host}:by-rsync")
        run("rsync", "-e", shell, f"{host}:by-sftp", str(tmp_path / "2"))
        assert (tmp_path / "2").read_bytes() == ours.read_bytes()
    assert (tmp_path / "1").read_bytes() == ours.read_bytes()


HOSTILE = [
    """echo 'single "double" inside' "double 'single' inside" \\\\ \\' """,
    "echo `echo back`; echo $(echo dollar) && echo 'two  spaces'",
    "printf '%s\\n' one\nprintf two; # a comment\necho three",
    "echo one; echo two & wait; (echo three) | cat; true || false",
    "--help-me",
    "-- ; id",
    "-c id",
    "$(exit 3)",
    'echo "\'"\'"; rm -rf / #\'"\'"',
    "echo ../../etc/passwd {a,b} [x] /et[c] '*' !",
    "printf '\\377\\001'; echo '\udcff\udcfe'",
    "echo " + "x" * 100_000,
    'echo "unterminated',
    "",
]


@pytest.mark.parametrize("command", HOSTILE, ids=range(len(HOSTILE)))
def test_a_command_is_what_bash_would_make_of_it(inside: Session, command: str) -> None:
    if not command:
        # An empty command asks for a login shell (sshd(8)), which ends at the end of its input.
        assert inside.run(command).exit == 0
        return
    here = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60)
    there = inside.run(command)
    assert (there.exit, there.data) == (here.returncode, here.stdout)


def test_commands_leave_nothing_outside_the_workspace(
    machine: Machine, inside: Session, person: Person
) -> None:
    mark = f"escaped-{secrets.token_hex(4)}"
    for command in (f"touch /tmp/{mark}", f"x'; touch /tmp/{mark}; '", f"$(touch /tmp/{mark})"):
        inside.run(command)
    assert inside.succeed(f"ls /tmp/{mark}") == f"/tmp/{mark}"
    machine.fail(f"test -e /tmp/{mark}")
    inside.run("echo x >/usr/local/x; echo x >/etc/x; echo x >/x")
    machine.fail("test -e /usr/local/x -o -e /etc/x -o -e /x")


# Tunnels


@pytest.fixture(scope="module")
def port(inside: Session) -> Iterator[int]:
    """A random port of the workspace, where a web server greets."""
    server = inside.start("python3 -")
    assert server.stdin is not None
    server.stdin.write(SERVER.encode())
    server.stdin.close()
    try:
        yield int(inside.succeed("until cat /tmp/port 2>/dev/null; do sleep 0.2; done"))
    finally:
        server.kill()
        server.wait(30)
        inside.run("pkill python3; rm -f /tmp/port")


def _greeting(connection: socket.socket) -> bytes:
    connection.settimeout(PATIENCE)
    connection.sendall(b"GET /greeting HTTP/1.0\r\n\r\n")
    with connection.makefile("rb") as answer:
        return answer.read().rpartition(b"\r\n")[2]


def test_a_tunnel_reaches_a_port_of_the_workspace(inside: Session, port: int) -> None:
    near = free_port()
    assert inside.forward("-L", f"127.0.0.1:{near}:127.0.0.1:{port}").exit == 0
    with socket.create_connection(("127.0.0.1", near), PATIENCE) as connection:
        assert _greeting(connection) == b"from the workspace"


def test_a_socks_proxy_reaches_a_port_of_the_workspace(inside: Session, port: int) -> None:
    near = free_port()
    assert inside.forward("-D", f"127.0.0.1:{near}").exit == 0
    with socket.create_connection(("127.0.0.1", near), PATIENCE) as connection:
        connection.settimeout(PATIENCE)
        connection.sendall(b"\x05\x01\x00")  # RFC 1928: version 5, one method, no authentication
        assert connection.recv(2) == b"\x05\x00"
        connection.sendall(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + struct.pack(">H", port))
        assert connection.recv(10)[:2] == b"\x05\x00"
        assert _greeting(connection) == b"from the workspace"


def test_a_tunnel_leads_nowhere_else(machine: Machine, inside: Session) -> None:
    def reach(target: str) -> int:
        argv = inside.argv("-W", target)
        return subprocess.run(argv, input=b"", capture_output=True, timeout=PATIENCE).returncode

    # sshd itself would lead on to the machine's own door; the firewall turns away who is inside.
    assert reach("127.0.0.1:22") != 0
    # Nor from a program inside, by whatever name the machine has.
    for address in ("127.0.0.1", *machine.succeed("hostname -I").split()[:1]):
        assert inside.run(f"bash -c '</dev/tcp/{address}/22'", timeout=PATIENCE).exit != 0
    for host, port in (("10.0.2.2", 22), ("169.254.169.254", 80)):
        assert reach(f"{host}:{port}") != 0
        refusal = f"connect to host {host} port {port}, but the request was denied"
        machine.succeed(f"journalctl -t sshd-session --since -5min | grep -F '{refusal}'")


def test_a_tunnel_does_not_reach_dockers_socket(inside: Session, tmp_path: Path) -> None:
    near = tmp_path / "docker.sock"
    inside.forward("-L", f"{near}:/run/docker.sock")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(near))
        with suppress(ConnectionError):
            connection.sendall(b"GET /version HTTP/1.0\r\n\r\n")
            assert connection.recv(100) == b""


def test_another_session_of_the_connection_needs_no_code(inside: Session) -> None:
    batch = ["-o", "BatchMode=yes"]
    assert inside.run("true", *batch).exit == 0


# Terminals


def test_a_terminal_has_its_size_and_passes_ctrl_c(machine: Machine, client: Client) -> None:
    with client.terminal(machine.researcher(), size=(33, 77)) as terminal:
        terminal.sendline("stty size")
        terminal.expect(r"\b33 77\b", timeout=300)
        terminal.setwinsize(40, 100)
        terminal.sendline("sleep 1; stty size")
        terminal.expect(r"\b40 100\b")
        # Said by the process that is to be interrupted: a shell that is only about to start one may
        # start it all the same.
        terminal.sendline("sh -c 'echo ready; exec sleep 1000'")
        terminal.expect(r"[\r\n]ready")
        terminal.sendintr()
        terminal.sendline("echo ended with $?")
        terminal.expect("ended with 130")
        terminal.sendline("exit 5")
        terminal.expect(pexpect.EOF)
        terminal.close()
        assert terminal.exitstatus == 5


def test_a_terminal_newer_than_the_image_has_its_colours_in_tmux_too(
    machine: Machine, client: Client
) -> None:
    said = {"TERM": "xterm-ghostty", "COLORTERM": "truecolor", "LC_CTYPE": "UTF-8"}
    with client.terminal(machine.researcher(), size=(33, 77), env=said) as terminal:
        terminal.sendline("tput colors; locale 2>&1 | grep -c Cannot; echo $COLORTERM")
        terminal.expect("256\r\n0\r\ntruecolor", timeout=300)
        terminal.sendline("tmux")
        terminal.expect("0:bash")
        terminal.sendline("stty size; printf '\\033[38;2;1;2;3mX\\n'")
        terminal.expect("32 77")
        terminal.expect("\033\\[38;2;1;2;3m")


def test_tmux_and_nohup_survive_a_cut_connection_and_nothing_else(
    machine: Machine, client: Client
) -> None:
    person = machine.researcher()
    with client.terminal(person, size=(24, 80)) as terminal:
        terminal.sendline("tmux new-session -d 'sleep 4001'; nohup sleep 4002 >/dev/null 2>&1 &")
        terminal.sendline("echo ready; sleep 4003")
        terminal.expect(r"[\r\n]ready", timeout=300)
        for each in (4001, 4002, 4003):
            machine.wait_for(f"pgrep -x -u {person.name} -f 'sleep {each}'")
    machine.wait_for("! pgrep -x -f 'sleep 4003'")
    machine.succeed("pgrep -x -f 'sleep 4001' && pgrep -x -f 'sleep 4002'")


# Limits


def test_it_has_no_privileges(inside: Session) -> None:
    lines = inside.succeed("cat /proc/self/status").splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert inside.succeed("cat /proc/self/attr/current") == "docker-default (enforce)"


SURFACE = """
import ctypes, os, socket
for name, family, kind in (
    ("AF_ALG", 38, socket.SOCK_SEQPACKET), ("AF_VSOCK", 40, socket.SOCK_STREAM),
    ("AF_PACKET", 17, socket.SOCK_RAW), ("AF_CAN", 29, socket.SOCK_RAW),
    ("AF_XDP", 44, socket.SOCK_RAW), ("AF_RDS", 21, socket.SOCK_SEQPACKET),
    ("AF_TIPC", 30, socket.SOCK_DGRAM), ("AF_BLUETOOTH", 31, socket.SOCK_RAW),
):
    try:
        socket.socket(family, kind).close()
        print(name)
    except OSError:
        pass
system = ctypes.CDLL(None, use_errno=True)
for name, number, arguments in (
    ("unshare", 272, (0x10000000,)), ("keyctl", 250, (0, -4, 0)), ("io_uring", 425, (4, None)),
    ("bpf", 321, (0, None, 0)), ("userfaultfd", 323, (0,)), ("perf_event_open", 298, (None, 0, 0)),
):
    if system.syscall(number, *arguments) >= 0:
        print(name)
print("done")
"""


def test_the_kernel_offers_it_no_more_than_programs_need(inside: Session) -> None:
    result = inside.run("python3 -", stdin=SURFACE.encode())
    assert result.output == "done", result.errors


def test_what_it_writes_through_its_first_process_is_kept_nowhere(
    machine: Machine, inside: Session, person: Person
) -> None:
    before = int(
        machine.succeed("du -s /var/log /var/lib/docker/containers | awk '{n+=$1} END {print n}'")
    )
    inside.run("yes filler | head -c 30000000 >/proc/1/fd/1")
    after = int(
        machine.succeed("du -s /var/log /var/lib/docker/containers | awk '{n+=$1} END {print n}'")
    )
    assert after - before < 10_000


def test_it_is_limited_in_memory_processors_and_processes(inside: Session) -> None:
    limits = inside.succeed("cd /sys/fs/cgroup && cat memory.max memory.swap.max pids.max cpu.max")
    memory, swap, pids, cpu, _ = limits.split()
    total = int(inside.succeed("awk '/MemTotal/ {print $2}' /proc/meminfo")) * 1024
    assert 0 < int(memory) <= total - 500 * MIB
    assert (int(swap), int(pids)) == (0, 1536)
    assert cpu != "max"
    assert inside.succeed("cat /proc/self/cgroup") == "0::/"


def test_the_login_uid_is_kept_for_the_audit(
    machine: Machine, inside: Session, person: Person
) -> None:
    uid = machine.succeed(f"id -u {person.name}").strip()
    assert inside.succeed("cat /proc/self/loginuid") == uid
    assert inside.succeed("id -u") == uid


def test_it_sees_its_own_home_and_nothing_of_the_machine(
    machine: Machine, inside: Session, person: Person
) -> None:
    assert inside.succeed("ls /home") == person.name
    for path in ("/run/docker.sock", "/var/run/docker.sock", "/var/lib/secondlock",
                 "/etc/secondlock", "/run/secondlock/status.json", "/etc/shadow"):  # fmt: skip
        assert inside.run(f"cat {path}; ls {path}/").exit != 0, path
    machine.succeed("test -S /run/docker.sock && test -d /var/lib/secondlock")
    assert inside.run("kill -0 1 2>/dev/null; ps -eo user=").output.split().count("root") == 0


def test_it_does_not_reach_the_host_or_the_metadata_address(
    machine: Machine, inside: Session
) -> None:
    connect = "timeout 10 bash -c '</dev/tcp/{}/{}'"
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        machine.succeed(connect.format("10.0.2.2", port))
        result = inside.run(connect.format("10.0.2.2", port))
    assert "refused" in result.errors
    assert "refused" in inside.run(connect.format("169.254.169.254", 80)).errors


def test_no_datagram_of_its_own_reaches_the_host(machine: Machine, inside: Session) -> None:
    with (
        closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as four,
        closing(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)) as six,
    ):
        four.bind(("127.0.0.1", 0))
        port = four.getsockname()[1]
        six.bind(("::1", port))
        inside.run(f"python3 - {port} workspace", stdin=DATAGRAMS.encode())
        machine.run(f"python3 - {port} root", stdin=DATAGRAMS.encode())
        heard = _heard(four) | _heard(six)
    assert b"root to 255.255.255.255" in heard
    assert not [one for one in heard if not one.startswith(b"root to ")]
    assert inside.run("getent hosts deb.debian.org").exit == machine.run(
        "getent hosts deb.debian.org"
    )[0]  # fmt: skip


def _heard(listener: socket.socket) -> set[bytes]:
    """What came within two seconds of silence."""
    heard: set[bytes] = set()
    listener.settimeout(2)
    with suppress(TimeoutError):
        while True:
            heard.add(listener.recv(100))
    return heard


FILL = {
    "processes": "for i in $(seq 80); do sleep 1000 & done; wait",
    "memory": "python3 -c 'held = bytearray(300 << 20); input()'",
}


@pytest.mark.parametrize("what", FILL)
def test_a_full_workspace_says_so_in_a_sentence_and_can_be_emptied(
    machine: Machine, client: Client, what: str
) -> None:
    person = machine.researcher()
    with client.session(person) as session:
        session.succeed("true", timeout=300)
        limits = "--pids-limit 96 --memory 320m --memory-swap 320m"
        machine.succeed(f"docker update {limits} workspace-{person.name}")
        filler = session.start(FILL[what])
        try:
            deadline = time.monotonic() + PATIENCE
            while (refused := session.run("true")).exit == 0:
                assert time.monotonic() < deadline, "it never got full"
            assert refused.exit == 70
            assert what in refused.errors
            assert "secondlock-stop" in refused.errors
            assert len(refused.errors.splitlines()) == 2, refused.errors
            assert session.run("secondlock-stop").exit == 0
            machine.fail(f"pgrep -u {person.name} -f 'sleep 1000|bytearray'")
            assert session.succeed("id -un", timeout=300) == person.name
        finally:
            filler.kill()
            filler.wait(30)


def test_a_workspace_that_ended_starts_again_at_the_next_login(
    machine: Machine, client: Client
) -> None:
    person = machine.researcher()
    with client.session(person) as session:
        session.succeed("echo kept >file", timeout=300)
        machine.succeed(f"docker kill workspace-{person.name}")
        assert session.succeed("cat file", timeout=300) == "kept"
