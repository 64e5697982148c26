"""Logins that a browser was sent to the provider for, until it comes back: each is good once.

In memory alone: who is on the way while this starts anew begins again.
"""

import base64
import hashlib
import hmac
import re
import secrets
import threading
import time
from dataclasses import dataclass, field

MINUTES = 10
MOST = 4096
"""At a time: the oldest goes. nginx lets all together begin 240 in a minute."""
LONGEST = 2000
"""Characters of where a browser is led afterwards."""
_BINDING = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True)
class Begun:
    """One of them. Secret."""

    binding: str = field(repr=False)
    """What the browser was given, and shows again: nobody goes on with another's (RFC 6749,
    10.12)."""
    nonce: str = field(repr=False)
    """What the provider's word has to hold: it is good for this login alone."""
    verifier: str = field(repr=False)
    """Whoever caught the code cannot use it without this (RFC 7636)."""
    then: str
    until: float

    @property
    def challenge(self) -> str:
        """What the provider is told of the verifier (RFC 7636, 4.2)."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


_begun: dict[str, Begun] = {}
_lock = threading.Lock()


def begin(binding: object, then: str) -> tuple[str, Begun]:
    """A new one, and its state. `binding` is what the browser shows, if it has begun one before."""
    sound = isinstance(binding, str) and _BINDING.fullmatch(binding)
    one = Begun(
        str(binding) if sound else secrets.token_urlsafe(32),
        secrets.token_urlsafe(32),
        secrets.token_urlsafe(48),
        then[:LONGEST],
        time.monotonic() + 60 * MINUTES,
    )
    state = secrets.token_urlsafe(32)
    with _lock:
        while len(_begun) >= MOST:
            del _begun[next(iter(_begun))]
        _begun[state] = one
    return state, one


def take(state: str, binding: str) -> Begun | None:
    """The one of this state, if this browser has begun it, and not long ago; it is over then."""
    with _lock:
        one = _begun.pop(state, None)
    if one is None or one.until < time.monotonic():
        return None
    return one if hmac.compare_digest(one.binding.encode(), binding.encode()) else None
