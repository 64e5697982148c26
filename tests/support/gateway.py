"""The HTTPS door on this computer's loopback: the machine's own nginx, hub, gate and helper.

What systemd does on a machine is done here by hand, and Jupyter is a few lines. nginx and the
hub's packages are those of `tools/setup.sh --tests` (tools/hub.py).
"""

from __future__ import annotations

import http.client
import importlib
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyotp

from cloudinit.bundle import templates
from infra import web
from tests.support.browser import Browser
from tests.support.client import free_port
from tests.support.documents import SEED
from tests.support.provider import CLIENT, SECRET, Provider
from tools.hub import hub_place
from tools.packages import unpacked

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    import pytest

codes: Any = importlib.import_module("guest.totp.codes")
door: Any = importlib.import_module("guest.gateway.door")
gates: Any = importlib.import_module("guest.gateway.gates")
helper: Any = importlib.import_module("guest.gateway.helper")
passphrases: Any = importlib.import_module("guest.gateway.passphrases")
places: Any = importlib.import_module("guest.gateway.places")
asked: Any = importlib.import_module("guest.gateway.asked")
oidc: Any = importlib.import_module("guest.oidc.places")

SERVICE = Path(gates.__file__).parent / "service"
SERVICES = Path(oidc.__file__).parent / "service"
STACK, MACHINE = "test", "lab"

JUPYTERS_TOKEN = "0123456789abcdef" * 4
JUPYTER = """
import asyncio, json, sys
from aiohttp import web

async def seen(asked):
    shown = {"path": asked.raw_path, "headers": dict(asked.headers)}
    answer = web.json_response(shown)
    answer.set_cookie("username-localhost", "secret")
    answer.set_cookie("_xsrf", "x")
    return answer

async def upload(asked):
    size = 0
    async for part in asked.content.iter_any():
        size += len(part)
    return web.json_response({"size": size})

async def talk(asked):
    one = web.WebSocketResponse(protocols=("v1.kernel.websocket.jupyter.org",))
    await one.prepare(asked)
    async for each in one:
        await one.send_str(each.data)
    return one

kernels = {}

async def count(told, page):
    # Some output, which waits for its page as Jupyter's does (buffer_offline_messages).
    number = 0
    while True:
        told.append(number)
        number += 1
        try:
            while told and page[0] is not None and not page[0].closed:
                await page[0].send_str(json.dumps(told[0]))
                del told[0]
        except (ConnectionError, RuntimeError):
            pass
        await asyncio.sleep(0.02)

async def kernel(asked):
    one = web.WebSocketResponse()
    await one.prepare(asked)
    session = asked.query["session_id"]
    if session not in kernels:
        page = [one]
        kernels[session] = page, asyncio.create_task(count([], page))
    page = kernels[session][0]
    if page[0] is not one and page[0] is not None:
        await page[0].close()
    page[0] = one
    async for each in one:
        pass
    page[0] = None if page[0] is one else page[0]
    return one

app = web.Application(client_max_size=0)
app.router.add_get("/api/kernels/{id}/channels", kernel)
app.router.add_put("/{rest:.*}", upload)
app.router.add_get("/talk", talk)
app.router.add_route("*", "/{rest:.*}", seen)
web.run_app(app, path=sys.argv[1], print=None, shutdown_timeout=0.1)
"""
GATE = """
import asyncio, json, sys
from pathlib import Path
import secondlock_gate as it
told, hub, jupyter, token, place = sys.argv[1:]
place = Path(place)
told = json.loads(Path(told).read_text())
gate = it.Gate(told, hub, jupyter, it.own_token(token), place.parent / "kept")
asyncio.run(it._serve(gate, it.listen(place, None)))
"""
OIDC = """
import json, socket, sys
from pathlib import Path
import secondlock_oidc as it
said, secret, place = sys.argv[1:]
listening = socket.socket(socket.AF_UNIX)
listening.bind(place)
listening.listen()
it.serve(it.Provider(json.loads(Path(said).read_text()), Path(secret).read_text()), listening)
"""
HUB = "import sys, secondlock_hub; secondlock_hub.main(sys.argv[1])"


class Person:
    """One who may come in, and what they hold."""

    def __init__(self, name: str) -> None:
        self.name, self._secret = name, secrets.token_bytes(20)
        self.networks: tuple[str, ...] = ("127.0.0.1/32", "192.0.2.0/24")
        self.enrollment, self.passphrase = secrets.token_hex(16), f"{name}-{secrets.token_hex(8)}"

    def code(self) -> str:
        """What their phone shows."""
        import base64

        return pyotp.TOTP(base64.b32encode(self._secret).decode()).now()

    @property
    def issued(self) -> dict[str, Any]:
        """As the machine keeps it."""
        return {
            "enrollment": self.enrollment,
            "method": "key+totp",
            "secret": self._secret.hex(),
            "emergency": [str(10_000_000 + n) for n in range(5)],
        }

    def wrong(self) -> str:
        """What it shows at no time near now."""
        import base64

        phone = pyotp.TOTP(base64.b32encode(self._secret).decode())
        near = {phone.at(int(time.time()) + step * 30) for step in range(-25, 26)}
        return next(code for code in ("123456", "654321", "111111") if code not in near)

    def give_phone_back(self) -> None:
        """As `revoke --device` does it for who has a tablet too."""
        tablet = {"tablet": [secrets.token_hex(16), secrets.token_hex(20)]}
        issued = {**self.issued, "others": tablet}
        del issued["secret"]
        codes.enroll(self.name, issued)

    def bind(self, identity: str | None = None) -> None:
        """Let them in by this and nothing else: passphrase and code, or a provider's word."""
        codes.enroll(self.name, self.issued)
        passphrase = self.passphrase if identity is None else None
        access = asked.Access(True, passphrase, self.networks, identity)
        door.bind(self.name, self.enrollment, access)


def missing() -> str | None:
    """Why it cannot run here, if so."""
    if not hub_place().is_dir():
        return "JupyterHub's packages are not there (tools/setup.sh --tests), or Python is too old"
    program = nginx()
    if program is None or subprocess.run([program, "-v"], capture_output=True).returncode:
        return "nginx is not there, or does not run (tools/setup.sh --tests)"
    return None


def nginx() -> str | None:
    """The program."""
    ours = unpacked("nginx") / "usr" / "sbin" / "nginx"
    return str(ours) if ours.exists() else shutil.which("nginx", path="/usr/sbin:/usr/bin")


def _with_hub(program: str, *arguments: str) -> list[str]:
    """A program that sees the hub's packages, and ours beside them."""
    folders = [str(hub_place()), str(SERVICE), str(SERVICES)]
    paths = f"import sys; sys.path[:0] = {folders!r}\n"
    return [sys.executable, "-I", "-c", paths + program, *arguments]


def as_a_gate(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What came of a few lines that import the gate's own module, or the hub's."""
    argv = _with_hub(program, *arguments)
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def lay_out(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's folders, in this one."""
    for name in ("CODES", "SPENT", "WITNESS", "LOCKS"):
        (place / name.lower()).mkdir()
        monkeypatch.setattr(codes, name, str(place / name.lower()))
    state, run, config = place / "state", place / "run", place / "web"
    for folder in (state, run, config):
        folder.mkdir(mode=0o700)
    for name, path in {
        "STATE": state,
        "CERTIFICATE": state / "certificate.pem",
        "KEY": state / "key.pem",
        "PASSPHRASES": state / "passphrases",
        "NETWORKS": state / "networks",
        "RUN": run,
        "TICKETS": run / "tickets",
        "GATES": run / "gates",
        "OPEN": place / "open",
        "TLS": run / "tls",
        "ENDS": config / "certificate-ends",
        "CONFIG": config,
        "HUB_CONFIG": config / "hub.json",
        "LISTEN": config / "listen.conf",
        "NAMES": config / "hub.conf",
        "PEOPLE": config / "people.conf",
    }.items():
        monkeypatch.setattr(places, name, path)
    for name, where in {
        "PROVIDER": config / "provider.json",
        "SECRET": state / "provider-secret",
        "IDENTITIES": state / "identities",
        "SOCKET": str(place / "oidc.sock"),
    }.items():
        monkeypatch.setattr(oidc, name, where)
    (place / "machine.json").write_text(json.dumps({"target": "aws"}))
    monkeypatch.setattr(door.paths, "MACHINE", place / "machine.json")
    monkeypatch.setattr(helper.login.verify.measured, "offset", lambda: None)


def write_nginx(place: Path) -> None:
    """The machine's nginx.conf, with what it names in this folder."""
    ((_, _, config),) = templates("local", "nginx.conf")
    for before, after in {
        "/run/secondlock-hub/": f"{place}/",
        "/run/secondlock-gates/": f"{place}/open/",
        "/run/secondlock-web/": f"{place}/",
        "/run/secondlock-web-ask/hub.sock": f"{place}/ask.sock",
        "/run/secondlock-tls/": f"{places.STATE}/",
        "/etc/secondlock/web/": f"{places.CONFIG}/",
        "http {": "http { ",
        "worker_processes 2;": "worker_processes 1; daemon off;"
        + ("user root;" if os.geteuid() == 0 else ""),
    }.items():
        config = config.replace(before, after)
    (place / "nginx.conf").write_text(config)


class Loopback:
    """All of it, in a folder."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch, today: dt.date) -> None:
        self.place, self._patch = place, monkeypatch
        self.port = free_port()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        lay_out(place, monkeypatch)
        monkeypatch.setattr(door, "PORT", {"local": self.port, "aws": 443})
        monkeypatch.setattr(gates, "run", self._systemctl)
        self.people = {name: Person(name) for name in ("alice", "bob")}
        made = web.certificate(SEED, stack=STACK, machine=MACHINE, today=today)
        self.authority, self.host = web.authority(SEED, STACK), made.host
        back = f"https://{made.host}:{self.port}/hub/oidc/callback"
        self.provider = Provider(place, back)
        vouched = asked.Provider(
            self.provider.issuer, CLIENT, SECRET, authority=self.provider.authority
        )
        networks = ("127.0.0.0/8",)
        said = asked.Door(
            made.host, made.certificate, made.key, networks, provider=vouched, form=True
        )
        assert door._write(said, "local", self.port) | door._write_provider(said, self.port)
        for person in self.people.values():
            person.bind()
        self._told = door._hub(said, self.port)

    @property
    def browser(self) -> Browser:
        """A new one."""
        return Browser(self.host, self.port, self.authority)

    def enroll(self, name: str, identity: str | None = None) -> Person:
        """Somebody of this name, with another enrollment than before; nothing of theirs is open.

        `identity` is what the provider calls them, if they come by it.
        """
        self.people[name] = Person(name)
        self.people[name].bind(identity)
        return self.people[name]

    def put_out(self, person: Person, how: str) -> None:
        """What a roster, or the thirtieth wrong code by SSH, does to them."""
        if how == "revoked":
            codes.forget(person.name)
            door.forget(person.name)
        elif how == "rotated":
            self.enroll(person.name)
        else:
            with codes.locked(person.name):
                slate = codes.slate(person.name, codes.issued(person.name))
                codes.keep(person.name, slate | {"frozen": True})

    def listening(self) -> set[int]:
        """Ports of this computer's that any of it listens on."""
        pids = [each.pid for each in self._running.values()]
        found = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
        mine = [line for line in found.splitlines() if any(f"pid={pid}," in line for pid in pids)]
        return {int(line.split()[3].rpartition(":")[2]) for line in mine}

    def renew(self, today: dt.date) -> tuple[str, str]:
        """Another certificate, as a roster brings it to nginx; it and its key."""
        made = web.certificate(SEED, stack=STACK, machine=MACHINE, today=today)
        places.CERTIFICATE.write_text(made.certificate)
        places.KEY.write_text(made.key)
        self._running["nginx"].send_signal(signal.SIGHUP)
        return made.certificate, made.key

    def shows(self) -> bytes:
        """The certificate that a new visitor is shown (DER)."""
        tls = ssl.create_default_context(cadata=self.authority)
        with (
            socket.create_connection(("127.0.0.1", self.port)) as plain,
            tls.wrap_socket(plain, server_hostname=self.host) as shown,
        ):
            return shown.getpeercert(binary_form=True) or b""

    @contextmanager
    def without_hub(self) -> Iterator[None]:
        """As while it starts anew, in an upgrade for one."""
        self._end("hub")
        (self.place / "hub.sock").unlink(missing_ok=True)
        yield
        self._python("hub", HUB, str(self.place / "hub.json"))
        self._wait(self.place / "hub.sock")

    def start(self) -> None:
        """Everything but gates, which the hub has started."""
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(self.place / "helper.sock"))
        listening.listen()
        for each, arguments in ((helper.listen, (listening, os.getuid())), (helper._watch, ())):
            threading.Thread(target=each, args=arguments, daemon=True).start()
        told = self._told | {"run": str(self.place)}
        told |= {"helper": str(self.place / "helper.sock"), "gates": str(self.place / "open")}
        (self.place / "hub.json").write_text(json.dumps(told))
        self._python("hub", HUB, str(self.place / "hub.json"))
        speaking = (str(oidc.PROVIDER), str(oidc.SECRET), str(oidc.SOCKET))
        self._python("oidc", OIDC, *speaking)
        for name in (*self.people, "carol"):
            (self.place / "open" / name).mkdir(parents=True)
            (self.place / f"jupyter-{name}.token").write_text(f"{JUPYTERS_TOKEN}\n")
            self.start_jupyter(name)
        write_nginx(self.place)
        self._launch("nginx", [str(nginx()), "-c", str(self.place / "nginx.conf"), "-e", "stderr"])
        self._wait(self.place / "hub.sock")

    def start_jupyter(self, name: str) -> None:
        """That of a person, who has ended it."""
        self._python(f"jupyter-{name}", JUPYTER, str(self.place / f"jupyter-{name}.sock"))

    def open_files(self, name: str) -> int:
        """How many one of them has."""
        return len([*Path(f"/proc/{self._running[name].pid}/fd").iterdir()])

    @contextmanager
    def without_helper(self) -> Iterator[None]:
        """As while it starts anew."""
        place = self.place / "helper.sock"
        place.rename(self.place / "away.sock")
        try:
            yield
        finally:
            (self.place / "away.sock").rename(place)

    @contextmanager
    def linked(self, name: str, target: Path) -> Iterator[None]:
        """With a link of the person's in place of their Jupyter's socket."""
        path = self.place / f"jupyter-{name}.sock"
        self._end(f"jupyter-{name}")
        path.unlink(missing_ok=True)
        path.symlink_to(target)
        try:
            yield
        finally:
            path.unlink()
            self.start_jupyter(name)
            self._wait(path)

    def ask_as_gate(self, method: str, path: str, body: str) -> int:
        """The status that comes of asking where gates ask the hub."""
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(self.place / "ask.sock"))
            connection = http.client.HTTPConnection("hub")
            connection.sock = asking
            headers = {"Content-Type": "application/json"}
            connection.request(method, path, body if method == "POST" else None, headers)
            return connection.getresponse().status

    def end(self) -> None:
        """All of it."""
        self.provider.end()
        for name in self._running:
            self._end(name)

    def _end(self, name: str) -> None:
        """As systemd does it: asked first (secondlock-hub.service has TimeoutStopSec=)."""
        running = self._running[name]
        running.terminate()
        with suppress(subprocess.TimeoutExpired):
            running.wait(15)
        running.kill()
        running.wait()

    def log(self, name: str) -> str:
        """What one of them said."""
        return (self.place / f"{name}.log").read_text(errors="replace")

    def _python(self, name: str, program: str, *arguments: str) -> None:
        self._launch(name, _with_hub(program, *arguments))

    def _launch(self, name: str, argv: list[str]) -> None:
        log = (self.place / f"{name}.log").open("ab")
        self._running[name] = subprocess.Popen(
            argv, cwd=self.place, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )

    def _wait(self, path: Path) -> None:
        deadline = time.monotonic() + 120
        while not path.exists():
            assert time.monotonic() < deadline, self.log("hub")
            time.sleep(0.1)

    def _systemctl(self, *argv: str, check: bool = True) -> str:
        """As systemd with the unit of a gate."""
        command, unit = argv[1], argv[-1]
        name = unit.partition("@")[2].removesuffix(".service")
        running = self._running.get(f"gate-{name}")
        if command == "is-active":
            return "active" if running and running.poll() is None else "inactive"
        if command in ("kill", "restart") and running:
            running.kill()
            running.wait()
        if command == "restart":
            place = self.place / "open" / name / "gate.sock"
            place.parent.mkdir(exist_ok=True)
            place.unlink(missing_ok=True)
            jupyter = self.place / f"jupyter-{name}.sock"
            told = places.GATES / name
            token = self.place / f"jupyter-{name}.token"
            arguments = (str(told), str(self.place / "ask.sock"), str(jupyter), str(token))
            self._python(f"gate-{name}", GATE, *arguments, str(place))
            self._wait(place)
        return ""
