"""Researchers as the tests play them: a key pair, a phone, emergency codes."""

from __future__ import annotations

import secrets
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyotp

from infra.enrollment import Enrollment, derive
from infra.model.person import InstanceRequest, by_passphrase

if TYPE_CHECKING:
    from pathlib import Path

STEP = 30  # seconds a code lasts (RFC 6238, section 4.1)
EDGE = 2  # seconds that clocks may differ by
BY_WEB: dict[str, Any] = {"access": ("ssh", "web"), "web_allowed_from": ("127.0.0.0/8",)}
"""What a request says of who comes by HTTPS too."""
CALM = 15  # seconds of a step that a login needs at most


@dataclass(frozen=True)
class Person:
    """One researcher: what they hold, and what their phone shows."""

    request: InstanceRequest
    enrollment: Enrollment
    key: Path

    @property
    def name(self) -> str:
        """Their user name."""
        return self.request.researcher

    @property
    def emergency_codes(self) -> tuple[str, ...]:
        """The five codes of their enrollment."""
        return tuple(self.enrollment.entry["emergency_codes"])

    @property
    def passphrase(self) -> str:
        """Theirs for the HTTPS door."""
        return str(self.enrollment.entry["web_passphrase"])

    @property
    def password(self) -> str:
        """Theirs in the mode `password+totp`."""
        return str(self.enrollment.entry["password"])

    def _secret(self, device: str | None = None) -> str:
        """Of the phone, or of one of several authenticators."""
        entry = self.enrollment.entry
        named = entry.get("authenticators", {})
        return str((named[device or "phone"] if named else entry)["totp_secret"])

    def code(self, steps: int = 0, device: str | None = None) -> str:
        """What the phone, or another device, shows `steps` steps of 30 s from now.

        For another step than this one, waits for the middle of a step: the machine's clock may
        differ by a second, and the login is to end within the step.
        """
        into = time.time() % STEP
        if steps and not EDGE <= into <= STEP - CALM:
            time.sleep((STEP + EDGE - into) % STEP)
        return pyotp.TOTP(self._secret(device)).at(int(time.time()) + steps * STEP)

    def wrong_code(self) -> str:
        """Six digits that the phone shows at no time near now."""
        phone = pyotp.TOTP(self._secret())
        near = {phone.at(int(time.time()) + steps * STEP) for steps in range(-20, 21)}
        return next(code for code in ("123456", "654321", "111111") if code not in near)


def make_key(path: Path) -> str:
    """Make an Ed25519 key pair with ssh-keygen(1); gives back the public key's line."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", str(path)],
        check=True,
        stdin=subprocess.DEVNULL,
        timeout=30,
    )
    return path.with_suffix(".pub").read_text().strip()


def make_request(
    name: str, keys: Path, factors: str, allowed_from: tuple[str, ...]
) -> InstanceRequest:
    """A new researcher's request; the key pair goes into the folder `keys`."""
    key = make_key(keys / name)
    return InstanceRequest(
        researcher=name,
        factors=factors,
        ssh_keys=(key,) if factors == "key+totp" else (),
        allowed_from=allowed_from,
        enrollment=secrets.token_hex(16),
    )


def enroll(request: InstanceRequest, seed: str, stack: str, machine: str) -> Enrollment:
    """The enrollment that the program would show for this request."""
    return derive(
        seed,
        stack=stack,
        machine=machine,
        researcher=request.researcher,
        enrollment=request.enrollment,
        method=request.factors,
        authenticators=request.authenticators,
        codes=request.emergency_codes,
        by_web=by_passphrase(request),
    )
