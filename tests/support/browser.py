"""A browser as the HTTPS door meets it: cookies, redirects, forms, WebSockets; no script runs.

It finds every name at one address, as browsers do with `.localhost`.
"""

from __future__ import annotations

import base64
import html
import http.client
import json
import os
import re
import socket
import ssl
import struct
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

if TYPE_CHECKING:
    from email.message import Message

PATIENCE = 300  # seconds; an emulated machine starts Jupyter in some twenty
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10  # RFC 6455, 5.2


@dataclass(frozen=True)
class Page:
    """What came of a question."""

    status: int
    url: str
    text: str
    headers: Message

    @property
    def said(self) -> str:
        """What the hub's form says was wrong."""
        found = re.search(r'class="login_error"[^>]*>\s*([^<]*?)\s*<', self.text)
        return found[1] if found else ""


class Browser:
    """One visitor."""

    def __init__(self, host: str, port: int, authority: str, address: str = "127.0.0.1") -> None:
        self.host, self.port, self._address = host, port, address
        self.comes_from: tuple[str, int] | None = None
        self.tls = ssl.create_default_context(cadata=authority)
        self.cookies = CookieJar(DefaultCookiePolicy(strict_ns_domain=0))
        handlers = (
            urllib.request.ProxyHandler({}),
            _Nearby(self),
            urllib.request.HTTPCookieProcessor(self.cookies),
        )
        self._following = urllib.request.build_opener(*handlers, _Following())
        self._staying = urllib.request.build_opener(*handlers, _Staying())

    def url(self, path: str, person: str | None = None) -> str:
        """A place at the hub, or at a person's own."""
        name = self.host if person is None else f"{person}.{self.host}"
        return f"https://{name}:{self.port}{path}"

    def ask(
        self,
        url: str,
        *,
        form: dict[str, str] | None = None,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        data: bytes | None = None,
        follow: bool = True,
    ) -> Page:
        """One question; where it is refused too, that is the answer."""
        sent = urlencode(form).encode() if form is not None else data
        asked = urllib.request.Request(url, sent, headers or {}, method=method)
        opener = self._following if follow else self._staying
        try:
            answer = opener.open(asked, timeout=PATIENCE)
        except urllib.error.HTTPError as refused:
            answer = refused
        with answer:
            text = answer.read().decode(errors="replace")
            return Page(answer.status or 0, answer.geturl(), text, answer.headers)

    def log_in(self, name: str, passphrase: str, code: str, **headers: str) -> Page:
        """Fill in the hub's form, or what it would be where nobody has one."""
        page = self.ask(self.url("/hub/login"))
        assert page.status == 200, page.text
        token = next(each.value for each in self.cookies if each.name == "_xsrf")
        form = {"username": name, "password": passphrase, "otp": code, "_xsrf": token or ""}
        return self.ask(self.url("/hub/login"), form=form, headers=headers, follow=False)

    def trust(self, authority: str) -> None:
        """Believe this one too."""
        self.tls.load_verify_locations(cadata=authority)

    def log_in_by_provider(self, then: str = "") -> Page:
        """Follow the form's link to the provider and back, and where that leads."""
        page = self.ask(self.url(f"/hub/login?{urlencode({'next': then})}"))
        link = re.search(r'href="(/hub/oidc/login[^"]*)"', page.text)
        assert link, page.text
        return self.ask(self.url(html.unescape(link[1])))

    def enter(self, name: str) -> Page:
        """A person's own place, as it is once their Jupyter runs; who is not in sees the form."""
        for _ in range(60):
            page = self.ask(self.url("/api/status", name))
            if "/hub/" not in page.url or "/hub/login" in page.url:
                return page
            if "spawn-pending" in page.url:
                self.ask(self.url(f"/hub/api/users/{name}/server/progress"))
        return page

    def websocket(self, name: str, path: str, origin: str | None = None) -> WebSocket:
        """One at a person's own place. Raises PermissionError where it is refused."""
        url = self.url(path, name)
        request = urllib.request.Request(url)
        self.cookies.add_cookie_header(request)
        return WebSocket(
            self._connect(urlsplit(url).hostname or "", self.port),
            url,
            {
                "Cookie": request.get_header("Cookie") or "",
                "Origin": origin or self.url("", name),
            },
        )

    def _connect(self, host: str, port: int) -> ssl.SSLSocket:
        plain = socket.create_connection((self._address, port), 60, self.comes_from)
        return self.tls.wrap_socket(plain, server_hostname=host)


class WebSocket:
    """A client's end of RFC 6455, with messages of text."""

    def __init__(self, connection: ssl.SSLSocket, url: str, headers: dict[str, str]) -> None:
        self._connection, parts = connection, urlsplit(url)
        lines = {
            "Host": parts.netloc,
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            **headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.sendall(f"GET {target} HTTP/1.1\r\n{head}\r\n".encode())
        self._file = connection.makefile("rb")
        status = int(self._file.readline().split()[1])
        while self._file.readline().strip():
            pass
        if status != http.client.SWITCHING_PROTOCOLS:
            connection.close()
            raise PermissionError(status)

    def send(self, value: Any) -> None:
        """A message of JSON."""
        self._send(TEXT, json.dumps(value).encode())

    def _send(self, kind: int, content: bytes) -> None:
        mask = os.urandom(4)
        long = len(content) >= 126
        size = (
            struct.pack(">BH", 0x80 | 126, len(content)) if long else bytes([0x80 | len(content)])
        )
        masked = bytes(byte ^ mask[n % 4] for n, byte in enumerate(content))
        self._connection.sendall(bytes([0x80 | kind]) + size + mask + masked)

    def receive(self, timeout: float = 60) -> Any:
        """The next message; None where the other end has closed. Raises TimeoutError."""
        self._connection.settimeout(timeout)
        while True:
            kind, content = self._frame()
            if kind == TEXT:
                return json.loads(content)
            if kind == PING:
                self._send(PONG, content)
            elif kind != PONG:
                return None

    def until_pinged(self) -> list[Any]:
        """What comes until a ping has been answered: the other end knows that all of it is here."""
        said = list[Any]()
        while True:
            kind, content = self._frame()
            if kind == PING:
                self._send(PONG, content)
                return said
            if kind == TEXT:
                said.append(json.loads(content))
            elif kind != PONG:
                return said

    def _frame(self) -> tuple[int, bytes]:
        try:
            head = self._file.read(2)
            if len(head) < 2:
                return CLOSE, b""
            size = head[1] & 127
            if size >= 126:
                width = 2 if size == 126 else 8
                size = int.from_bytes(self._file.read(width), "big")
            return head[0] & 15, self._file.read(size)
        except (ConnectionError, ssl.SSLEOFError):
            return CLOSE, b""

    def leave(self) -> None:
        """As a page that is closed."""
        self._send(CLOSE, struct.pack(">H", 1001))
        self.close()

    def close(self) -> None:
        """Without a word."""
        self._file.close()
        self._connection.close()


class _Nearby(urllib.request.HTTPSHandler):
    """Every name at the browser's address, its certificate checked all the same."""

    def __init__(self, browser: Browser) -> None:
        super().__init__(context=browser.tls)
        self._browser = browser

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        browser = self._browser

        class Connection(http.client.HTTPSConnection):
            def connect(self) -> None:
                self.sock = browser._connect(self.host, self.port)

        return self.do_open(Connection, request, context=browser.tls)


class _Following(urllib.request.HTTPRedirectHandler):
    max_redirections = 20  # as browsers; to the provider and back are some twelve


class _Staying(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow none."""
