"""A certificate for a key of the day's, for who has just shown a code in this very connection."""

import datetime as dt
import json
import pwd
import secrets
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from guest import paths
from guest.firewall import rules
from guest.key import factor as key
from guest.remember import grants, person
from guest.system import GuestError, run

MOST_BYTES = 4096  # of what is read: a public key has a hundred
SLACK = 60  # seconds by which a client's clock may be behind
KIND = "ssh-ed25519"
NEAR = {
    "local": (rules.LOCAL_GATEWAY,),
    # Session Manager's agent, which has asked AWS who may (docs/how-to/private-machines.md).
    "aws": ("127.0.0.1/32", "::1/128"),
}
"""From where connections come, by target, whatever the person's networks are."""


def certify(account: pwd.struct_passwd) -> None:
    """Read a public key on standard input, and print a certificate for it.

    Its time counts from the code that opened this connection. Raises GuestError.
    """
    name = account.pw_name
    known, grant = grants.allowed(name), grants.read()
    if known is None:
        raise GuestError("nobody may be remembered here for longer than a login (remember_hours)")
    if grant is None or (grant["name"], grant["generation"]) != (name, known["generation"]):
        raise GuestError("this connection was opened without a code: connect anew, with one")
    if not person.is_open(name):
        raise GuestError("nothing is remembered of you just now: tell your admin")
    until = int(grant["at"]) + known["hours"] * 3600
    if until <= time.time():
        raise GuestError("the code of this connection is too old: connect anew")
    public = _public_key(known["marks"])
    certificate = _signed(public, name, known, until)
    person.note(name, until)
    print(certificate, flush=True)
    when = dt.datetime.fromtimestamp(until, dt.timezone.utc)
    print(f"Remembered until {when:%H:%M} UTC.", file=sys.stderr)


def _public_key(everyday: list[str]) -> str:
    """A key of its own: an everyday one would be worth more to a thief than before."""
    line = sys.stdin.buffer.read(MOST_BYTES + 1).decode("ascii", "replace").strip()
    words = line.split()[:2]
    if len(line) > MOST_BYTES or words[:1] != [KIND]:
        raise GuestError(f"no {KIND} public key came on standard input")
    key.read({"ssh_keys": [" ".join(words)]}, "the day")
    if any(words[1] in each.split() for each in everyday):
        raise GuestError("that is an everyday key: make one for the day (ssh-keygen -t ed25519)")
    return " ".join(words)


def _signed(public: str, name: str, known: dict[str, Any], until: int) -> str:
    """The certificate (ssh-keygen(1), -s): for these networks, and no more than sshd allows."""
    machine = json.loads(paths.MACHINE.read_text())
    networks = [*known["networks"], *NEAR[machine["target"]]]
    with tempfile.TemporaryDirectory(dir=paths.RUN) as place:
        file = Path(place, "day.pub")
        file.write_text(f"{public}\n")
        run(
            "ssh-keygen", "-q", "-s", str(person.CA),
            "-I", f"{name} on {machine['machine']} of {machine['stack']}",
            "-z", str(int.from_bytes(secrets.token_bytes(7), "big")),
            "-n", str(known["generation"]),
            "-V", f"{_time(int(time.time()) - SLACK)}:{_time(until)}",
            "-O", "clear", "-O", "permit-pty", "-O", "permit-port-forwarding",
            "-O", f"source-address={','.join(networks)}",
            str(file),
        )  # fmt: skip
        return Path(place, "day-cert.pub").read_text().strip()


def _time(seconds: int) -> str:
    """As ssh-keygen takes it, whatever the machine's time zone."""
    return f"{dt.datetime.fromtimestamp(seconds, dt.timezone.utc):%Y%m%d%H%M%S}Z"
