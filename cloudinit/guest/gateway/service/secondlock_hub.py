"""JupyterHub as the HTTPS door has it: who comes in, whose Jupyter is led to, who goes.

It runs without any privilege. What takes root is asked of the helper (guest/gateway/helper.py).
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jupyterhub import orm
from jupyterhub.app import JupyterHub
from jupyterhub.auth import Authenticator
from jupyterhub.handlers.base import BaseHandler
from jupyterhub.handlers.login import LogoutHandler
from jupyterhub.orm import new_token
from jupyterhub.proxy import Proxy
from jupyterhub.spawner import Spawner
from tornado import web
from traitlets import Unicode
from traitlets.config import Config

RUN = "/run/secondlock-hub"
HELPER = "/run/secondlock-gateway.sock"
GATES = "/run/secondlock-gates"
HOURS = 12
BINDING = "__Host-secondlock-begun"
# JupyterHub 6.1.1 looks for it where nothing has set it, when somebody's cookie is over.
BaseHandler._token_authenticated = False

PATIENCE = 320  # seconds; a workspace whose image has to be fetched takes longer, and is told so
# As many as the helper takes (guest/gateway/helper.py); a class comes at once, and waits here.
LOGINS_AT_ONCE, VOUCHED_AT_ONCE, STARTS_AT_ONCE = 4, 4, 5
MOST_LOGINS, MOST_STARTS = 100, 1000
LATER = "That cannot be done just now: try again in a moment."


async def ask(place: str, what: str, user: str, **more: object) -> dict[str, Any]:
    """The helper's answer. Raises HTTPError (503) where there is none: nobody is out for that."""
    question = json.dumps({"ask": what, "user": user, **more}).encode() + b"\n"
    try:
        answer: dict[str, Any] = await asyncio.wait_for(_asked(place, question), PATIENCE)
    except (OSError, ValueError, asyncio.TimeoutError):
        raise web.HTTPError(503, LATER) from None
    if answer.get("fault"):
        raise web.HTTPError(503, answer["words"])
    return answer


async def _asked(place: str, question: bytes) -> dict[str, Any]:
    reading, writing = await asyncio.open_unix_connection(place)
    try:
        writing.write(question)
        await writing.drain()
        return dict(json.loads(await reading.readline()))
    finally:
        writing.close()


class Turns:
    """So many at once, and so many who wait; who comes then is told so."""

    def __init__(self, at_once: int, most: int) -> None:
        self._turn, self._room = asyncio.Semaphore(at_once), most

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """One's turn. Raises HTTPError (503)."""
        if not self._room:
            raise web.HTTPError(503, LATER)
        self._room -= 1
        try:
            async with self._turn:
                yield
        finally:
            self._room += 1


class Tickets:
    """What the helper gave for each login, in a file: a hub that starts anew still has them."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def _all(self) -> dict[str, str]:
        try:
            return dict(json.loads(self._place.read_text()))
        except FileNotFoundError:
            return {}

    def get(self, user: str) -> str:
        """The newest of a person; empty where there is none."""
        return self._all().get(user, "")

    def put(self, user: str, ticket: str | None) -> None:
        """Keep it, or forget the person's."""
        known = {name: one for name, one in self._all().items() if name != user}
        fresh = self._place.with_suffix(".new")
        fresh.write_text(json.dumps(known if ticket is None else {**known, user: ticket}))
        fresh.rename(self._place)


_prepare = BaseHandler.prepare


async def prepare(handler: BaseHandler) -> None:
    """JupyterHub takes who cannot be asked about for nobody, and their sessions would end.

    Raises HTTPError.
    """
    await _prepare(handler)
    if getattr(handler, "secondlock_unheard", False):
        raise web.HTTPError(503, LATER)


BaseHandler.prepare = prepare
LOGINS, STARTS = Turns(LOGINS_AT_ONCE, MOST_LOGINS), Turns(STARTS_AT_ONCE, MOST_STARTS)
VOUCHED = Turns(VOUCHED_AT_ONCE, MOST_LOGINS)


class TwoFactors(Authenticator):
    """Passphrase and one-time code, in one form; or a provider that vouches for several factors."""

    helper = Unicode(HELPER, config=True)
    tickets = Unicode(f"{RUN}/tickets.json", config=True)

    @property
    def kept(self) -> Tickets:
        """Those of who is in."""
        return Tickets(Path(self.tickets))

    def check_allowed(self, username: str, authentication: object = None) -> bool:
        """The helper was asked, who knows the roster."""
        return True

    def get_handlers(self, app: JupyterHub) -> list[Any]:
        """With a logout that ends what it says."""
        ours = [("/logout", Logout), ("/wake/([a-z0-9-]+)", Wake)]
        provider = [("/oidc/login", Lead), ("/oidc/callback", Back)]
        return [*super().get_handlers(app), *ours, *provider]

    async def authenticate(self, handler: Any, data: Mapping[str, str]) -> str | None:
        """The person's name where both are right. Raises HTTPError with what else to tell them."""
        if isinstance(handler, Back):
            return await self._vouched(handler, data)
        user = data.get("username", "").strip().lower()
        said = {"passphrase": data.get("password", "").strip(), "code": data.get("otp", "")}
        said["code"] = "".join(said["code"].split()).replace("-", "")
        address = handler.request.remote_ip
        async with LOGINS.one():
            answer = await ask(self.helper, "log in", user, address=address, **said)
        if not answer["ok"]:
            raise web.HTTPError(403, answer["words"])
        await self._let_in(handler.db, user, answer["ticket"])
        return user

    async def _vouched(self, handler: Any, said: Mapping[str, str]) -> str:
        """Whom the provider vouches for. Raises HTTPError with what else to tell them."""
        address = handler.request.remote_ip
        async with VOUCHED.one():
            answer = await ask(self.helper, "finish", "", address=address, **said)
        if not answer["ok"]:
            raise web.HTTPError(403, answer["words"])
        handler.then = answer["then"]
        await self._let_in(handler.db, answer["user"], answer["ticket"])
        return str(answer["user"])

    async def _let_in(self, db: Any, user: str, ticket: str) -> None:
        """Whose last ticket is over was out, whichever browsers have not heard of it."""
        before = self.kept.get(user)
        out = not before or not (await ask(self.helper, "holds", user, ticket=before))["ok"]
        if out and self.kept.get(user) == before:  # else another login has done it meanwhile
            forget(db, user)
        self.kept.put(user, ticket)

    async def refresh_user(self, user: Any, handler: Any = None, **_: object) -> bool:
        """Whether they may still be in: neither revoked, rotated nor frozen since."""
        try:
            answer = await ask(self.helper, "holds", user.name, ticket=self.kept.get(user.name))
        except web.HTTPError:
            if handler is not None:
                handler.secondlock_unheard = True
            raise
        return bool(answer["ok"])


def forget(db: Any, name: str) -> None:
    """No cookie, code or token that any browser of the person's has is good any more."""
    user = orm.User.find(db, name)
    if user is None:
        return
    user.cookie_id = new_token()
    of_gates = db.query(orm.APIToken).filter(orm.APIToken.client_id != "jupyterhub")
    for each in (of_gates, db.query(orm.OAuthCode)):
        each.filter_by(user_id=user.id).delete()
    db.commit()


class Logout(LogoutHandler):
    """JupyterHub's own only asks the browser to forget its cookie; this ends all, and the gate."""

    async def get(self) -> None:
        """Where another site leads is no logout. Raises HTTPError."""
        if self.request.headers.get("Sec-Fetch-Site") == "cross-site":
            raise web.HTTPError(403, "Asked by another site.")
        await super().get()

    async def default_handle_logout(self) -> None:
        """Forget the person everywhere, in other browsers too."""
        user = self.current_user
        await super().default_handle_logout()
        if user:
            forget(self.db, user.name)
            known: TwoFactors = self.authenticator
            known.kept.put(user.name, None)
            await ask(known.helper, "leave", user.name)


class Lead(BaseHandler):
    """To the provider."""

    async def get(self) -> None:
        """What the browser is given here, it has to show when it comes back."""
        known: TwoFactors = self.authenticator
        then = self._validate_next_url(self.get_argument("next", ""))
        binding = self.get_cookie(BINDING)
        async with VOUCHED.one():
            answer = await ask(known.helper, "begin", "", binding=binding, then=then)
        if not answer["ok"]:
            raise web.HTTPError(503, answer["words"])
        safe = {"secure": True, "httponly": True, "samesite": "Lax"}
        self.set_cookie(BINDING, answer["binding"], path="/", **safe)
        self.redirect(answer["url"])


class Back(BaseHandler):
    """From the provider."""

    then = ""

    async def get(self) -> None:
        """Let in whom it vouches for. Raises HTTPError."""
        said = {name: self.get_argument(name, "") for name in ("state", "code")}
        said |= {"issuer": self.get_argument("iss", ""), "binding": self.get_cookie(BINDING, "")}
        user = await self.login_user(said)
        if user is None:
            raise web.HTTPError(403)
        self._jupyterhub_user = user
        home = f"{self.hub.base_url}spawn"
        self.redirect(self._validate_next_url(self.then) or home)


class Wake(BaseHandler):
    """Where nginx sends who finds a gate shut: the hub looks, and then opens it again."""

    @web.authenticated
    async def get(self, name: str) -> None:
        """Of one's own. Raises HTTPError for another's."""
        user = self.current_user
        if name != user.name:
            raise web.HTTPError(403, "This is another person's.")
        if user.spawner.ready:
            await user.spawner.poll_and_notify()
        self.redirect(f"{self.hub.base_url}spawn/{name}")


class Workspace(Spawner):
    """The Jupyter of a person's workspace, which the helper starts, and the gate before it."""

    helper = Unicode(HELPER, config=True)
    gates = Unicode(GATES, config=True)

    async def start(self) -> str:
        """The gate's socket. Raises HTTPError in the helper's words."""
        env = self.get_env()
        told = {
            "token": env["JUPYTERHUB_API_TOKEN"],
            "client": env["JUPYTERHUB_CLIENT_ID"],
            "hub": env["JUPYTERHUB_HOST"],
            "callback": env["JUPYTERHUB_OAUTH_CALLBACK_URL"],
        }
        ticket = self.authenticator.kept.get(self.user.name)
        async with STARTS.one():
            answer = await ask(self.helper, "open", self.user.name, ticket=ticket, told=told)
        if not answer["ok"]:
            raise web.HTTPError(500, answer["words"])
        return socket_url(f"{self.gates}/{self.user.name}/gate.sock")

    async def poll(self) -> int | None:
        """None where it runs (the base class says so)."""
        return None if (await ask(self.helper, "is open", self.user.name))["ok"] else 0

    async def stop(self, now: bool = False) -> None:
        """Shut the gate; what runs in the workspace goes on."""
        await ask(self.helper, "shut", self.user.name)


class StaticProxy(Proxy):
    """nginx finds a gate by the person's name: it need not be told of any."""

    should_start = False

    async def add_route(self, routespec: str, target: str, data: Any) -> None:
        """Nothing."""

    async def delete_route(self, routespec: str) -> None:
        """Nothing."""

    async def get_all_routes(self) -> dict[str, dict[str, Any]]:
        """None that anything could be missing from."""
        return {}

    async def check_routes(self, *_: Any, **__: Any) -> None:
        """Nothing."""


def socket_url(path: str) -> str:
    """As JupyterHub spells a unix socket."""
    return f"http+unix://{quote(path, safe='')}"


def configuration(said: Mapping[str, Any]) -> Config:
    """The hub's, of a machine whose /etc/secondlock/web/hub.json says this."""
    run, helper = said.get("run", RUN), said.get("helper", HELPER)
    c = Config()
    c.JupyterHub.authenticator_class = TwoFactors
    c.JupyterHub.spawner_class = Workspace
    c.JupyterHub.proxy_class = StaticProxy
    c.TwoFactors.helper = c.Workspace.helper = helper
    c.TwoFactors.tickets = f"{run}/tickets.json"
    c.Workspace.gates = said.get("gates", GATES)
    c.TwoFactors.request_otp = True
    c.TwoFactors.otp_prompt = "One-time code:"
    c.TwoFactors.allow_all = True  # who gets a ticket is on the roster
    # Nobody is in for longer than this after it is over for them.
    c.TwoFactors.auth_refresh_age = 5
    c.TwoFactors.auth_refresh_strict = True
    c.TwoFactors.refresh_pre_spawn = True
    c.JupyterHub.db_url = f"sqlite:///{run}/hub.sqlite"
    c.JupyterHub.cookie_secret_file = f"{run}/cookie_secret"
    c.JupyterHub.cookie_max_age_days = HOURS / 24
    c.JupyterHub.tornado_settings = {"cookie_options": {"samesite": "Lax", "secure": True}}
    c.JupyterHub.template_vars = {
        "provider": said.get("provider"),
        "form": said.get("form", True),
    }
    c.JupyterHub.template_paths = [str(Path(__file__).parent / "templates")]
    # Of two people neither is to reach the other's cookies: each has an origin of their own.
    c.JupyterHub.subdomain_host = f"https://{said['host']}:{said['port']}".removesuffix(":443")
    c.JupyterHub.subdomain_hook = lambda name, domain, **_: f"{name}.{domain}"
    c.JupyterHub.cookie_host_prefix_enabled = True
    # A socket: what listens on the loopback is reached from workspaces.
    c.JupyterHub.bind_url = "http://127.0.0.1:8000"  # nobody listens there; nginx leads on
    c.JupyterHub.hub_bind_url = c.JupyterHub.hub_connect_url = socket_url(f"{run}/hub.sock")
    c.JupyterHub.hub_socket_mode = 0o660
    c.JupyterHub.cleanup_servers = False  # work goes on while the hub starts anew
    c.JupyterHub.shutdown_on_logout = False
    c.JupyterHub.concurrent_spawn_limit = 0  # who is one too many would be sent away: they wait
    c.JupyterHub.log_level = "WARN"
    c.Workspace.start_timeout = 4 * PATIENCE  # their turn included
    c.Workspace.http_timeout = 60
    c.Workspace.poll_interval = 10
    return c


def main(place: str) -> None:
    """Run it for ever."""
    JupyterHub.instance(config=configuration(json.loads(Path(place).read_text())))
    JupyterHub.launch_instance([])
