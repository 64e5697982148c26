"""Records out of what the kernel and the door say: who it was, how they came, what they did.

The two are joined by the number that the kernel gives to each login (its session): it tells which
process was given a login uid, and sshd's lines in the journal have that process too.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from guest import paths
from guest.audit import words
from guest.audit.events import UNSET, Event
from guest.audit.shares import Shares
from guest.audit.store import loss, record
from guest.remember import grants
from guest.roster import document
from guest.roster.state import FIRST_UID

MOST = 4096  # logins and sessions that are remembered
SOON = 120.0  # seconds between sshd's word and the session, at most
ENTER = "/usr/local/lib/secondlock/enter"
GATE = "/usr/local/lib/secondlock/gateway/gate"
JUPYTER = "/usr/local/share/secondlock/workspace/secondlock-jupyter"
CRUN = {"/usr/bin/crun", "/usr/sbin/runc"}
WAYS = {"/usr/bin/setpriv", "/usr/sbin/unix_chkpwd"}
ADDRESS = r"[0-9a-fA-F:.]{2,45}"
NAME = document.NAME.pattern
DAY = re.escape(grants.SUFFIX)
# sshd's log_auth (auth.c): the method's own words come last.
_DOOR = re.compile(
    rf"(?P<how>Accepted|Partial|Failed) (?P<method>\S+) for (?P<name>{NAME})(?P<day>{DAY})?"
    rf" from (?P<address>{ADDRESS}) port \d+ ssh2(?:: (?P<key>[A-Z0-9-]+ SHA256:[\w+/=]+))?"
)
# guest/totp/verify.py, `_log`.
_CODE = re.compile(
    rf"code of (?P<name>{NAME}) from (?P<address>{ADDRESS})?: (?P<verdict>[a-z ]+)"
    r"(?:, by (?P<device>[\w .-]{1,64}))? \((?P<count>\d+) wrong in a day(?P<frozen>, frozen)?\)"
    r"(?P<web>, by HTTPS)?"
)
# guest/gateway/login.py, where the code's own line comes before, and guest/oidc/login.py.
_WEB = re.compile(
    rf"Accepted (?P<method>passphrase\+totp|provider) for (?P<name>{NAME})"
    rf" from (?P<address>{ADDRESS}) by HTTPS"
)
_UNKNOWN = re.compile(
    rf"Failed provider(?: for (?P<name>{NAME}))? from (?P<address>{ADDRESS}): "
    r"(?P<why>frozen|it calls nobody here) ?[ -~]*"
)
# Of both: passphrase or provider were right.
_ELSEWHERE = re.compile(
    rf"Refused (?P<name>{NAME}) from (?P<address>{ADDRESS}): none of their networks"
)
_GUESS = re.compile(rf"Failed passphrase for (?:{NAME}|-) from (?P<address>{ADDRESS})")
GUESSES, SPELL = (10, 100, 1000, 10_000), 600.0
"""How many refusals by HTTPS are told of, and the seconds in which so many came."""
_SUPPRESSED = re.compile(r"Suppressed (\d{1,9}) messages from (\S{1,80})")
# Verdicts that are no guess and no login: what is malformed was most often the wrong field.
_TOLD = {"wrong", "used", "emergency used", "late", "early", "void"}


class Recorder:
    """What it has heard of logins and sessions, to tell of each command whose it is.

    `name_of` gives the name of a uid, None where there is none.
    """

    def __init__(self, name_of: Callable[[int], str | None]) -> None:
        self._name_of = name_of
        self._keys: dict[int, str] = {}
        self._devices: dict[tuple[str, str], str] = {}
        """What showed a right code, by name and way, until its login is told."""
        self.logins: dict[int, dict[str, Any]] = {}
        """By sshd's process: `person`, `when`, `way`, `key`, `device`, `address`."""
        self.sessions: dict[int, dict[str, Any]] = {}
        """By the kernel's number: how who is in it has come; or which `process` was given it,
        `when`, for which `person`."""
        self.shares = Shares()
        self._counts: dict[str, tuple[int, float]] = {}
        """Of what is told by its number alone: how often it was, and since when."""

    def known(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        told = {"logins": self.logins, "sessions": self.sessions}
        return {**told, "shares": self.shares.known()}

    def know(self, known: dict[str, Any]) -> None:
        """What `known` said earlier in this boot."""
        if shares := known.get("shares"):
            self.shares.know(shares)
        for mine, its in ((self.logins, "logins"), (self.sessions, "sessions")):
            mine |= {int(key): dict(one) for key, one in known.get(its, {}).items()}

    def heard(self, when: float, process: int, message: str) -> Iterator[dict[str, Any]]:
        """The records of a line of root's in the journal."""
        if found := _DOOR.match(message):
            yield from self._door(when, process, found)
        elif found := _CODE.fullmatch(message):
            yield from self._code(when, found)
        elif found := _WEB.fullmatch(message):
            name, device = found["name"], self._devices.pop((found["name"], "web"), None)
            if found["method"] == "provider":
                device = "provider"
            how = {"way": "web", "device": device, "address": found["address"]}
            yield record("login", when, name, "login", "let in", **how)
        elif found := _UNKNOWN.fullmatch(message):
            yield from self._unknown(when, found)
        elif found := _ELSEWHERE.fullmatch(message):
            came = {"way": "web", "address": found["address"]}
            yield record("login", when, found["name"], "another network", "refused", **came)
        elif found := _GUESS.fullmatch(message):
            yield from self._guess(when, found["address"])
        elif found := _SUPPRESSED.fullmatch(message):
            what = f"{found[1]} lines of {found[2]} were too many for the journal"
            yield loss(when, None, what, int(found[1]))

    def _door(self, when: float, process: int, found: re.Match[str]) -> Iterator[dict[str, Any]]:
        name = found["name"]
        if found["key"]:
            _remember(self._keys, process, found["key"])
        if found["how"] == "Failed":
            return  # of a key among several, or of whoever uses the name: bans tell of those
        if found["how"] == "Accepted":
            by_code = found["method"] != "publickey"
            device = self._devices.pop((name, "ssh"), None) if by_code else None
            if found["day"]:
                device = "remembered"
            login = {
                "way": "ssh",
                "key": self._keys.pop(process, None),
                "device": device,
                "address": found["address"],
            }
            _remember(self.logins, process, {"person": name, "when": when, **login})
            yield record("login", when, name, "login", "let in", **login)

    def _guess(self, when: float, address: str) -> Iterator[dict[str, Any]]:
        """Not each: no code was asked for, and whoever can reach the door may cause as many."""
        if (count := self._count("passphrase", when)) in GUESSES:
            what = f"{count} wrong passphrases by HTTPS within {SPELL / 60:.0f} minutes"
            yield record("alert", when, None, what, "refused", way="web", address=address)

    def _unknown(self, when: float, found: re.Match[str]) -> Iterator[dict[str, Any]]:
        """The first few of strangers, then how many: all whom the provider knows may cause them."""
        came = {"way": "web", "address": found["address"]}
        count = 0 if found["name"] else self._count("provider", when)
        if count < GUESSES[0]:
            what = f"provider: {found['why']}"
            yield record("login", when, found["name"], what, "refused", **came)
        elif count in GUESSES:
            what = f"{count} whom only the provider knows, within {SPELL / 60:.0f} minutes"
            yield record("alert", when, None, what, "refused", **came)

    def _count(self, what: str, when: float) -> int:
        """Which of its spell this one is."""
        count, since = self._counts.get(what, (0, when))
        if when - since > SPELL:
            count, since = 0, when
        self._counts[what] = (count + 1, since)
        return count + 1

    def _code(self, when: float, found: re.Match[str]) -> Iterator[dict[str, Any]]:
        name, verdict, way = found["name"], found["verdict"], "web" if found["web"] else "ssh"
        if verdict == "right":
            _remember(self._devices, (name, way), found["device"] or "")
        elif verdict in _TOLD:
            what = f"code: {verdict}"
            yield record("login", when, name, what, "refused", way=way, address=found["address"])
        if found["frozen"] and verdict == "wrong":
            what = f"frozen after {found['count']} wrong codes in a day"
            yield record("alert", when, name, what, "frozen", address=found["address"])

    def seen(self, event: Event) -> Iterator[dict[str, Any]]:
        """The records of an event of the kernel's."""
        if event.begun is not None:
            session, process, person = event.begun
            if person >= FIRST_UID:
                begun = {"process": process, "when": event.time, "person": self._name_of(person)}
                _remember(self.sessions, session, begun)
        if event.is_command:
            yield from self._command(event, event.number("ses"))

    def _command(self, event: Event, session: int) -> Iterator[dict[str, Any]]:
        person = self._name_of(event.person)
        if person is None:
            return
        argv, program = event.argv, event.text("exe")
        come = self._come(session)
        if not event.in_container and self._is_way_in(argv, program, session):
            if argv[:1] and argv[0] in CRUN and not come.get("way"):
                come["way"] = "workspace"  # Docker's doing, by guest/audit/runtime
            return
        if come.get("way") == "workspace" and argv[1:3] == [JUPYTER, "serve"]:
            come["way"] = "jupyter"
        if not self.shares.takes(person, event.time):
            return
        how = {key: come[key] for key in ("way", "key", "device", "address") if come.get(key)}
        yield record(
            "command",
            event.time,
            person,
            words.recorded(argv),
            "started",
            program=words.cut(program, 200),
            where="workspace" if event.in_container else "machine",
            session=None if session == UNSET else session,
            **({"way": "workspace" if event.in_container else "machine"} | how),
        )

    def _come(self, session: int) -> dict[str, Any]:
        """How who is in this session has come: by that person's login of that time, in the process
        that was given the session. Numbers of processes are used again."""
        known = self.sessions.get(session, {})
        login = self.logins.get(known.get("process", 0))
        if login is None or "way" in known or login.get("person") != known.get("person"):
            return known
        if abs(login.get("when", 0) - known.get("when", 0)) <= SOON:
            known = self.sessions[session] = dict(login)
        return known

    @staticmethod
    def _is_way_in(argv: list[str], program: str, session: int) -> bool:
        """Whether it is what leads every login into its workspace, outside of it."""
        ours = {str(paths.SHELL), ENTER, f"{ENTER}-otherwise"}
        # crun runs a copy of itself, of which the kernel tells no path.
        if program in {*CRUN, "/"} and argv[0] in CRUN:
            return True
        # sudo's look at the account.
        if program in WAYS:
            return True
        # What systemd runs: in place of a person's own systemd, and before their Jupyter.
        if session == UNSET and (argv == ["/bin/true"] or argv[1:] == ["-I", GATE]):
            return True
        return program.startswith(("/usr/bin/dash", "/usr/bin/sudo", "/usr/bin/python3")) and any(
            word in ours for word in argv[1:4]
        )


def _remember(known: dict[Any, Any], key: Any, value: Any) -> None:
    """The newest so many: the oldest goes."""
    known.pop(key, None)
    known[key] = value
    while len(known) > MOST:
        del known[next(iter(known))]
