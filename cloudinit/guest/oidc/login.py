"""A login for which the OpenID provider vouches.

The hub leads a browser there and back, and never sees what the provider says: that goes to who
speaks to it (service/secondlock_oidc.py), which tells what it calls the person. The roster says
who that is, as it says who comes by passphrase; frozen, closed and from where hold here too.
"""

import json
import re
import socket
import syslog
from typing import Any

from guest.closing import sign
from guest.gateway import asked, networks, tickets
from guest.gateway.login import ELSEWHERE
from guest.oidc import begun, identities, places
from guest.system import GuestError
from guest.totp import codes

AGAIN = "This login took too long, or was begun in another browser: begin again."
UNKNOWN = "The provider knows you, and this machine does not: ask your admin."
FAULT = "The provider cannot be asked just now: tell your admin."
FROZEN = "Too many wrong codes: ask your admin."

PATIENCE = 45  # seconds; the provider itself is given 10 for each of three questions
MOST = 64 * 1024  # bytes of an answer
_WORD = re.compile(r"[!-~]{1,4096}")


def begin(binding: object, then: str) -> dict[str, Any]:
    """Where the browser is to go, and what it is to show when it comes back."""
    if words := sign.words():
        return {"ok": False, "words": words}
    state, one = begun.begin(binding, then)
    told = _ask({"ask": "begin", "state": state, "nonce": one.nonce, "challenge": one.challenge})
    if not isinstance(told.get("url"), str):
        return {"ok": False, "words": str(told.get("words") or FAULT)}
    return {"ok": True, "url": told["url"], "binding": one.binding}


def finish(said: dict[str, str], address: str) -> dict[str, Any]:
    """A ticket for whom the provider vouches for; `said` is what the browser brought back."""
    one = begun.take(said["state"], said["binding"])
    if one is None or not _WORD.fullmatch(said["code"]):
        return {"ok": False, "words": AGAIN}
    told = _ask(
        {
            "ask": "finish",
            "code": said["code"],
            "issuer": said["issuer"],
            "nonce": one.nonce,
            "verifier": one.verifier,
        }
    )
    identity = told.get("identity")
    if not isinstance(identity, str) or not asked.IDENTITY.fullmatch(identity):
        return {"ok": False, "words": str(told.get("words") or FAULT)}
    return {**_let_in(identity, networks.spelled(address)), "then": one.then}


def _let_in(identity: str, address: str) -> dict[str, Any]:
    if words := sign.words():
        return {"ok": False, "words": words}
    name = identities.person(identity)
    if name is None:
        _log(f"Failed provider from {address}: it calls nobody here {identity}")
        return {"ok": False, "words": UNKNOWN}
    try:
        with codes.locked(name):  # a roster binds them before, or ends this ticket
            return _judge(name, identity, address)
    except (codes.CodesError, GuestError, OSError) as error:
        syslog.syslog(syslog.LOG_AUTHPRIV | syslog.LOG_ERR, f"{type(error).__name__}: {error}")
        return {"ok": False, "words": FAULT}


def _judge(name: str, identity: str, address: str) -> dict[str, Any]:
    issued = codes.issued(name)
    enrollment = "" if issued is None else str(issued["enrollment"])
    if issued is None or not identities.has(name, enrollment) or identities.of(name) != identity:
        return {"ok": False, "words": UNKNOWN}
    if not networks.may_come_from(name, address):
        _log(f"Refused {name} from {address}: none of their networks")
        return {"ok": False, "words": ELSEWHERE}
    if codes.slate(name, issued)["frozen"]:
        _log(f"Failed provider for {name} from {address}: frozen")
        return {"ok": False, "words": FROZEN}
    ticket = tickets.issue(name, enrollment, identities.mark(identity))
    _log(f"Accepted provider for {name} from {address} by HTTPS")
    return {"ok": True, "user": name, "ticket": ticket}


def _ask(question: dict[str, str]) -> dict[str, Any]:
    """The answer of who speaks to the provider; empty where there is none."""
    try:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(PATIENCE)
            asking.connect(places.SOCKET)
            asking.sendall(json.dumps(question).encode() + b"\n")
            with asking.makefile("rb") as lines:
                return dict(json.loads(lines.readline(MOST)))
    except (OSError, ValueError, TypeError) as error:
        syslog.syslog(syslog.LOG_ERR, f"no answer about the provider: {type(error).__name__}")
        return {}


def _log(line: str) -> None:
    syslog.syslog(syslog.LOG_AUTHPRIV | syslog.LOG_INFO, line)
