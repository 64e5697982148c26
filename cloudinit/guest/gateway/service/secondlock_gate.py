"""A person's gate: what is led to their Jupyter, and from whom.

It stands between nginx and the socket of a Jupyter of any age, which knows nothing of it. Who
comes shows a cookie of this gate's, which they got for a code of the hub's (OAuth 2.0, RFC 6749,
with PKCE, RFC 7636); the hub is asked again every few seconds whether they are still in, and where
they are not, their connections end, WebSockets too. It runs as the person and shows their Jupyter
the token that it asks for; no cookie of the hub's or this gate's reaches what runs there.
"""

import asyncio
import base64
import grp
import hashlib
import ipaddress
import json
import os
import re
import secrets
import socket
import stat
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from aiohttp import (
    ClientConnectionError,
    ClientConnectorError,
    ClientError,
    ClientSession,
    ClientTimeout,
    UnixConnector,
    web,
)
from secondlock_channel import Channel, Frame, Kept

COOKIE, STATE = "__Host-secondlock", "__Host-secondlock-state"
RECENT = 5.0  # seconds for which the hub's word holds
UNHEARD = 60.0  # seconds that what is open stays so while the hub says nothing
SOON = 10.0  # seconds for the hub to answer
LASTS = 600.0  # seconds from the hub's form back to here
MOST_STATES, MOST_SESSIONS = 50, 50
LARGEST = 64 << 20  # bytes of a WebSocket's message, which is held whole (the unit's MemoryMax=)
PING = 30.0  # seconds, to Jupyter
STARTS = 20.0  # seconds that Jupyter may take from its socket to its first answer
GROUP = "secondlock-gates"
VERSION = version("jupyterhub")
TOKEN = re.compile(rb"[0-9a-f]{64}")
KERNEL = re.compile(r"/api/kernels/([0-9a-f-]{1,64})/channels")

# Of one connection only (RFC 9110, 7.6.1), and what this gate itself answers for.
DROPPED = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
    "te", "trailer", "transfer-encoding", "upgrade", "host", "origin", "referer", "authorization",
    "cookie",
}  # fmt: skip
FOREIGN = {"cross-site", "same-site"}  # Fetch Metadata, Sec-Fetch-Site: another origin


class Unknown(Exception):  # noqa: N818 (no fault of the gate's)
    """The hub does not say whether somebody is in: it starts anew, or is overloaded."""


class Sessions:
    """Who is in, by the cookie that they show; with each the hub's token and its last word."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, float]] = {}
        self._sockets: dict[str, set[web.WebSocketResponse]] = {}

    async def add(self, token: str) -> str:
        """A new one, whom the hub knows by this token; the oldest of too many ends."""
        while len(self._known) >= MOST_SESSIONS:
            await self.end(next(iter(self._known)))
        mark = secrets.token_urlsafe(32)
        self._known[mark] = (token, time.monotonic())
        return mark

    async def holds(self, mark: str, ask: Callable[[str], Any]) -> bool:
        """Whether the hub says that they are in; `ask` is asked with the token. Raises Unknown."""
        if mark in self._known:
            token, asked = self._known[mark]
            now = time.monotonic()
            if now - asked < RECENT:
                return True
            if await ask(token) and mark in self._known:
                self._known[mark] = (token, now)
                return True
        await self.end(mark)
        return False

    async def look(self, mark: str, ask: Callable[[str], Any]) -> None:
        """End what is open of who is out, and of whom the hub has said nothing for UNHEARD."""
        try:
            await self.holds(mark, ask)
        except Unknown:
            _, heard = self._known.get(mark, ("", 0.0))
            if time.monotonic() - heard > UNHEARD:
                await self.end(mark)

    async def end(self, mark: str) -> None:
        """They are out, and what is open of theirs ends."""
        self._known.pop(mark, None)
        # At once: a browser may take its time to agree (RFC 6455, 7.4.1).
        ends = [asyncio.create_task(_close(each)) for each in self._sockets.pop(mark, set())]
        if ends:  # and whoever reads nothing holds nobody up
            await asyncio.wait(ends, timeout=SOON)

    def open(self, mark: str, one: web.WebSocketResponse) -> None:
        """A WebSocket of theirs."""
        self._sockets.setdefault(mark, set()).add(one)

    def closed(self, mark: str, one: web.WebSocketResponse) -> None:
        """It is over."""
        left = self._sockets.get(mark, set())
        left.discard(one)
        if not left:
            self._sockets.pop(mark, None)

    def listening(self) -> list[str]:
        """Who has any open."""
        return [*self._sockets]


async def _close(one: web.WebSocketResponse) -> None:
    with suppress(ClientError, OSError, RuntimeError):
        await one.close(code=1008, message=b"the session has ended")


class Gate:
    """The gate of one person."""

    def __init__(
        self, told: dict[str, Any], hub: str, jupyter: str, token: str, kept: Path
    ) -> None:
        self.told, self._token = told, token
        self._kept, self._channels = Kept(kept), dict[str, Channel]()
        self._networks = [ipaddress.ip_network(each) for each in told["networks"]]
        parts = urlsplit(told["callback"])
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self.base = parts.path.removesuffix("oauth_callback")
        self.person = self.base.strip("/").rpartition("/")[2]
        self._hub_socket, self._jupyter_socket = hub, jupyter
        self.sessions = Sessions()
        self._states: dict[str, tuple[str, str, float]] = {}

    async def start(self, app: web.Application) -> AsyncIterator[None]:
        """Its ways to the hub and to Jupyter, as long as it runs."""
        forever = ClientTimeout(total=None)
        soon = ClientTimeout(total=SOON)
        self._hub = ClientSession(connector=UnixConnector(self._hub_socket), timeout=soon)
        self._jupyter = ClientSession(
            connector=UnixConnector(self._jupyter_socket, limit=0),
            auto_decompress=False,
            timeout=forever,
        )
        watch = asyncio.create_task(self._watch())
        yield
        watch.cancel()
        await self._hub.close()
        await self._jupyter.close()

    async def _watch(self) -> None:
        """A WebSocket asks nothing any more: so this asks for it."""
        while True:
            await asyncio.sleep(RECENT)
            every = self.sessions.listening()
            looks = [self.sessions.look(mark, self._is_in) for mark in every]
            await asyncio.gather(*looks, return_exceptions=True)

    async def _is_in(self, token: str) -> bool:
        """What the hub says of who has this token. Raises Unknown where it says nothing of that."""
        headers = {"Authorization": f"token {token}"}
        try:
            async with self._hub.get("http://hub/hub/api/user", headers=headers) as answer:
                if answer.status in (401, 403):
                    return False
                if answer.status == 200:
                    return bool((await answer.json()).get("name") == self.person)
        except (ClientError, OSError, asyncio.TimeoutError, ValueError):
            raise Unknown from None
        raise Unknown

    async def handle(self, asked: web.Request) -> web.StreamResponse:
        """Everything that comes. Raises HTTPException where nothing comes of it."""
        try:
            return await self._handle(asked)
        except Unknown:
            words = "Nobody can be let in just now: try again in a moment."
            raise web.HTTPServiceUnavailable(text=words, headers={"Retry-After": "5"}) from None

    async def _handle(self, asked: web.Request) -> web.StreamResponse:
        self._refuse_elsewhere(asked)
        if asked.path == f"{self.base}oauth_callback":
            return await self._back_from_hub(asked)
        if asked.path_qs.startswith(self.base) or f"{asked.path}/" == self.base:
            # As the hub spells it; here Jupyter has the whole origin. The hub looks for its own
            # version there.
            found = _to(_here(asked.path_qs.removeprefix(self.base)))
            found.headers["X-JupyterHub-Version"] = VERSION
            return found
        upgrade = asked.headers.get("Upgrade", "").lower() == "websocket"
        self._refuse_foreign(asked, upgrade)
        mark = asked.cookies.get(COOKIE, "")
        if not await self.sessions.holds(mark, self._is_in):
            if (
                upgrade
                or asked.method != "GET"
                or asked.headers.get("Sec-Fetch-Mode", "navigate") != "navigate"
            ):
                raise web.HTTPForbidden(text="Log in again.")
            return self._to_hub(asked)
        if asked.path == "/logout":
            if asked.headers.get("Sec-Fetch-Site") in FOREIGN:
                raise web.HTTPForbidden(text="Asked by another site.")
            await self.sessions.end(mark)
            return _to(f"{self.told['hub']}/hub/logout")
        if upgrade:
            return await self._talk(asked, mark)
        return await self._forward(asked)

    def _refuse_elsewhere(self, asked: web.Request) -> None:
        """nginx is reached from other people's networks too. Raises HTTPForbidden.

        It says where who asks is.
        """
        address = ipaddress.ip_address(asked.headers.get("X-Real-IP", "::"))
        if not any(address in each for each in self._networks):
            raise web.HTTPForbidden(text="You may not come from this network.")

    def _refuse_foreign(self, asked: web.Request, upgrade: bool) -> None:
        """What a page of another origin sends in the person's name. Raises HTTPForbidden."""
        own = asked.headers.get("Origin") == self.origin
        changes = asked.method not in ("GET", "HEAD") or upgrade
        navigates = asked.headers.get("Sec-Fetch-Mode", "navigate") == "navigate"
        foreign = asked.headers.get("Sec-Fetch-Site") in FOREIGN and not navigates
        if (changes and not own) or foreign:
            raise web.HTTPForbidden(text="Asked by another site.")

    def _to_hub(self, asked: web.Request) -> web.StreamResponse:
        state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
        now = time.monotonic()
        self._states = {k: each for k, each in self._states.items() if now - each[2] < LASTS}
        while len(self._states) >= MOST_STATES:
            self._states.pop(next(iter(self._states)))
        self._states[state] = (verifier, _here(asked.path_qs), now)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        query = {
            "client_id": self.told["client"],
            "redirect_uri": self.told["callback"],
            "response_type": "code",
            "state": state,
            "code_challenge": challenge.rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        answer = _to(f"{self.told['hub']}/hub/api/oauth2/authorize?{urlencode(query)}")
        answer.set_cookie(STATE, state, max_age=int(LASTS), **_OURS)
        return answer

    async def _back_from_hub(self, asked: web.Request) -> web.StreamResponse:
        state = asked.query.get("state", "")
        verifier, place, since = self._states.pop(state, ("", "/", 0.0))
        shown = asked.cookies.get(STATE, "")
        if (
            not verifier
            or time.monotonic() - since > LASTS
            or not secrets.compare_digest(shown, state)
        ):
            return _to("/")
        form = {
            "client_id": self.told["client"],
            "client_secret": self.told["token"],
            "grant_type": "authorization_code",
            "code": asked.query.get("code", ""),
            "redirect_uri": self.told["callback"],
            "code_verifier": verifier,
        }
        token = await self._token_for(form)
        if not token or not await self._is_in(token):
            raise web.HTTPForbidden(text="This is another person's.")
        found = _to(place)
        found.set_cookie(COOKIE, await self.sessions.add(token), **_OURS)
        found.del_cookie(STATE, path="/", secure=True)
        return found

    async def _token_for(self, form: dict[str, str]) -> str:
        """The hub's for a code; empty where it is refused. Raises Unknown."""
        try:
            async with self._hub.post("http://hub/hub/api/oauth2/token", data=form) as answer:
                if answer.status == 200:
                    return str((await answer.json()).get("access_token", ""))
                if answer.status < 500:
                    return ""
        except (ClientError, OSError, asyncio.TimeoutError, ValueError):
            raise Unknown from None
        raise Unknown

    def _headers(self, asked: web.Request) -> list[tuple[str, str]]:
        """What Jupyter is to see of them."""
        named = asked.headers.get("Connection", "").lower().replace(",", " ").split()
        dropped = DROPPED.union(named)
        kept = [
            (name, value)
            for name, value in asked.headers.items()
            if name.lower() not in dropped and not name.lower().startswith("sec-websocket")
        ]
        if "_xsrf" in asked.cookies:
            kept.append(("Cookie", f"_xsrf={asked.cookies['_xsrf']}"))
        return [*kept, ("Host", "localhost"), ("Authorization", f"token {self._token}")]

    async def _forward(self, asked: web.Request) -> web.StreamResponse:
        answer = await self._reached(
            lambda: self._jupyter.request(
                asked.method,
                _address(asked),
                headers=self._headers(asked),
                data=asked.content if asked.body_exists else None,
                allow_redirects=False,
                skip_auto_headers=("User-Agent", "Content-Type", "Accept", "Accept-Encoding"),
            )
        )
        async with answer:
            found = web.StreamResponse(status=answer.status, reason=answer.reason)
            for name, value in answer.headers.items():
                ours = name.lower() == "set-cookie" and not value.startswith("_xsrf=")
                if name.lower() not in DROPPED and not ours:
                    found.headers.add(name, value)
            await found.prepare(asked)
            async for part in answer.content.iter_any():
                await found.write(part)
            await found.write_eof()
        return found

    async def _reached(self, ask: Callable[[], Any]) -> Any:
        """Jupyter's answer; one that starts is waited for. Raises HTTPBadGateway.

        A connection that does not come about has sent nothing yet.
        """
        deadline = time.monotonic() + STARTS
        while not _is_foreign(self._jupyter_socket):
            try:
                return await ask()
            except (ClientConnectionError, OSError) as error:
                refused = isinstance(error, ClientConnectorError)
                if not refused or time.monotonic() > deadline:
                    break
            except ClientError:
                break
            await asyncio.sleep(0.2)
        raise web.HTTPBadGateway(text="Jupyter does not answer.")

    async def _talk(self, asked: web.Request, mark: str) -> web.StreamResponse:
        """A WebSocket; the same page's to the same kernel takes the place of the one before."""
        key, channel = _page(asked), Channel()
        before = self._channels.get(key)
        if key:
            self._channels[key] = channel
        try:
            if before is not None:
                await before.end()
            return await self._lead(asked, mark, key, channel)
        finally:
            if self._channels.get(key) is channel:
                del self._channels[key]
            channel.over()

    async def _lead(
        self, asked: web.Request, mark: str, key: str, channel: Channel
    ) -> web.StreamResponse:
        wanted = [
            each.strip() for each in asked.headers.get("Sec-WebSocket-Protocol", "").split(",")
        ]
        jupyter = await self._reached(
            lambda: self._jupyter.ws_connect(
                _address(asked),
                headers=self._headers(asked),
                protocols=[each for each in wanted if each],
                max_msg_size=LARGEST,
                heartbeat=PING,
            )
        )
        page = f"{key} {jupyter.protocol}" if key else ""
        channel.starts_with(self._kept.of(page), lambda: self._kept.forget(page))
        agreed = (jupyter.protocol,) if jupyter.protocol else ()
        browser = web.WebSocketResponse(protocols=agreed, max_msg_size=LARGEST, autoping=False)
        left: list[Frame] | None = None
        async with jupyter:
            try:
                await browser.prepare(asked)
                self.sessions.open(mark, browser)
                # It may have ended while this was being opened.
                if await self.sessions.holds(mark, self._is_in):
                    left = await channel.lead(browser, jupyter)
            finally:
                if left is None:
                    left = await channel.decline(jupyter)
                if page and left:
                    with suppress(OSError):
                        self._kept.put(page, left)
                channel.over()
                self.sessions.closed(mark, browser)
                await browser.close()
        return browser


_OURS: dict[str, Any] = {"path": "/", "secure": True, "httponly": True, "samesite": "Lax"}


def _to(place: str) -> web.Response:
    return web.Response(status=302, headers={"Location": place, "Cache-Control": "no-store"})


def _here(path: str) -> str:
    """A path of this origin, also where it looks like another (`//elsewhere`)."""
    return "/" + path.lstrip("/\\")


def _address(asked: web.Request) -> Any:
    """The same place at Jupyter, spelt as it came."""
    from yarl import URL

    return URL(f"http://localhost{asked.raw_path}", encoded=True)


def _page(asked: web.Request) -> str:
    """Which page speaks to which kernel; empty where it does to something else."""
    kernel, page = KERNEL.fullmatch(asked.path), asked.query.get("session_id", "")
    return f"{kernel[1]} {page}" if kernel and page else ""


def _is_foreign(path: str) -> bool:
    """Whether something lies there that is no socket of the person's, a link for one."""
    try:
        found = os.lstat(path)
    except OSError:
        return False  # not yet
    return not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.getuid()


def listen(path: Path, group: str | None) -> socket.socket:
    """A socket that the group may speak to."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    if group is not None:
        os.chown(path, -1, grp.getgrnam(group).gr_gid)
    path.chmod(0o660)
    return listening


def application(gate: Gate) -> web.Application:
    """It as a web application: whatever is uploaded is led on as it comes."""
    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/{rest:.*}", gate.handle)
    app.cleanup_ctx.append(gate.start)
    return app


def _tell_systemd(words: bytes) -> None:
    """sd_notify(3)."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.sendto(words, address)


async def _serve(gate: Gate, listening: socket.socket) -> None:
    runner = web.AppRunner(application(gate), access_log=None)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    _tell_systemd(b"READY=1")
    await asyncio.Event().wait()


def own_token(path: str) -> str:
    """Jupyter's, out of a file that the person may put anything in place of.

    Raises OSError, ValueError where it is none: what a link leads to, or says, goes nowhere.
    """
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        said = os.read(file, 100).strip()
    finally:
        os.close(file)
    if not TOKEN.fullmatch(said):
        raise ValueError("what lies in place of Jupyter's token is none")
    return said.decode()


def main() -> None:
    """As its unit shows it the machine: nginx's socket in /hub, and that of Jupyter in /jupyter."""
    told = json.loads(Path(os.environ["CREDENTIALS_DIRECTORY"], "told").read_text())
    token = own_token("/jupyter/jupyter.token")
    place = Path(os.environ["RUNTIME_DIRECTORY"])
    gate = Gate(told, "/hub/hub.sock", "/jupyter/jupyter.sock", token, place / "kept")
    asyncio.run(_serve(gate, listen(place / "gate.sock", GROUP)))
