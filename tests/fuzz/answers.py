"""What other programs answer, or left in a file: engine, machines, registries, an earlier run."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from contextlib import ExitStack, suppress
from email.message import Message
from pathlib import Path
from unittest.mock import patch

from cli import engine, reports, ssh_config
from cli.aws import registry
from cli.project import Stack
from infra import ssh_file
from infra.aws import client
from infra.aws.plugin import Pins, install
from infra.local import agent, clock, qemu
from infra.local.qmp import Channel
from infra.model.problems import ProblemsError, RefusedError
from infra.model.text import first_hidden
from infra.record import Record
from tests.fuzz.target import Target, encoded, told
from tests.support.documents import STATUS, outputs

DEEP = "[" * 100_000
_MACHINE = engine.Machine.model_validate(outputs(Path("/nowhere"))["alice"])


def _status(data: bytes, place: Path) -> None:
    try:
        said = reports.read_status(data)
    except ValueError as error:
        told(error)
        return
    assert all(first_hidden(name) is None for name in said.researchers)
    json.dumps(said.model_dump(), allow_nan=False)
    words = ("up", "roster", "clock", "gpu", "door", "web", "certificate", "docker")
    mends = reports.Mends(*words, reports.BANNED)
    with patch.object(reports, "newest", lambda _: "0a" * 32):
        found = reports.guest_problems(Stack("lab", place), "alice", _MACHINE, said, mends)
    told(ProblemsError(found))


def _engine(data: bytes, place: Path) -> None:
    """What `pulumi` prints, where it is something else than outputs."""
    stack = Stack("lab", place)
    with patch.object(engine, "_run", lambda *_, **__: data.decode("utf-8", "replace")):
        for ask in (engine.stacks, engine.config_values, engine.state):
            try:
                said = ask(stack)
            except ProblemsError as error:
                told(error)
                continue
            for one in said.resources if isinstance(said, engine.State) else ():
                with suppress(ProblemsError):
                    Record.parse(str(one.inputs.get("input", "")))


def _ssh_files(data: bytes, place: Path) -> None:
    """What `ssh-config` wrote once, and somebody changed."""
    stack = Stack("lab", place)
    stack.state.mkdir(parents=True, exist_ok=True)
    for name in ("ssh_config", "known_hosts"):
        (stack.state / name).write_bytes(data)
    told(ProblemsError(ssh_config.outdated(stack, {"alice": _MACHINE})))
    ssh_file.misleading(stack.state, "lab", {"alice": _MACHINE.model_dump()})


def _lock(data: bytes, place: Path) -> None:
    file = place / ".pulumi" / "locks" / "organization" / "secondlock" / "lab" / "a.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    (found,) = engine.locks(place, "lab")
    told(RefusedError(f"{found} holds the stack"))


def _aws_settings(data: bytes, place: Path) -> None:
    """What a stack's settings say of its credentials, as far as no service is asked."""
    (place / "stacks").mkdir(exist_ok=True)
    (place / "stacks" / "Pulumi.lab.yaml").write_bytes(data)
    try:
        values = Stack("lab", place).values()
    except ProblemsError as error:
        told(error)
        return
    with suppress(OSError, ValueError):  # which cli.aws.session explains
        client._endpoints(values.get)
        for _, role in client._roles(values.get):
            client._wanted(role)


def _agent(data: bytes, place: Path) -> None:
    """A guest agent in other hands."""
    asked = agent.GuestAgent(place)
    with ExitStack() as open_ones:

        def connect(channel: Channel, *_: object) -> None:
            channel._socket.close()
            channel._socket, other = socket.socketpair()
            open_ones.enter_context(other)
            other.sendall(data)
            other.shutdown(socket.SHUT_WR)

        open_ones.enter_context(patch.object(Channel, "_connect", connect))
        open_ones.enter_context(patch("secrets.randbelow", lambda _: 7))
        open_ones.enter_context(patch("time.sleep", lambda _: None))
        asked.ping()
        for ask in (lambda: asked.run(["x"]), lambda: clock.offset(asked)):
            try:
                ask()
            except agent.AgentError as error:
                told(error)


def _spec(data: bytes, place: Path) -> None:
    (place / "machine.json").write_bytes(data)
    with suppress(qemu.MachineError):
        assert qemu.load_spec(place).kernel.parent


def _registry(data: bytes, place: Path) -> None:
    """A registry's challenge, and in all else what follows it."""
    challenge, _, body = data.partition(b"\n")
    headers = Message()
    headers["WWW-Authenticate"] = challenge.decode("latin-1").replace("\r", "")

    def get(address: str, wanted: dict[str, str]) -> bytes:
        urllib.request.Request(address, headers=wanted)  # noqa: S310 - nothing is opened
        if "Authorization" not in wanted and "/manifests/" in address:
            raise urllib.error.HTTPError(address, 401, "", headers, None)
        return body

    with patch.object(registry, "_get", get):
        try:
            found = registry.look_up("tensorflow/tensorflow:2")
        except RefusedError as error:
            told(error)
            return
    float(found.compressed_bytes or 0)


def _pins(data: bytes, place: Path) -> None:
    (place / "stacks").mkdir(exist_ok=True)
    (place / "stacks" / "plugins.sha256").write_bytes(data)
    try:
        pins = Pins(place)
    except ProblemsError as error:
        told(error)
        return
    assert first_hidden(install(pins)) is None


_RECORD = json.dumps({"people": {"alice": ["0a" * 16, "alice"]}, "data": {}, "retired": {}})
_STATE = {
    "version": 3,
    "deployment": {
        "resources": [
            {
                "urn": "urn:pulumi:lab::secondlock::pulumi:index:Stash::people",
                "id": "a",
                "inputs": {"input": _RECORD},
            }
        ],
        "pending_operations": None,
    },
}
_STACKS = [{"name": "organization/secondlock/lab", "current": True}, {"name": "demo"}]
_CONFIG = {"secondlock:zones": {"value": "a", "secret": False}, "aws:token": {"secret": True}}
_LOCK = {"pid": 1, "username": "lab", "hostname": "here", "timestamp": "2026-11-22T16:00:00Z"}
_PROVIDER = (
    "config:\n  aws:profile: lab\n  aws:endpoints:\n    - {ec2: 'http://here', sts: ''}\n"
    "  aws:sharedConfigFiles: [~/.aws/config]\n  aws:assumeRoleWithWebIdentity:\n"
    "    roleArn: arn:aws:iam::123456789012:role/a\n    webIdentityTokenFile: ~/token\n"
    "  aws:assumeRoles:\n    - roleArn: arn:aws:iam::123456789012:role/a\n      duration: 1h30m\n"
    "      policyArns: [arn:aws:iam::aws:policy/ReadOnlyAccess]\n      tags: {lab: gpu}\n"
)
_SYNCHRONISED = b'\xff{"return": 7}\n'
_RAN = (
    b'{"return": {"pid": 3}}\n{"return": {"exited": false}}\n'
    b'{"return": {"exited": true, "exitcode": 0, "out-data": "YQ==", "err-data": ""}}\n'
)
_SPEC = {
    **{name: f"/nowhere/{name}" for name in ("data_directory", "kernel", "initrd")},
    "name": "alice",
    "cpus": 2,
    "ssh_port": 20022,
    "launcher": ["ip"],
}
_CHALLENGE = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io"\n'
_MANIFEST = {"token": "x", "layers": [{"size": 5}], "config": {"size": 1}}
_INDEX = {"token": "x", "manifests": [{"platform": {"os": "linux", "architecture": "amd64"}}]}
_PINNED = f"# theirs\n{'0a' * 32}  resource-aws-v7.51.1-linux-amd64\n{'0b' * 32} *other.tar.gz\n"

TARGETS = {
    "status": Target(encoded(json.dumps(STATUS), json.dumps(STATUS, indent=1)), _status),
    "engine": Target(
        encoded(json.dumps(_STATE), json.dumps(_STACKS), json.dumps(_CONFIG), DEEP, "[[1]]"),
        _engine,
    ),
    "ssh files": Target([b"Host alice.lab\n  HostName 127.0.0.1\n", b"\xff\xfe\xfd"], _ssh_files),
    "locks": Target(encoded(json.dumps(_LOCK), "[1]", DEEP, '{"pid": 1}'), _lock),
    "aws settings": Target(encoded(_PROVIDER, "config: {aws:endpoints: [1]}"), _aws_settings),
    "agent": Target(
        [_SYNCHRONISED + _RAN, b"[]\n", _SYNCHRONISED + b'{"return": Infinity}\n'], _agent
    ),
    "spec": Target(encoded(json.dumps(_SPEC), DEEP), _spec),
    "registry": Target(
        encoded(
            _CHALLENGE + json.dumps(_MANIFEST),
            _CHALLENGE + json.dumps(_INDEX),
            _CHALLENGE + DEEP,
            _CHALLENGE + "[]",
            f"Bearer {'a' * 100_000}\n[]",  # found by chance: it took a minute
        ),
        _registry,
    ),
    "pins": Target(encoded(_PINNED), _pins),
}
