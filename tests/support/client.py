"""Stock SSH clients, used as people use them: prompts on a terminal, data on its own streams."""

from __future__ import annotations

import base64
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import paramiko
import pexpect

if TYPE_CHECKING:
    from tests.support.people import Person

PATIENCE = 90  # seconds; an emulated machine answers in two
PROMPT = r"[^\r\n]*(?:code|[Pp]assword): ?"
DENIED = 255  # ssh(1), EXIT STATUS

Answer = str | Callable[[], str]


@dataclass(frozen=True)
class Result:
    """How a client ended: exit code, standard output and error, and what it was asked."""

    exit: int
    data: bytes
    errors: str
    prompts: tuple[str, ...] = ()

    @property
    def output(self) -> str:
        """Standard output as text, without the last line's end."""
        return self.data.decode(errors="replace").rstrip("\n")

    @property
    def entered(self) -> bool:
        """Whether a login without a command got through the door."""
        return "stdio forwarding failed" in self.errors

    @property
    def denied(self) -> bool:
        """Whether the machine let nobody in."""
        return self.exit == DENIED and "Permission denied" in self.errors


def drive(
    argv: Sequence[str],
    answers: Sequence[Answer] = (),
    *,
    stdin: Path | None = None,
    timeout: float = PATIENCE,
    env: dict[str, str] | None = None,
) -> Result:
    """Run a client on a terminal of its own and answer its questions in turn.

    An answer that is a function is asked when its question comes. A question too many is answered
    by an empty line. Standard input and output are files, so that the terminal holds only prompts.
    """
    with tempfile.TemporaryDirectory(prefix="secondlock-") as place:
        out, err = Path(place, "out"), Path(place, "err")
        # Not `exec`: the shell keeps the terminal open until the client wants it.
        script = '"$@" <"$0" >"${OUT}" 2>"${ERR}"; exit $?'
        child = pexpect.spawn(
            "/bin/sh",
            ["-c", f"OUT={out} ERR={err}; {script}", str(stdin or "/dev/null"), *argv],
            timeout=timeout,
            encoding="utf-8",
            env={**_environment(), **(env or {})},
        )
        try:
            prompts = _answer(child, list(answers))
        finally:
            child.close(force=True)
        status = 128 + child.signalstatus if child.signalstatus else child.exitstatus
        assert status is not None
        return Result(status, out.read_bytes(), err.read_text(errors="replace"), tuple(prompts))


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        return int(probe.getsockname()[1])


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "TERM": "xterm"}


def _answer(child: Any, answers: list[Answer]) -> list[str]:
    prompts: list[str] = []
    while child.expect([PROMPT, pexpect.EOF]) == 0:
        prompts.append(child.after.strip())
        answer = answers.pop(0) if answers else ""
        child.sendline(answer if isinstance(answer, str) else answer())
    return prompts


class Client:
    """OpenSSH's client towards one machine: its host key is pinned, nothing else is asked."""

    def __init__(
        self,
        address: str,
        port: int,
        known_hosts: Path,
        alias: str,
        prefix: tuple[str, ...] = (),
    ) -> None:
        self.address, self.port = address, port
        self.known_hosts, self.alias, self.prefix = known_hosts, alias, prefix

    def options(self, key: Path | None) -> list[str]:
        """What ssh, scp and sftp have in common; the first value of an option wins."""
        values = {
            "Port": self.port,
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": self.known_hosts,
            "GlobalKnownHostsFile": "/dev/null",
            "HostKeyAlias": self.alias,
            "ControlMaster": "no",
            "ControlPath": "none",
            "NumberOfPasswordPrompts": 1,
            "ConnectTimeout": 60,
        }
        argv = ["-F", "none"]
        for name, value in values.items():
            argv += ["-o", f"{name}={value}"]
        return [*argv, *(["-i", str(key)] if key else [])]

    def argv(self, person: Person, *options: str, key: Path | None = None) -> list[str]:
        """The command line of ssh up to the host, without a command."""
        key = key or (None if person.enrollment.entry.get("password") else person.key)
        host = f"{person.name}@{self.address}"
        return [*self.prefix, "ssh", *options, *self.options(key), host]

    def login(
        self,
        person: Person,
        command: str | None = None,
        *,
        code: Answer | None = None,
        key: Path | None = None,
        answers: Sequence[Answer] | None = None,
        options: Sequence[str] = (),
        timeout: float = PATIENCE,
    ) -> Result:
        """One connection of its own, with the person's factors or with those given.

        Without a `command` it only shows that the door opens, and no workspace is started: the
        connection asks for a way on to the machine's own sshd, which nobody has from inside.
        """
        if answers is None:
            answers = [person.code if code is None else code]
            if person.enrollment.entry.get("password"):
                answers = [person.password, *answers]
        if command is None:
            options = ["-W", "127.0.0.1:22", *options]
        argv = self.argv(person, *options, key=key)
        return drive([*argv, *([command] if command else [])], answers, timeout=timeout)

    @contextmanager
    def terminal(
        self,
        person: Person,
        *command: str,
        code: Answer | None = None,
        size: tuple[int, int],
        env: Mapping[str, str] = MappingProxyType({}),
    ) -> Iterator[Any]:
        """A session on a terminal of `size` (rows, columns), past its code: pexpect's child.

        `env` is what the terminal says of itself, and is sent.
        """
        sent = ["-o", f"SendEnv={' '.join(env)}"] if env else []
        argv = [*self.argv(person, "-tt", *sent), *command]
        child = pexpect.spawn(
            argv[0], argv[1:], timeout=PATIENCE, encoding="utf-8", dimensions=size,
            env=_environment() | dict(env),
        )  # fmt: skip
        try:
            child.expect(PROMPT)
            answer = person.code if code is None else code
            child.sendline(answer if isinstance(answer, str) else answer())
            yield child
        finally:
            child.close(force=True)

    @contextmanager
    def transport(self, person: Person, host_key: str) -> Iterator[paramiko.Transport]:
        """A connection of paramiko's, logged in; `host_key` in OpenSSH's public form."""
        known = paramiko.Ed25519Key(data=base64.b64decode(host_key.split()[1]))
        with paramiko.Transport((self.address, self.port)) as transport:
            transport.banner_timeout = transport.auth_timeout = PATIENCE
            transport.connect(hostkey=known)
            key = paramiko.Ed25519Key.from_private_key_file(str(person.key))
            assert transport.auth_publickey(person.name, key) == ["keyboard-interactive"]
            transport.auth_interactive(person.name, lambda *asked: [person.code()] * len(asked[2]))
            yield transport

    @contextmanager
    def session(
        self, person: Person, *options: str, code: Answer | None = None
    ) -> Iterator[Session]:
        """One login that many commands share (ssh_config(5), ControlMaster)."""
        place = Path(tempfile.mkdtemp(prefix="secondlock-"))
        control = place / "control"
        argv = self.argv(person, "-M", "-S", str(control), "-N", *options)
        master = pexpect.spawn(argv[0], argv[1:], timeout=PATIENCE, encoding="utf-8",
                               env=_environment())  # fmt: skip
        try:
            master.expect(PROMPT)
            answer = person.code if code is None else code
            master.sendline(answer if isinstance(answer, str) else answer())
            session = Session(self, person, control, master)
            session.wait_open()
            yield session
        finally:
            master.close(force=True)
            shutil.rmtree(place, ignore_errors=True)


class Session:
    """An open connection; commands in it need no code."""

    def __init__(self, client: Client, person: Person, control: Path, master: Any) -> None:
        self._client, self._person = client, person
        self.control, self.master = control, master

    def argv(self, *options: str) -> list[str]:
        """The command line of an ssh that uses this connection, up to the host."""
        own = ["-S", str(self.control), "-o", f"ControlPath={self.control}", *options]
        return self._client.argv(self._person, *own)

    def wait_open(self) -> None:
        """Wait until the connection takes commands. Raises AssertionError when it was refused."""
        deadline = time.monotonic() + PATIENCE
        while not self.is_open():
            assert self.master.isalive(), f"login of {self._person.name} refused"
            assert time.monotonic() < deadline, "the connection did not open"
            time.sleep(0.2)

    def is_open(self) -> bool:
        """Whether the client still holds the connection."""
        if not self.control.exists():
            return False
        return subprocess.run(
            self.argv("-O", "check"), capture_output=True, timeout=30
        ).returncode == 0  # fmt: skip

    def wait_closed(self, timeout: float = 60.0) -> None:
        """Wait until the machine has ended the connection."""
        self.master.expect(pexpect.EOF, timeout=timeout)

    def run(
        self, command: str, *options: str, stdin: bytes = b"", timeout: float = PATIENCE
    ) -> Result:
        """Run a command and wait for its end; ssh looks for its own options up to `--`."""
        argv = [*self.argv(*options), "--", command]
        done = subprocess.run(argv, input=stdin, capture_output=True, timeout=timeout)
        return Result(done.returncode, done.stdout, done.stderr.decode(errors="replace"))

    def succeed(self, command: str, *, stdin: bytes = b"", timeout: float = PATIENCE) -> str:
        """The output of a command that has to work."""
        result = self.run(command, stdin=stdin, timeout=timeout)
        assert result.exit == 0, f"{command}: {result.exit}\n{result.output}\n{result.errors}"
        return result.output

    def start(self, *argv: str) -> subprocess.Popen[bytes]:
        """Start a command and do not wait; the caller ends it."""
        return subprocess.Popen(
            [*self.argv(), *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip

    def keep_asking(self, command: str) -> subprocess.Popen[bytes]:
        """Ask for a command again and again for as long as the connection takes any."""
        loop = 'while "$@"; do :; done'
        return subprocess.Popen(
            ["sh", "-c", loop, "loop", *self.argv(), command],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def forward(self, kind: str, what: str) -> Result:
        """Ask for a tunnel (`-L`, `-R` or `-D`) in the open connection."""
        done = subprocess.run(
            self.argv("-O", "forward", kind, what), capture_output=True, timeout=30
        )
        return Result(done.returncode, done.stdout, done.stderr.decode(errors="replace"))
