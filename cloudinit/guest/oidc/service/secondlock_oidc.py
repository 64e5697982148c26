"""Ask the OpenID provider who somebody is, and believe it only what it has signed for this login.

The authorization code flow of OpenID Connect Core 1.0 (3.1), with PKCE (RFC 7636), and OpenID
Connect Discovery 1.0. It runs without any privilege, and is the one that has the network: who
comes in with what it tells is the helper's to say (guest/oidc/login.py), who alone may ask.
"""

import base64
import http.client
import json
import os
import socket
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, urlencode, urlsplit

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

LISTENING = 3  # the socket's descriptor (sd_listen_fds(3))
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384")
"""By a key that the provider alone has: nothing that we could have signed, and not `none`."""
KINDS = {"RSA", "EC"}
WEAKEST = 256  # bytes of an RSA modulus
SKEW = 60  # seconds that two clocks may differ
OLDEST = 600  # seconds since the provider said it
FRESH = 600.0  # seconds that its keys and addresses are believed
OFTEN = 30.0  # seconds between two looks for a key that is not known
PATIENCE = 10.0  # seconds
MOST = 256 * 1024  # bytes of an answer
AT_ONCE = 8

UNSURE = "Your provider does not say that it asked you for a second factor."
REFUSED = "The provider's word on who you are is not good here: tell your admin."
AWAY = "The provider does not answer: try again, or tell your admin."
NAMELESS = "The provider does not say what this machine knows you by: tell your admin."


class RefusedError(Exception):
    """What to tell the person; `why` is for the log, and holds nothing of what was said."""

    def __init__(self, words: str, why: str) -> None:
        super().__init__(words)
        self.why = why


class _NowhereElse(urllib.request.HTTPRedirectHandler):
    """What is sent there is for who was named, and for nobody whom they name."""

    def redirect_request(self, *_: object) -> None:
        """Called by urllib: no request follows."""


class Provider:
    """The one of a machine whose /etc/secondlock/web/provider.json says this."""

    def __init__(self, said: Mapping[str, Any], secret: str) -> None:
        self._issuer, self._client, self._secret = said["issuer"], said["client"], secret
        self._claim, self._acr, self._redirect = said["claim"], said["acr"], said["redirect"]
        tls = ssl.create_default_context(cadata=said.get("authority"))
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=tls),
            _NowhereElse,
        )
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, Any]] = {}

    def lead(self, state: str, nonce: str, challenge: str) -> str:
        """Where a browser asks it to vouch for its person. Raises RefusedError."""
        asked = {
            "response_type": "code",
            "client_id": self._client,
            "redirect_uri": self._redirect,
            "scope": self._scope(),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        if self._acr:
            asked["acr_values"] = " ".join(self._acr)
        place = self._address("authorization_endpoint")
        return f"{place}{'&' if '?' in place else '?'}{urlencode(asked, quote_via=quote)}"

    def judge(self, code: str, verifier: str, nonce: str, issuer: str) -> str:
        """What it calls whom this code stands for. Raises RefusedError."""
        if issuer not in ("", self._issuer) or (not issuer and self._names_itself()):
            raise RefusedError(REFUSED, "the answer is another issuer's (RFC 9207)")
        claims = self._claims(self._token(code, verifier))
        self._check(claims, nonce)
        if not self._several(claims):
            raise RefusedError(UNSURE, "amr and acr tell of no second factor")
        return self._identity(claims)

    def _scope(self) -> str:
        return {"email": "openid email"}.get(
            self._claim, "openid" if self._claim == "sub" else "openid profile"
        )

    def _discovered(self) -> dict[str, Any]:
        """What it says of itself (Discovery, 4)."""
        place = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        found: dict[str, Any] = self._remembered("provider", place, FRESH)
        if found.get("issuer") != self._issuer:
            raise RefusedError(AWAY, "what it says of itself is another issuer's")
        return found

    def _address(self, name: str) -> str:
        address = self._discovered().get(name)
        parts = urlsplit(address if isinstance(address, str) else "")
        if parts.scheme != "https" or not parts.hostname or parts.fragment:
            raise RefusedError(AWAY, f"its {name} is no https:// address")
        return str(address)

    def _names_itself(self) -> bool:
        key = "authorization_response_iss_parameter_supported"
        return self._discovered().get(key) is True

    def _token(self, code: str, verifier: str) -> str:
        """The ID token that it gives for the code (Core, 3.1.3)."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect,
            "code_verifier": verifier,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        how = self._discovered().get("token_endpoint_auth_methods_supported", _BASIC)
        if "client_secret_basic" in how:  # RFC 6749, 2.3.1
            pair = f"{quote(self._client, safe='')}:{quote(self._secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": self._client, "client_secret": self._secret}
        answer = self._fetch(self._address("token_endpoint"), urlencode(form).encode(), headers)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise RefusedError(REFUSED, "it gave no ID token")
        return token

    def _claims(self, token: str) -> dict[str, Any]:
        """What it says, if it has signed it (Core, 3.1.3.7, 6). Raises RefusedError."""
        for patience in (FRESH, OFTEN):
            try:
                return jwt.decode(token, self._keys(patience), algorithms=ALGORITHMS).claims
            except (JoseError, ValueError, TypeError, KeyError) as error:
                why = f"its ID token is not signed by it: {type(error).__name__}"
        raise RefusedError(REFUSED, why)

    def _keys(self, patience: float) -> Any:
        place = self._address("jwks_uri")
        found = self._remembered("keys", place, patience).get("keys")
        keys = []
        for one in found if isinstance(found, list) else []:
            # A kind that nobody here knows yet is no reason to know none of the others.
            with suppress(JoseError, ValueError, TypeError, KeyError):
                if _is_key(one):
                    keys += KeySet.import_key_set({"keys": [one]}).keys
        return KeySet(keys)

    def _check(self, claims: Mapping[str, Any], nonce: str) -> None:
        """Whether it is this login's, and ours (Core, 3.1.3.7, 2 to 5 and 9 to 11)."""
        now = time.time()
        issued, ends, begins = (_time(claims.get(name)) for name in ("iat", "exp", "nbf"))
        holds = {
            "iss": claims.get("iss") == self._issuer,
            "aud": claims.get("aud") in (self._client, [self._client]),
            "azp": claims.get("azp", self._client) == self._client,
            "nonce": claims.get("nonce") == nonce,
            "exp": ends is not None and now < ends + SKEW,
            "iat": issued is not None and now - OLDEST < issued < now + SKEW,
            "nbf": "nbf" not in claims or (begins is not None and begins < now + SKEW),
        }
        if wrong := [name for name, good in holds.items() if not good]:
            raise RefusedError(REFUSED, f"its ID token's {', '.join(wrong)} do not fit")

    def _several(self, claims: Mapping[str, Any]) -> bool:
        """Whether it asked for several factors (RFC 8176, 2: `mfa`); no word on it is none."""
        if self._acr:
            return claims.get("acr") in self._acr
        amr = claims.get("amr")
        return isinstance(amr, list) and "mfa" in amr

    def _identity(self, claims: Mapping[str, Any]) -> str:
        value = claims.get(self._claim)
        if self._claim == "email" and claims.get("email_verified") is not True:
            raise RefusedError(NAMELESS, "it has not verified the address")
        if not isinstance(value, str) or not value:
            raise RefusedError(NAMELESS, "its ID token lacks the claim")
        return value

    def _remembered(self, what: str, place: str, patience: float) -> dict[str, Any]:
        """What lies at a place, as it was not long ago. Raises RefusedError."""
        with self._lock:
            at, found = self._known.get(what, (-FRESH, {}))
            if time.monotonic() - at > patience or not found:
                found = self._fetch(place)
                self._known[what] = (time.monotonic(), found)
            return dict(found)

    def _fetch(
        self, place: str, data: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """A mapping in JSON. Raises RefusedError, which quotes nothing of it."""
        asked = urllib.request.Request(  # noqa: S310 (https, as the roster and _address have it)
            place, data, {"Accept": "application/json", **(headers or {})}
        )
        try:
            with self._opener.open(asked, timeout=PATIENCE) as answer:
                found = json.loads(answer.read(MOST))
        except urllib.error.HTTPError as error:
            raise RefusedError(AWAY if error.code >= 500 else REFUSED, f"{error.code}") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None)
            why = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
            raise RefusedError(AWAY, why) from None
        if not isinstance(found, dict):
            raise RefusedError(AWAY, "no mapping")
        return found


_BASIC = ("client_secret_basic",)


def _time(value: object) -> float | None:
    """Seconds since 1970; None for what is none, to which a boolean belongs."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value < 2**40 else None


def _is_key(one: object) -> bool:
    """Whether it is one that signs, and that nobody else has."""
    if not isinstance(one, dict) or one.get("kty") not in KINDS or one.get("use", "sig") != "sig":
        return False
    modulus = one.get("n", "")
    return one["kty"] != "RSA" or (isinstance(modulus, str) and len(modulus) * 3 // 4 >= WEAKEST)


def answer(provider: Provider, question: bytes) -> dict[str, str]:
    """What is answered to a line."""
    try:
        asked = json.loads(question)
        if asked["ask"] == "begin":
            return {"url": provider.lead(asked["state"], asked["nonce"], asked["challenge"])}
        words = (asked["code"], asked["verifier"], asked["nonce"], asked["issuer"])
        return {"identity": provider.judge(*words)}
    except RefusedError as refused:
        print(f"<4>refused: {refused.why}", file=sys.stderr, flush=True)  # sd-daemon(3)
        return {"words": str(refused)}
    except (KeyError, TypeError, ValueError) as error:
        print(f"<3>{type(error).__name__}", file=sys.stderr, flush=True)
        return {}


def serve(provider: Provider, listening: socket.socket) -> NoReturn:
    """Answer for ever."""
    room = threading.BoundedSemaphore(AT_ONCE)

    def one(connection: socket.socket) -> None:
        with room, connection, suppress(OSError):
            connection.settimeout(PATIENCE)
            with connection.makefile("rb") as lines:
                question = lines.readline(MOST)
            connection.sendall(json.dumps(answer(provider, question)).encode() + b"\n")

    while True:
        connection, _ = listening.accept()
        threading.Thread(target=one, args=(connection,), daemon=True).start()


def main(place: str) -> NoReturn:
    """As its unit starts it."""
    secret = Path(os.environ["CREDENTIALS_DIRECTORY"], "secret").read_text()
    said = json.loads(Path(place).read_text())
    serve(Provider(said, secret.strip()), socket.socket(fileno=LISTENING))
