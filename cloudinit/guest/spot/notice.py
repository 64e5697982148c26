"""secondlock-spot: says in every open terminal that Amazon takes a spot machine back."""

import contextlib
import json
import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

METADATA = "http://169.254.169.254/latest/"
INTERVAL = 5  # seconds, as "Spot Instance interruption notices" (EC2 User Guide) asks for
NOT_FOUND = 404
WORDS = {"stop": "stops", "hibernate": "is put to sleep"}


def ask(path: str) -> str | None:
    """A metadata item by IMDSv2; None where there is none. Raises OSError when none answers."""
    ttl = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    token = {"X-aws-ec2-metadata-token": _get("api/token", ttl, "PUT")}
    try:
        return _get(f"meta-data/{path}", token)
    except urllib.error.HTTPError as error:
        if error.code == NOT_FOUND:
            return None
        raise


def _get(path: str, headers: dict[str, str], method: str = "GET") -> str:
    request = urllib.request.Request(METADATA + path, headers=headers, method=method)  # noqa: S310
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 (a constant address)
        text: str = answer.read().decode()
        return text


def words(notice: dict[str, Any]) -> str:
    """What to tell people; `notice` is the item spot/instance-action."""
    what = WORDS.get(notice.get("action", ""), "is taken away for good")
    return (
        f"This machine {what} at {notice.get('time', 'any moment')}: Amazon needs its spot"
        " capacity back. Save your work now; your home stays."
    )


def tell(text: str, terminals: Path = Path("/dev/pts")) -> int:
    """Write to the terminal of every session, and never wait for one; how many took it.

    Not wall(1): Debian 13 keeps no utmp, where it would look.
    """
    told = 0
    for terminal in terminals.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            handle = os.open(terminal, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
            try:
                os.write(handle, f"\r\n\a*** {text}\r\n".encode())
                told += 1
            finally:
                os.close(handle)
    return told


def main() -> int:
    """Wait for the notice and pass it on, once; ends at once where the machine is no spot one."""
    if ask("instance-life-cycle") != "spot":
        return 0
    while True:
        with contextlib.suppress(OSError):
            notice = ask("spot/instance-action")
            if notice:
                text = words(json.loads(notice))
                print(text, f"({tell(text)} terminals)", flush=True)
                return 0
        time.sleep(INTERVAL)
