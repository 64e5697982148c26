"""Libraries that people's programs log in with: by a code, and by a certificate of today."""

from __future__ import annotations

import asyncio
import base64
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncssh
import paramiko
import pytest

from tests.clients.conftest import Way, built_by, run
from tests.clients.found import NO, need, note
from tests.support.client import PATIENCE
from tools.setup import ensure_uv
from tools.steps import StepError

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Builds one of the folders beside this file, once, outside of the checkout."""
    made: dict[str, Path] = {}

    def build(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name) / name
            if (HERE / name).is_dir():
                shutil.copytree(HERE / name, made[name])
            _BUILDS[name](made[name])
        return made[name]

    return build


def _build_go(place: Path) -> None:
    need("go")
    built_by(["go", "build", "-o", "client", "."], place, "x/crypto/ssh")


def _build_node(place: Path) -> None:
    need("node", "npm")
    argv = ["npm", "ci", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund"]
    built_by(argv, place, "ssh2 of Node")


def _build_java(place: Path) -> None:
    need("java", "javac", "mvn")
    get = ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={place}/jars"]
    built_by(get, place, "JSch, sshj or MINA")
    sources = [each.name for each in place.glob("*.java")]
    built_by(["javac", "-cp", "jars/*", "-d", ".", *sources], place, "Java's compiler")


def _build_python(place: Path) -> None:
    try:
        uv = ensure_uv("uv")
    except StepError as error:
        pytest.skip(f"no uv: {error}")
    wanted = ["--requirement", str(HERE / "requirements.txt")]
    argv = [str(uv), "pip", "install", "--python", sys.executable, "--target", str(place), *wanted]
    built_by(argv, HERE, "libssh's binding, or libssh2's")


_BUILDS = {"go": _build_go, "node": _build_node, "java": _build_java, "python": _build_python}


# Programs of the tests' own, in the languages that people write theirs in


def _go(way: Way, built: Callable[[str], Path]) -> str:
    return run(way, str(built("go") / "client"))


def _node(way: Way, built: Callable[[str], Path]) -> str:
    return run(way, "node", str(built("node") / "client.js"))


def _java(name: str) -> Callable[[Way, Callable[[str], Path]], str]:
    def login(way: Way, built: Callable[[str], Path]) -> str:
        place = built("java")
        return run(way, "java", "-cp", f"{place}:{place}/jars/*", name)

    return login


def _binding(name: str) -> Callable[[Way, Callable[[str], Path]], str]:
    def login(way: Way, built: Callable[[str], Path]) -> str:
        argv = ["env", f"PYTHONPATH={built('python')}", sys.executable]
        return run(way, *argv, str(HERE / "bindings.py"), name)

    return login


def _paramiko(way: Way, _: object) -> str:
    key = paramiko.Ed25519Key.from_private_key_file(str(way.key))
    if way.certificate:
        key.load_certificate(str(way.certificate))
    host_key = paramiko.PKey.from_type_string(*_typed(way.machine.host_key.public_openssh))
    with paramiko.Transport((way.machine.client.address, way.machine.client.port)) as transport:
        transport.banner_timeout = transport.auth_timeout = PATIENCE
        transport.connect(hostkey=host_key)
        if transport.auth_publickey(way.login, key):
            transport.auth_interactive(way.login, lambda *asked: [way.code] * len(asked[2]))
        with transport.open_session(timeout=PATIENCE) as channel:
            channel.exec_command("id -un")
            return channel.makefile().read().decode().strip()


def _typed(line: str) -> tuple[str, bytes]:
    kind, body = line.split()[:2]
    return kind, base64.b64decode(body)


def _asyncssh(way: Way, _: object) -> str:
    client = way.machine.client

    class Answering(asyncssh.SSHClient):
        def kbdint_auth_requested(self) -> str:
            return ""

        def kbdint_challenge_received(
            self, name: str, instructions: str, lang: str, prompts: Any
        ) -> list[str]:
            return [way.code] * len(prompts)

    async def login() -> str:
        key = (str(way.key), str(way.certificate)) if way.certificate else str(way.key)
        known = asyncssh.import_known_hosts(
            f"[{client.address}]:{client.port} {way.machine.host_key.public_openssh}\n"
        )
        async with asyncssh.connect(
            client.address, client.port, username=way.login, known_hosts=known, config=None,
            agent_path=None, client_keys=[key], client_factory=Answering, login_timeout=PATIENCE,
        ) as connection:  # fmt: skip
            done = await connection.run("id -un", check=True)
            return str(done.stdout).strip()

    return asyncio.run(login())


LIBRARIES: dict[str, Callable[[Way, Callable[[str], Path]], str]] = {
    "Paramiko": _paramiko,
    "AsyncSSH": _asyncssh,
    "libssh": _binding("libssh"),
    "libssh2": _binding("libssh2"),
    "Go's x/crypto/ssh": _go,
    "ssh2 of Node": _node,
    "JSch": _java("Jsch"),
    "sshj": _java("Sshj"),
    "Apache MINA": _java("Mina"),
}
WITHOUT_CERTIFICATES = {"ssh2 of Node": NO, "libssh": "not by its binding to Python"}


@pytest.mark.parametrize("client", LIBRARIES)
def test_a_library_answers_the_prompt(
    client: str, by_code: Way, built: Callable[[str], Path]
) -> None:
    assert LIBRARIES[client](by_code, built) == by_code.name
    note(client, "code")


@pytest.mark.parametrize("client", LIBRARIES)
def test_a_library_shows_a_certificate(
    client: str, by_certificate: Way, built: Callable[[str], Path]
) -> None:
    if client in WITHOUT_CERTIFICATES:
        note(client, "certificate", WITHOUT_CERTIFICATES[client])
        pytest.skip(f"{client} takes no certificate: {WITHOUT_CERTIFICATES[client]}")
    assert LIBRARIES[client](by_certificate, built) == by_certificate.name
    note(client, "certificate")
