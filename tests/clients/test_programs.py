"""Programs that people log in with, and programs that call ssh."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko
import pytest

from tests.clients.conftest import Way, built_by, run
from tests.clients.found import NO, need, note
from tests.support.client import PATIENCE, drive, free_port
from tests.support.project import wait_until
from tools.setup import ensure_uv
from tools.steps import StepError


def test_openssh(by_code: Way, by_certificate: Way, tmp_path: Path) -> None:
    for way, column in ((by_code, "code"), (by_certificate, "certificate")):
        host = way.machine.client.address
        done = drive(["ssh", *way.options, host, "id -un"], [way.code] if way.code else [])
        assert done.output == way.name, done
        note("OpenSSH's ssh", column)
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(os.urandom(100_000))
    way = by_certificate
    host = way.machine.client.address
    run(way, "scp", "-q", *way.options, str(there), f"{host}:there")
    (tmp_path / "batch").write_text(f"get there {back}\n")
    run(way, "sftp", "-q", *way.options, "-b", str(tmp_path / "batch"), host)
    assert back.read_bytes() == there.read_bytes()
    for name in ("OpenSSH's scp", "OpenSSH's sftp"):
        note(name, "certificate")


def test_windows_openssh_which_shares_no_connection_and_asks_its_agent(
    by_certificate: Way, tmp_path: Path
) -> None:
    """What Win32-OpenSSH does otherwise: no ControlMaster, and the key is in the agent alone."""
    way, agent = by_certificate, tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(agent)], stdout=subprocess.DEVNULL) as one:
        try:
            wait_until(agent.exists, "the agent answers")
            own = {**os.environ, "SSH_AUTH_SOCK": str(agent)}
            subprocess.run(["ssh-add", "-q", str(way.key)], env=own, check=True)
            options = [*way.machine.client.options(None), "-o", f"User={way.login}"]
            options = [each for each in options if not each.startswith("Identit")]
            options = ["-o", f"IdentityAgent={agent}", "-o", "BatchMode=yes", *_pairs(options)]
            for _ in range(2):
                done = drive(["ssh", *options, way.machine.client.address, "id -un"])
                assert (done.output, done.prompts) == (way.name, ())
        finally:
            one.terminate()
    note("Windows' OpenSSH (its way)", "certificate")


def _pairs(options: list[str]) -> list[str]:
    """Options without those whose value was taken out."""
    kept: list[str] = []
    for each in options:
        if kept and kept[-1] == "-o" and each == "-o":
            continue
        kept.append(each)
    return kept


def test_putty(by_code: Way, by_certificate: Way, tmp_path: Path) -> None:
    need("plink", "pscp", "psftp", "puttygen")
    client = by_code.machine.client
    public = tmp_path / "host.pub"
    public.write_text(by_code.machine.host_key.public_openssh + "\n")
    listed = subprocess.run(
        ["ssh-keygen", "-lf", str(public)], check=True, capture_output=True, text=True
    )
    host_key = listed.stdout.split()[1]
    for way, column in ((by_code, "code"), (by_certificate, "certificate")):
        key = tmp_path / f"{column}.ppk"
        run(way, "puttygen", str(way.key), "-O", "private", "-o", str(key))
        if way.certificate:
            plain = key.rename(key.with_suffix(".plain"))
            given = ["--certificate", str(way.certificate)]
            run(way, "puttygen", str(plain), *given, "-O", "private", "-o", str(key))
        common = ["-P", str(client.port), "-i", str(key), "-noagent", "-hostkey", host_key]
        batch = [] if way.code else ["-batch"]
        argv = ["plink", "-ssh", *common, *batch, f"{way.login}@{client.address}", "id -un"]
        done = drive(argv, [way.code, ""] if way.code else [], env={"HOME": str(tmp_path)})
        assert done.output == way.name, done
        note("PuTTY's plink", column)
    there = tmp_path / "there"
    there.write_text("from PuTTY\n")
    place = f"{by_certificate.login}@{client.address}"
    run(by_certificate, "pscp", "-q", "-batch", *common, str(there), f"{place}:putty")
    (tmp_path / "batch").write_text(f"get putty {tmp_path / 'back'}\n")
    run(by_certificate, "psftp", "-batch", *common, "-b", str(tmp_path / "batch"), place)
    assert (tmp_path / "back").read_text() == "from PuTTY\n"
    for name in ("PuTTY's pscp", "PuTTY's psftp"):
        note(name, "certificate")


def test_dropbear(by_code: Way, tmp_path: Path) -> None:
    need("dbclient", "dropbearconvert")
    client, key = by_code.machine.client, tmp_path / "key"
    run(by_code, "dropbearconvert", "openssh", "dropbear", str(by_code.key), str(key))
    known_hosts = tmp_path / ".ssh" / "known_hosts"
    known_hosts.parent.mkdir(mode=0o700)
    known_hosts.write_text(f"{client.address} {by_code.machine.host_key.public_openssh}\n")
    argv = ["dbclient", "-i", str(key), "-p", str(client.port), "-l", by_code.login]
    asked = [*argv, client.address, "id -un; exit 7"]
    done = drive(asked, [by_code.code], env={"HOME": str(tmp_path)})
    assert (done.exit, done.output) == (7, by_code.name), done
    note("Dropbear's dbclient", "code")
    note("Dropbear's dbclient", "certificate", NO)


# Programs that call ssh, and editors


@pytest.fixture
def config(by_certificate: Way, tmp_path: Path) -> Path:
    """An ssh_config whose host `lab` is entered by the certificate."""
    way, client = by_certificate, by_certificate.machine.client
    path = tmp_path / "ssh_config"
    path.write_text(
        f"Host lab\n  HostName {client.address}\n  Port {client.port}\n  User {way.login}\n"
        f"  HostKeyAlias {client.alias}\n  UserKnownHostsFile {client.known_hosts}\n"
        f"  StrictHostKeyChecking yes\n  IdentityFile {way.key}\n  IdentitiesOnly yes\n"
        "  IdentityAgent none\n  BatchMode yes\n"
    )
    return path


def _tree(place: Path) -> Path:
    tree = place / "data"
    tree.mkdir()
    for number in range(20):
        (tree / f"{number:02}").write_bytes(os.urandom(5000))
    return tree


def test_rsync(by_certificate: Way, config: Path, tmp_path: Path) -> None:
    need("rsync")
    tree, ssh = _tree(tmp_path), f"ssh -F {config}"
    if "rsync" not in run(by_certificate, "ssh", "-F", str(config), "lab", "command -v rsync || :"):
        note("rsync", "certificate", "where the workspace's image has it")
        pytest.skip("this workspace's image has no rsync")
    run(by_certificate, "rsync", "-a", "-e", ssh, f"{tree}/", "lab:data/")
    run(by_certificate, "rsync", "-a", "-e", ssh, "lab:data/", f"{tmp_path}/back/")
    run(by_certificate, "diff", "-r", str(tree), str(tmp_path / "back"))
    note("rsync", "certificate")


def test_rclone(by_certificate: Way, tmp_path: Path) -> None:
    need("rclone")
    way, tree, known_hosts = by_certificate, _tree(tmp_path), tmp_path / "known_hosts"
    host, port = way.machine.client.address, way.machine.client.port
    known_hosts.write_text(f"[{host}]:{port} {way.machine.host_key.public_openssh}\n")
    options = f"host={host},port={port},user={way.login},key_file={way.key},shell_type=unix,"
    options += f"pubkey_file={way.certificate},known_hosts_file={known_hosts}"
    remote = f":sftp,{options}:cloned"
    run(way, "rclone", "copy", str(tree), remote, timeout=300)
    run(way, "rclone", "check", str(tree), remote, "--download", timeout=300)
    note("rclone", "certificate")


def test_sshfs(by_certificate: Way, config: Path, tmp_path: Path) -> None:
    need("sshfs", "fusermount3")
    if not os.access("/dev/fuse", os.W_OK):
        pytest.skip("/dev/fuse is not for us here")
    place = tmp_path / "mounted"
    place.mkdir()
    run(by_certificate, "sshfs", "-F", str(config), "lab:", str(place))
    try:
        (place / "mounted-here").write_text("through FUSE\n")
        there = run(by_certificate, "ssh", "-F", str(config), "lab", "cat mounted-here")
        assert there == "through FUSE"
    finally:
        subprocess.run(["fusermount3", "-u", str(place)], check=True)
    note("sshfs", "certificate")


def test_git(by_certificate: Way, config: Path, tmp_path: Path) -> None:
    need("git")
    ssh = ("ssh", "-F", str(config), "lab")
    if not run(by_certificate, *ssh, "command -v git || :"):
        note("git", "certificate", "where the workspace's image has it")
        pytest.skip("this workspace's image has no git")
    run(by_certificate, *ssh, "git init -q --bare work.git")
    tree = _tree(tmp_path)
    git = ["git", "-C", str(tree), "-c", f"core.sshCommand=ssh -F {config}"]
    git += ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        run(by_certificate, *git, *words)
    run(by_certificate, *git, "push", "-q", "lab:work.git", "HEAD:refs/heads/main")
    run(by_certificate, *git, "clone", "-q", "-b", "main", "lab:work.git", f"{tmp_path}/cloned")
    assert len(list((tmp_path / "cloned").glob("[0-9]*"))) == 20
    note("git", "certificate")


def test_ansible(by_certificate: Way, config: Path, tmp_path: Path) -> None:
    place = tmp_path / "ansible"
    try:
        uv = ensure_uv("uv")
    except StepError as error:
        pytest.skip(f"no uv: {error}")
    built_by([str(uv), "venv", str(place)], tmp_path, "uv")
    argv = [str(uv), "pip", "install", f"--python={place}", "ansible-core==2.19.14"]
    built_by(argv, tmp_path, "Ansible")
    said = run(
        by_certificate, "env", f"ANSIBLE_SSH_ARGS=-F {config} -o ControlMaster=no",
        "ANSIBLE_NOCOLOR=1", str(place / "bin" / "ansible"), "-i", "lab,", "all", "-m", "ping",
        timeout=400,
    )  # fmt: skip
    assert "lab | SUCCESS" in said
    note("Ansible", "certificate")


@contextmanager
def _serving(way: Way, config: Path, port: int, word: str) -> Iterator[None]:
    """A web server of the workspace's own, on its loopback."""
    script = f"mkdir -p served && echo {word} >served/word && cd served && exec python3 -m "
    argv = ["ssh", "-F", str(config), "lab", f"{script}http.server -b 127.0.0.1 {port}"]
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            ask = f'curl -sf 127.0.0.1:{port}/word || python3 -c "import urllib.request as r; '
            ask += f"print(r.urlopen('http://127.0.0.1:{port}/word').read().decode())\""
            wait_until(
                lambda: subprocess.run(
                    ["ssh", "-F", str(config), "lab", ask], capture_output=True, check=False
                ).stdout.decode().strip() == word,
                "the server answers",
            )  # fmt: skip
            yield
        finally:
            server.terminate()


def test_vs_code_remote_connects_its_way(by_certificate: Way, config: Path) -> None:
    """As its extension does: a shell that reads a script, and a SOCKS tunnel beside it."""
    port, socks = 18765, free_port()
    with _serving(by_certificate, config, port, "from-the-workspace"):
        argv = ["ssh", "-T", "-D", f"127.0.0.1:{socks}", "-F", str(config), "-o"]
        argv += ["ConnectTimeout=60", "lab", "bash"]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell:
            assert shell.stdin is not None
            assert shell.stdout is not None
            try:
                shell.stdin.write(b'echo "start $(uname -s) $(id -un)"; mkdir -p .vscode-server\n')
                shell.stdin.flush()
                said = shell.stdout.readline().decode().split()
                assert said == ["start", "Linux", by_certificate.name]
                assert "from-the-workspace" in _through(socks, port)
            finally:
                shell.terminate()
    note("VS Code Remote - SSH (its way)", "certificate")


def _through(socks: int, port: int) -> str:
    """What a server answers to whom it sees through a SOCKS proxy (RFC 1928)."""
    with socket.create_connection(("127.0.0.1", socks), timeout=60) as proxy:
        proxy.sendall(b"\5\1\0")
        assert proxy.recv(2) == b"\5\0"
        proxy.sendall(b"\5\1\0\1\x7f\0\0\1" + port.to_bytes(2, "big"))
        assert proxy.recv(10)[:2] == b"\5\0"
        proxy.sendall(b"GET /word HTTP/1.0\r\n\r\n")
        answer = b""
        while more := proxy.recv(65536):
            answer += more
    return answer.decode()


def test_jetbrains_gateway_connects_its_way(by_certificate: Way, config: Path) -> None:
    """As its own library does: many channels and a tunnel in one connection, and SFTP beside."""
    way, port = by_certificate, 18766
    key = paramiko.Ed25519Key.from_private_key_file(str(way.key))
    key.load_certificate(str(way.certificate))
    client = way.machine.client
    with (
        _serving(way, config, port, "from-the-backend"),
        paramiko.Transport((client.address, client.port)) as transport,
    ):
        transport.banner_timeout = transport.auth_timeout = PATIENCE
        transport.connect(username=way.login, pkey=key)
        for _ in range(3):
            with transport.open_session(timeout=PATIENCE) as channel:
                channel.exec_command("uname -sm")
                assert channel.makefile().read().split()[0] == b"Linux"
        with paramiko.SFTPClient.from_transport(transport) as sftp:  # type: ignore[union-attr]
            with sftp.open("backend.sh", "w") as file:
                file.write("#!/bin/sh\n")
            sftp.chmod("backend.sh", 0o755)
        here = ("127.0.0.1", 0)
        with transport.open_channel("direct-tcpip", ("127.0.0.1", port), here) as tunnel:
            tunnel.sendall(b"GET /word HTTP/1.0\r\n\r\n")
            assert b"from-the-backend" in tunnel.makefile().read()
    note("JetBrains Gateway (its way)", "certificate")


def test_mosh_is_refused_with_a_sentence(by_certificate: Way, config: Path) -> None:
    argv = ["ssh", "-F", str(config), "lab", "mosh-server new -s -c 256 -l LANG=C.UTF-8"]
    done = drive(argv)
    assert done.exit != 0
    assert "mosh needs UDP ports, which this machine keeps shut" in done.errors
    note("mosh", "code", NO)
    note("mosh", "certificate", NO)
