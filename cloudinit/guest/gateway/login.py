"""A login by the HTTPS door: passphrase and one-time code, both in one form.

The code is judged by what judges those of SSH (guest/totp/verify.py): the same lock, the same
tally, the same memory of what was used. It is looked at only behind a right passphrase: so who
does not know that can neither use up nor guess a code, nor freeze the person.
"""

import syslog

from guest.closing import sign
from guest.gateway import networks, passphrases, tickets
from guest.methods import factors
from guest.roster.document import NAME
from guest.system import GuestError
from guest.totp import codes, verify

WRONG = "The name, the passphrase or the code is wrong."
ELSEWHERE = "You may not come from this network: ask your admin (web_allowed_from)."
FAULT = "Codes cannot be judged just now: tell your admin."
MOST = 256  # characters


def log_in(name: str, passphrase: str, code: str, address: str) -> tuple[str | None, str]:
    """A ticket where both are right; else None, and what to tell the person."""
    address = networks.spelled(address)
    if not NAME.fullmatch(name) or max(len(passphrase), len(code)) > MOST:
        name, passphrase, code = "-", "", ""
    if words := sign.words():
        return None, words
    try:
        return _judge(name, passphrase, code, address)
    except (codes.CodesError, GuestError, OSError, ValueError, KeyError, TypeError) as error:
        syslog.syslog(syslog.LOG_AUTHPRIV | syslog.LOG_ERR, f"{type(error).__name__}: {error}")
        return None, FAULT


def _judge(name: str, passphrase: str, code: str, address: str) -> tuple[str | None, str]:
    issued = codes.issued(name)
    enrollment = "" if issued is None else str(issued["enrollment"])
    if not passphrases.is_right(name, enrollment, passphrase):
        _log(f"Failed passphrase for {name} from {address}")
        return None, WRONG
    if not networks.may_come_from(name, address):
        _log(f"Refused {name} from {address}: none of their networks")
        return None, ELSEWHERE
    given: list[str] = []

    def let_in(name: str) -> None:
        given.append(tickets.issue(name, enrollment, tickets.by_code(name)))

    verdict, words = verify.decide(
        name, code, lambda now: _fits(now, enrollment), address, let_in, door=", by HTTPS"
    )
    if verdict != "right":
        return None, WRONG if verdict in ("wrong", None) else words or WRONG
    _log(f"Accepted passphrase+totp for {name} from {address} by HTTPS")
    return given[0], words or ""


def _fits(issued: dict[str, object], enrollment: str) -> bool:
    """Whether what the code is judged by was issued with this passphrase, and has codes at all."""
    return issued["enrollment"] == enrollment and "totp" in factors(str(issued["method"]))


def _log(line: str) -> None:
    syslog.syslog(syslog.LOG_AUTHPRIV | syslog.LOG_INFO, line)
