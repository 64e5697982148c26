"""secondlock-alerts: what is wrong here is posted to the lab's webhook, once, and once it is over.

What cannot be posted is posted the next minute; the status says so meanwhile. Where it is cut off
between post and note, the same is told twice rather than never.
"""

import datetime as dt
import json
import urllib.error
import urllib.request
from typing import Any, NoReturn

from guest import paths
from guest.alerts import faults
from guest.system import GuestError, folder, write

PLACE = paths.STATE / "alerts"
WEBHOOK = PLACE / "webhook"
TOLD = PLACE / "told.json"
ERROR = paths.RUN / "alerts-error"
PATIENCE = 20  # seconds
MOST = 20
"""Sentences in one message: what befalls all at once needs no more."""


def keep(webhook: str | None) -> None:
    """Have the machine know where to post. Raises GuestError."""
    if webhook is None:
        WEBHOOK.unlink(missing_ok=True)
        ERROR.unlink(missing_ok=True)
        return
    folder(PLACE, 0o700)
    write(WEBHOOK, webhook, 0o600)


def report() -> dict[str, Any] | None:
    """Whether the last message arrived, as the status line has it; None where nobody is told."""
    if not WEBHOOK.exists():
        return None
    return {"error": ERROR.read_text().strip() if ERROR.exists() else None}


def main() -> int:
    """Post what is new and what is over since the last message."""
    now = dt.datetime.now(dt.timezone.utc)
    known = faults.found(json.loads(paths.STATUS.read_text()), now)
    told = _told()
    if faults.STALE in known:
        known |= told
    new = {name: what for name, what in known.items() if name not in told}
    over = {name: what for name, what in told.items() if name not in known}
    if not new and not over:
        return 0
    try:
        _post(WEBHOOK.read_text(), _message(now, list(new.values()), list(over.values())))
    except GuestError as error:
        write(ERROR, f"{error}\n", 0o644)
        print(error)
        return 1
    write(TOLD, json.dumps(known), 0o600)
    ERROR.unlink(missing_ok=True)
    return 0


def _told() -> dict[str, str]:
    """What the last message left standing."""
    try:
        return dict(json.loads(TOLD.read_text()))
    except (OSError, ValueError):
        return {}


def _message(now: dt.datetime, new: list[str], over: list[str]) -> dict[str, Any]:
    """`text` alone is what chat programs show; the rest is for programs."""
    machine = json.loads(paths.MACHINE.read_text())
    lines = [*new, *(f"over: {what}" for what in over)]
    shown = lines[:MOST] + ([f"and {len(lines) - MOST} more"] if len(lines) > MOST else [])
    where = f"{machine['stack']}/{machine['machine']}"
    return {
        "text": "\n".join(f"{where}: {line}" for line in shown),
        "stack": machine["stack"],
        "machine": machine["machine"],
        "time": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "new": new,
        "over": over,
    }


class _NowhereElse(urllib.request.HTTPRedirectHandler):
    """The message is for who was named, and for nobody whom they name."""

    def redirect_request(self, *_: object) -> None:
        """Called by urllib: no request follows."""


def _post(url: str, message: dict[str, Any]) -> None:
    """Raises GuestError, which never quotes the URL: it opens the lab's channel to whoever has it.

    Straight to where it says: no proxy of the environment's.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NowhereElse)
    request = urllib.request.Request(  # noqa: S310 (https, as the roster's reader has made sure)
        url, json.dumps(message).encode(), {"Content-Type": "application/json"}
    )
    try:
        with opener.open(request, timeout=PATIENCE):
            return
    except urllib.error.HTTPError as error:
        _failed(f"it answered {error.code}")
    except urllib.error.URLError as error:
        _failed(str(error.reason))
    except (OSError, ValueError) as error:
        _failed(type(error).__name__)


def _failed(why: str) -> NoReturn:
    raise GuestError(f"the webhook cannot be told what is wrong here: {why}") from None
