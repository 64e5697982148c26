"""Which connections a code has opened: the verifier writes it down, the certifier asks.

A connection is known by its sshd monitor, the process between the listening sshd and all that the
connection does: its pid, and when it started. A login waits for this module.
"""

import os
import time

from guest import lean

TYPE_CHECKING = False  # as `typing` has it, which takes long to import
if TYPE_CHECKING:
    from typing import Any

GRANTS = "/run/secondlock/grants"
STATE = "/var/lib/secondlock/remembered"
PRINCIPALS = "/run/secondlock/principals"
OPEN = "/var/lib/secondlock-witness/remembered"  # on the root disk: which generation is open
SUFFIX = ".day"  # no researcher's name has a dot
DEEPEST = 40  # processes between a program and the listening sshd


def account(name: str) -> str:
    """The account by which a person is let in who is remembered: another name for their own."""
    return f"{name}{SUFFIX}"


def shut(name: str) -> None:
    """sshd takes none of this person's certificates from now on."""
    for path in (f"{PRINCIPALS}/{account(name)}", f"{OPEN}/{name}"):
        try:  # noqa: SIM105 (contextlib takes longer to import than this module)
            os.unlink(path)  # noqa: PTH108
        except FileNotFoundError:
            pass


def allowed(name: str) -> "dict[str, Any] | None":
    """What the machine knows of a person who may be remembered; None for who may not."""
    try:
        with open(f"{STATE}/{name}.json", "rb") as file:  # noqa: PTH123 (pathlib loads slowly)
            found = lean.loads(file.read())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def write(name: str) -> None:
    """A right code of this person has opened the connection that this process belongs to.

    Written only for who may be remembered; where there is no room, they are not.
    """
    known = allowed(name)
    mark = None if known is None or not _by_a_key_of(known) else connection()
    if known is None or mark is None:
        return
    grant = {"name": name, "at": time.time(), "generation": known["generation"]}
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    try:
        os.makedirs(GRANTS, mode=0o700, exist_ok=True)  # noqa: PTH103
        with os.fdopen(os.open(f"{GRANTS}/{mark}", flags, 0o600), "w") as file:
            file.write(lean.dumps(grant))
    except OSError:
        return


def _by_a_key_of(known: "dict[str, Any]") -> bool:
    """Whether the key that sshd took in this connection, if it did, is still one of theirs."""
    for line in os.environ.get("SSH_AUTH_INFO_0", "").splitlines():
        method, *key = line.split()
        if method == "publickey" and key[:2] not in [each.split()[:2] for each in known["marks"]]:
            return False
    return True


def read() -> "dict[str, Any] | None":
    """What `write` left of the connection that this process belongs to; None where no code did."""
    mark = connection()
    try:
        with open(f"{GRANTS}/{mark}", "rb") as file:  # noqa: PTH123
            found = lean.loads(file.read())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def tidy() -> None:
    """Forget connections that are over."""
    try:
        marks = os.listdir(GRANTS)  # noqa: PTH208
    except FileNotFoundError:
        return
    for mark in marks:
        pid = mark.partition("-")[0]
        if pid.isdigit() and _mark(int(pid)) == mark:
            continue
        try:  # noqa: SIM105 (as above)
            os.unlink(f"{GRANTS}/{mark}")  # noqa: PTH108
        except FileNotFoundError:
            pass


def connection() -> str | None:
    """The mark of this process's connection; None where it belongs to none."""
    pid = os.getpid()
    for _ in range(DEEPEST):
        found = _process(pid)
        if found is None:
            return None
        name, parent, _ = found
        above = _process(parent)
        if above is None:
            return None
        if (name, above[0]) == ("sshd-session", "sshd"):
            return _mark(pid)
        pid = parent
    return None


def _mark(pid: int) -> str | None:
    found = _process(pid)
    return None if found is None else f"{pid}-{found[2]}"


def _process(pid: int) -> tuple[str, int, str] | None:
    """A process's name, parent and time of start (proc_pid_stat(5), fields 2, 4 and 22)."""
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:  # noqa: PTH123
            head, _, rest = file.read().rpartition(")")
    except OSError:
        return None
    fields = rest.split()
    return head.partition("(")[2], int(fields[1]), fields[19]
