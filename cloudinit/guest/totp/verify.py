"""A login's one-time code, judged: pam_exec(8) runs this with the answer on standard input.

Exit code 0: the code is right, was never used before, and is used up now. What is printed reaches
the person's terminal. One lock a person covers reading, judging and writing, and what is written is
on the disk before anyone is let in: of any number of logins that answer one code, one is let in,
and a wrong answer is counted before it is told. TOTP as in RFC 6238, HOTP as in RFC 4226.
"""

import os
import sys
import syslog
import time

# Not `hmac`, which loads all of OpenSSL: that would take as long as everything else here.
from _operator import _compare_digest as compare_digest
from _sha1 import sha1  # type: ignore[import-not-found]  # of the standard library

from guest import lean
from guest.clock import measured
from guest.remember import grants
from guest.totp import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

STEP, DIGITS, WINDOW = codes.STEP, 6, 1  # seconds, digits, steps either side of this one
# A code of the last minutes that came too late, or of the next ones: no guess, but no login.
LATE, EARLY = 20, 20  # steps
EMERGENCY_DIGITS = 8
EMERGENCY = "emergency code"  # in the place of an authenticator's name
FEW = 2  # emergency codes, of which a login reminds
BLOCK = 64  # bytes, of SHA-1
CLOCK_LIMIT = 20.0  # seconds that the machine's clock may be known to be off by

WORDS = {
    "malformed": "A code has 6 digits, an emergency code 8.",
    "wrong": "This code is wrong.",
    "used": "This code was used already: wait for the next one.",
    "emergency used": "This emergency code was used already.",
    "late": "This code has run out: type the one that is shown now, or set your phone's clock.",
    "early": "This code is not yet valid: your phone's clock is ahead. Set it, then try again.",
    "void": "Emergency codes are void here, since this machine's memory of them was lost: ask your"
    " admin for new ones.",
    "frozen": "Too many wrong codes in a day: nothing more is looked at until your admin has"
    " enrolled you again.",
    "method": "Your way of logging in was changed just now: connect again.",
}


def hmac_sha1(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA-1 (RFC 2104, 2) with a key of at most a block, as every secret of ours is."""
    if len(key) > BLOCK:
        raise ValueError("a key longer than a block")
    key = key.ljust(BLOCK, b"\0")
    inner, outer = (bytes(byte ^ pad for byte in key) for pad in (0x36, 0x5C))
    digest: bytes = sha1(outer + sha1(inner + message).digest()).digest()
    return digest


def totp(secret: bytes, step: int) -> str:
    """The code of one time step (RFC 6238, 4.2; RFC 4226, 5.3)."""
    digest = hmac_sha1(secret, step.to_bytes(8, "big"))
    offset = digest[-1] & 15
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**DIGITS:0{DIGITS}d}"


def judge(answer: str, issued: "dict[str, Any]", slate: "dict[str, Any]", now: float) -> str:
    """`right` or one of WORDS; `slate` is changed to what has to be remembered."""
    wrong = codes.wrong_today(slate, now)
    if slate["frozen"] or len(wrong) >= codes.LIMIT:
        slate["frozen"] = True
        return "frozen"
    if not (answer.isascii() and answer.isdigit() and len(answer) in (DIGITS, EMERGENCY_DIGITS)):
        return "malformed"
    look = _totp if len(answer) == DIGITS else _emergency
    verdict = look(answer, issued, slate, int(now) // STEP)
    if verdict == "wrong":
        slate["wrong"] = [*wrong, now]
        slate["frozen"] = len(slate["wrong"]) >= codes.LIMIT
    if verdict == "right":
        slate["uses"] += 1
    return verdict


def _authenticators(
    issued: "dict[str, Any]", slate: "dict[str, Any]"
) -> "list[tuple[str, bytes, dict[str, Any]]]":
    """What shows codes: its name, its secret, and what is known of its steps."""
    found = []
    if "secret" in issued:
        found.append((issued.get("first", codes.PHONE), issued["secret"], slate))
    for name, (each, secret) in issued.get("others", {}).items():
        found.append((name, secret, slate["others"][each]))
    return [(name, bytes.fromhex(secret), memory) for name, secret, memory in found]


def _totp(answer: str, issued: "dict[str, Any]", slate: "dict[str, Any]", now: int) -> str:
    every = _authenticators(issued, slate)
    showing = [
        (name, memory, valid)
        for name, secret, memory in every
        if (valid := _steps(answer, secret, range(now - WINDOW, now + WINDOW + 1)))
    ]
    if showing:
        return _once(showing, slate)
    if any(_steps(answer, secret, range(now - LATE, now - WINDOW)) for _, secret, _ in every):
        return "late"
    verdict = "wrong"
    for _, secret, memory in every:
        if early := _steps(answer, secret, range(now + WINDOW + 1, now + EARLY + 1)):
            # Told, and so of no use to whoever guessed it when its time comes.
            memory["last"] = sorted({*memory["last"], *early})
            verdict = "early"
    return verdict


def _once(showing: "list[tuple[str, dict[str, Any], list[int]]]", slate: "dict[str, Any]") -> str:
    """Use a code up that these authenticators show, with the steps at which they do.

    Where two show the same by chance, it is good once all the same.
    """
    fresh = []
    for _, memory, valid in showing:
        unused = [step for step in valid if step > memory["floor"] and step not in memory["last"]]
        if not unused:
            return "used"
        fresh.append((memory, unused[0]))
    for memory, step in fresh:
        _use(memory, step)
    slate["device"] = showing[0][0]
    return "right"


def _steps(answer: str, secret: bytes, steps: range) -> list[int]:
    return [step for step in steps if compare_digest(totp(secret, step), answer)]


def _use(memory: "dict[str, Any]", step: int) -> None:
    """A step either side stays good; nothing older does, whatever becomes of the clock."""
    oldest = step - 2 * WINDOW
    memory["floor"] = max(memory["floor"], oldest - 1)
    memory["last"] = [each for each in sorted({*memory["last"], step}) if each >= oldest]


def _emergency(answer: str, issued: "dict[str, Any]", slate: "dict[str, Any]", _now: int) -> str:
    match = [code for code in issued["emergency"] if compare_digest(code, answer)]
    if not match:
        return "wrong"
    if slate["void"]:
        return "void"
    if answer in slate["emergency"]:
        return "emergency used"
    slate["emergency"] = [*slate["emergency"], answer]
    slate["device"] = EMERGENCY
    return "right"


def _told(
    verdict: str, issued: "dict[str, Any]", slate: "dict[str, Any]", answer: str
) -> str | None:
    """What the person is to read, if anything."""
    if verdict != "right":
        return WORDS[verdict]
    left = codes.emergency_left(issued, slate)
    more = " Your admin makes new ones." if left <= FEW else ""
    if len(answer) == EMERGENCY_DIGITS:
        return f"Emergency code used; {left} left.{more}"
    return f"Emergency codes left: {left}.{more}" if more and not slate["void"] else None


def _passed(first: str) -> bool:
    """Whether sshd has checked this in this very connection (sshd_config(5), ExposeAuthInfo)."""
    methods = os.environ.get("SSH_AUTH_INFO_0", "").splitlines()
    return any(line.split(" ", 1)[0] == first for line in methods)


def _before(method: str) -> "list[str]":
    """What sshd must have checked for who began to wait when PAM's stack did not yet say it."""
    return ["publickey"] if "key" in method.split("+") else []


def _log(name: str, verdict: str, slate: "dict[str, Any]", address: str, door: str) -> None:
    """For whoever looks into it later; never the answer itself."""
    count = len(slate["wrong"])
    by = f", by {slate['device']}" if verdict == "right" else ""
    state = ", frozen" if slate["frozen"] else ""
    line = f"code of {name} from {address}: {verdict}{by} ({count} wrong in a day{state}){door}"
    syslog.syslog(syslog.LOG_AUTHPRIV | syslog.LOG_INFO, line)


def _clock_fault() -> str | None:
    """Why no one-time code can be judged just now, if so: it would be refused, and counted."""
    off = measured.offset()
    if off is None or abs(off) <= CLOCK_LIMIT:
        return None
    side = "behind" if off > 0 else "ahead"
    return (
        f"This machine's clock is {abs(off):.0f} s {side}: no code is looked at until it is right"
        " again, usually within a minute. An emergency code works."
    )


def decide(
    name: str,
    answer: str,
    fits: "Callable[[dict[str, Any]], bool]",
    address: str,
    remember: "Callable[[str], None] | None" = None,
    door: str = "",
) -> tuple[str | None, str | None]:
    """What becomes of an answer, `right` or one of WORDS, and what the person is told of it.

    None where nothing was looked at. Whichever door it comes by, it is judged here, under the
    person's one lock; `fits` says whether it may be by what was issued. `remember` is told of whom
    a code has let in, under that lock: who is frozen just now is so before, or after. `door` ends
    the line that is logged, for another than SSH's. Raises CodesError, OSError.
    """
    if "/" in name:
        raise ValueError("not a person's name")
    if len(answer) == DIGITS and (words := _clock_fault()):
        return None, words
    with codes.locked(name):
        issued = codes.issued(name)
        if issued is None:
            return None, None
        if not fits(issued):
            return None, WORDS["method"]
        slate = codes.slate(name, issued)
        before = lean.dumps(slate)
        verdict = judge(answer, issued, slate, time.time())
        if lean.dumps(slate) != before:
            codes.keep(name, slate)
        if slate["frozen"]:
            grants.shut(name)
        elif verdict == "right" and remember is not None:
            remember(name)
    _log(name, verdict, slate, address, door)
    return verdict, _told(verdict, issued, slate, answer)


def _verify(name: str, method: str, answer: str, first: "list[str]") -> tuple[bool, str | None]:
    def fits(issued: "dict[str, Any]") -> bool:
        return issued["method"] == method and all(map(_passed, first))

    verdict, words = decide(name, answer, fits, os.environ.get("PAM_RHOST", ""), grants.write)
    return verdict == "right", words


def main() -> int:
    """`verify METHOD [publickey]`: what sshd must have checked before comes last.

    The person is PAM_USER. Any fault is a refusal.
    """
    syslog.openlog("secondlock-verify", syslog.LOG_PID)
    try:
        answer = sys.stdin.buffer.read(128).split(b"\0")[0].decode("ascii", "replace")
        right, words = _verify(
            os.environ["PAM_USER"],
            sys.argv[1],
            "".join(answer.split()).replace("-", ""),
            sys.argv[2:] or _before(sys.argv[1]),
        )
    except (codes.CodesError, OSError, KeyError, ValueError, TypeError, IndexError) as error:
        print("Codes cannot be judged just now: tell your admin.", flush=True)
        syslog.syslog(syslog.LOG_AUTHPRIV | syslog.LOG_ERR, f"{type(error).__name__}: {error}")
        return 1
    if words:
        print(words, flush=True)
    return 0 if right else 1
