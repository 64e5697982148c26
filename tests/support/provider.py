"""An OpenID provider on this computer's loopback, by HTTPS: strict with those who ask, and at one's
word in what it says of people.

Authorization code flow with PKCE (OpenID Connect Core 1.0, 3.1; RFC 7636); nobody types anything.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import json
import secrets
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from tests.support.tls import certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

CLIENT, SECRET = "hub:1", "s3cret+with/signs&more%"
_BEGINS, _ENDS = "-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n"
ALICE = "248289761001"


@functools.cache
def _first_key() -> RSAKey:
    """That of every provider here which is given none: to make one takes a while."""
    made: RSAKey = RSAKey.generate_key(2048, {"kid": "1"}, auto_kid=False)
    return made


class Provider:
    """It, in a thread of its own, until `end`."""

    def __init__(
        self, place: Path, redirects: str, address: str = "127.0.0.1", key: RSAKey | None = None
    ) -> None:
        self.redirects = redirects
        """Where it leads browsers back to."""
        self.says: dict[str, Any] = {}
        """What it says of whoever comes, beside or in place of the usual; None: not that."""
        self.about: dict[str, Any] = {}
        """The same of what it says of itself."""
        self.keys = {"1": _first_key() if key is None else key}
        self.sign: Callable[[dict[str, Any]], str] = self.signed
        self.odd: list[Any] = []
        """What else it shows as keys."""
        self.tokens = 0
        """How many it has given."""
        self._codes: dict[str, dict[str, str]] = {}
        file = certificate(place, address)
        self.authority = (
            f"{_BEGINS}{file.read_text().partition(_BEGINS)[2].partition(_ENDS)[0]}{_ENDS}"
        )
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(file)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.issuer = f"https://{address}:{self._server.server_address[1]}"
        # Asked to end it does so at once, and not half a second later.
        serve = functools.partial(self._server.serve_forever, poll_interval=0.02)
        threading.Thread(target=serve, daemon=True).start()

    def end(self) -> None:
        """It listens no more."""
        self._server.shutdown()
        self._server.server_close()

    def signed(
        self, claims: dict[str, Any], kid: str = "1", algorithm: str = "RS256", **header: Any
    ) -> str:
        """As it signs."""
        head = {"alg": algorithm, "kid": kid, **header}
        return jwt.encode(head, claims, self.keys[kid], algorithms=[algorithm])

    def add_key(self, kid: str, *, curve: str | None = None) -> None:
        """Another one to sign by."""
        parameters: Any = {"kid": kid}
        if curve is None:
            self.keys[kid] = RSAKey.generate_key(2048, parameters, auto_kid=False)
        else:
            made: Any = ECKey.generate_key(curve, parameters, auto_kid=False)
            self.keys[kid] = made

    def claims(self, nonce: str) -> dict[str, Any]:
        """What it says."""
        now = int(time.time())
        usual = {
            "iss": self.issuer,
            "sub": ALICE,
            "aud": CLIENT,
            "exp": now + 300,
            "iat": now,
            "nonce": nonce,
            "amr": ["pwd", "otp", "mfa"],
        }
        return {name: value for name, value in {**usual, **self.says}.items() if value is not None}

    def discovery(self) -> dict[str, Any]:
        """What it says of itself."""
        usual = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "authorization_response_iss_parameter_supported": True,
        }
        return {name: value for name, value in {**usual, **self.about}.items() if value is not None}

    def lead(self, asked: Mapping[str, str]) -> str | None:
        """Where a browser goes on; None where nothing is right with the question."""
        right = (
            asked.get("client_id") == CLIENT
            and asked.get("redirect_uri") == self.redirects
            and asked.get("response_type") == "code"
            and "openid" in asked.get("scope", "").split()
            and asked.get("code_challenge_method") == "S256"
            and len(asked.get("code_challenge", "")) == 43
            and bool(asked.get("nonce"))
        )
        if not right:
            return None
        code = secrets.token_urlsafe(16)
        self._codes[code] = dict(asked)
        back = {"code": code, "state": asked["state"], "iss": self.issuer}
        return f"{self.redirects}?{urlencode(back)}"

    def exchange(self, form: Mapping[str, str], authorization: str) -> str | None:
        """The ID token for a code, once, to whom it is for."""
        kind, _, pair = authorization.partition(" ")
        client, _, secret = base64.b64decode(pair).decode().partition(":")
        asked = self._codes.pop(form.get("code", ""), None)
        if (
            asked is None
            or kind != "Basic"
            or (unquote(client), unquote(secret)) != (CLIENT, SECRET)
        ):
            return None
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        fits = base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]
        if not fits or form.get("redirect_uri") != asked["redirect_uri"]:
            return None
        self.tokens += 1
        return self.sign(self.claims(asked["nonce"]))


def _handler(provider: Provider) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if parts.path == "/.well-known/openid-configuration":
                self._answer(provider.discovery())
            elif parts.path == "/keys":
                keys = [
                    {**key.as_dict(private=False), "use": "sig"} for key in provider.keys.values()
                ]
                self._answer({"keys": provider.odd + keys})
            elif parts.path == "/authorize" and (there := provider.lead(asked)):
                self.send_response(302)
                self.send_header("Location", there)
                self.end_headers()
            else:
                self.send_error(400)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            token = provider.exchange(form, self.headers.get("Authorization", ""))
            if token is None:
                self.send_error(400)
            else:
                self._answer({"access_token": "x", "token_type": "Bearer", "id_token": token})

        def _answer(self, value: object) -> None:
            content = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    return Handler
