"""Who may be remembered, and until what changes.

On the state volume lies one file a person. Its `generation` is the one principal that their
certificates name and that sshd takes for them (sshd_config(5), AuthorizedPrincipalsFile): another,
or none, and all of them are over at once. The file for sshd is in /run, since a login must be able
to take it away; each boot writes it anew, where the root disk says that this generation is open: a
state volume of before says another.
"""

import json
import pwd
import secrets
import time
from pathlib import Path
from typing import Any

from guest import factors
from guest.remember import grants
from guest.roster.document import Researcher
from guest.system import GuestError, folder, run, write
from guest.totp import codes

GROUP = "secondlock-remembered"
STATE, PRINCIPALS, OPEN = Path(grants.STATE), Path(grants.PRINCIPALS), Path(grants.OPEN)
CA = STATE / "ca"


def close(researcher: Researcher) -> None:
    """End what was remembered of a person of whom less holds from now on. Raises GuestError.

    Before anything is bound anew: `open_again` comes after that.
    """
    known = grants.allowed(researcher.name)
    if known is not None and not _goes_on(known, _basis(researcher)):
        forget(researcher.name)


def open_again(researcher: Researcher) -> list[str]:
    """Let the person be remembered, if they may; what changed, in words. Raises GuestError."""
    name = researcher.name
    if not researcher.remember_hours:
        forget(name)
        return []
    known, generation = grants.allowed(name), secrets.token_hex(16)
    if known is not None and (_is_noted(name, known["generation"]) or _frozen(name)):
        generation = known["generation"]  # of who is frozen, it lets nobody in
    else:
        (STATE / f"{name}.until").unlink(missing_ok=True)
    _make_ca()
    _make_account(name)
    content = json.dumps({**_basis(researcher), "generation": generation}, sort_keys=True)
    changed = write(STATE / f"{name}.json", content, 0o600)
    _let_in(name, note=True)
    told = f"{name}: may be remembered for {researcher.remember_hours} h"
    return [told] if changed and is_open(name) else []


def forget(name: str) -> None:
    """No certificate of this person opens anything any more. Raises GuestError."""
    try:
        grants.shut(name)
        for ending in ("json", "until"):
            (STATE / f"{name}.{ending}").unlink(missing_ok=True)
    except OSError as error:
        raise GuestError(f"what is remembered of {name} cannot be removed: {error}") from None


def boot() -> None:
    """What sshd is told, as the state volume has it: /run is empty after a restart."""
    for file in sorted(STATE.glob("*.json")) if STATE.is_dir() else ():
        _let_in(file.stem)


def start_anew() -> None:
    """Forget everybody, and the key that signs: for a volume that was restored."""
    for file in sorted(STATE.glob("*")) if STATE.is_dir() else ():
        file.unlink()
    for file in PRINCIPALS.glob("*") if PRINCIPALS.is_dir() else ():
        file.unlink()


def until(name: str) -> int | None:
    """When the last certificate of this person ends, if one is good (seconds since 1970)."""
    if not is_open(name):
        return None
    try:
        end = int((STATE / f"{name}.until").read_text())
    except (OSError, ValueError):
        return None
    return end if end > time.time() else None


def note(name: str, end: int) -> None:
    """A certificate of theirs ends then. Raises GuestError."""
    write(STATE / f"{name}.until", f"{max(end, until(name) or 0)}\n", 0o600)


def is_open(name: str) -> bool:
    """Whether sshd takes certificates of this person."""
    return (PRINCIPALS / grants.account(name)).exists()


def _make_ca() -> None:
    """The key that signs certificates; it never leaves this machine's state volume."""
    folder(STATE, 0o700)
    if not CA.with_suffix(".pub").exists():
        CA.unlink(missing_ok=True)  # of a run that was cut off
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "remembered", "-f", str(CA))


def _let_in(name: str, note: bool = False) -> None:
    """Have sshd take this person's certificates; where it may not, it takes none.

    With `note` the root disk says from now on that their generation is open. Raises GuestError.
    """
    known = grants.allowed(name)
    try:
        with codes.locked(name):  # who is being frozen just now is so before, or after
            if known is None or _frozen(name) or not (note or _is_noted(name, known["generation"])):
                grants.shut(name)
                return
            folder(OPEN, 0o700)
            write(OPEN / name, known["generation"], 0o600)
            folder(PRINCIPALS, 0o755)
            write(PRINCIPALS / grants.account(name), f"{known['generation']}\n", 0o644)
    except codes.CodesError as error:
        raise GuestError(f"what is remembered of {name} cannot be kept: {error}") from None


def _is_noted(name: str, generation: str) -> bool:
    try:
        return (OPEN / name).read_text() == generation
    except OSError:
        return False


def _frozen(name: str) -> bool:
    try:
        issued = codes.issued(name)
        return issued is None or bool(codes.slate(name, issued)["frozen"])
    except codes.CodesError:
        return True


def _basis(researcher: Researcher) -> dict[str, Any]:
    """What a certificate rests on."""
    parts = researcher.parts.items()
    marks = (factors.load(factor).marks(researcher, part) for factor, part in parts)
    return {
        "enrollment": researcher.enrollment,
        "method": researcher.method,
        "hours": researcher.remember_hours,
        "marks": sorted(frozenset().union(*marks)),
        "networks": sorted(researcher.networks),
    }


def _goes_on(known: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether nothing was taken away."""
    if any(known.get(field) != wanted[field] for field in ("enrollment", "method")):
        return False
    if known.get("hours", 0) > wanted["hours"]:
        return False
    lists = ("marks", "networks")
    return all(set(known.get(field, ())) <= set(wanted[field]) for field in lists)


def _make_account(name: str) -> None:
    """The same person under another name: uid, home and shell are theirs (useradd(8), -o)."""
    person = pwd.getpwnam(name)
    try:
        there = pwd.getpwnam(grants.account(name))
    except KeyError:
        run(
            "useradd", "--non-unique", "--uid", str(person.pw_uid), "--gid", str(person.pw_gid),
            "--no-create-home", "--home-dir", person.pw_dir, "--shell", person.pw_shell,
            "--groups", GROUP, grants.account(name),
        )  # fmt: skip
        return
    if there.pw_uid != person.pw_uid:
        raise GuestError(f"the account {grants.account(name)} is somebody else's")
