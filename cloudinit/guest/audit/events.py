"""auditd's raw lines (auditd.conf(5), `log_format = RAW`) as what a record is made of.

The kernel tells of one program start in several lines with one number: SYSCALL (who, where), EXECVE
(the words). Text with blanks or quotes stands in hexadecimal, unquoted (audit.log(5)). Nobody but
the kernel writes these lines, but what stands in them is a person's.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

UNSET = 4294967295
"""The login uid of what no login started ((uid_t) -1)."""
_LINE = re.compile(r"type=(\w+) msg=audit\((\d{1,12})\.(\d{3}):(\d{1,20})\): ?(.*)", re.DOTALL)
_FIELD = re.compile(r'([\w-]+)=("[^"]*"|\S+)')
_SUBJECT = re.compile(r" subj=(.+?)(?: key=|$)")
_WORD = re.compile(r"(?<!\S)a(\d{1,6})(?:\[(\d{1,6})\])?=(\S+)", re.ASCII)
_KINDS = {"SYSCALL", "EXECVE", "LOGIN"}
_MOST_WORDS = 4096  # of one command; the kernel has a longest command line too
CONTAINER = "docker-default"
"""The AppArmor profile of whatever runs in a workspace (Docker's own)."""


@dataclass
class Event:
    """What lines with one number say together."""

    serial: int
    time: float
    """Seconds since 1970."""
    fields: dict[str, str] = field(default_factory=dict)
    login: dict[str, str] = field(default_factory=dict)
    """Of a process that was given a login uid, or tried to have another."""
    subject: str = ""
    words: dict[int, str] = field(default_factory=dict)
    pieces: dict[int, dict[int, str]] = field(default_factory=dict)
    kinds: set[str] = field(default_factory=set)

    def number(self, name: str) -> int:
        """A field that is a number; UNSET where there is none."""
        return _number(self.fields.get(name, ""))

    def text(self, name: str) -> str:
        """A field that is text."""
        return _text(self.fields.get(name, ""))

    @property
    def is_command(self) -> bool:
        """Whether it tells that a program was started."""
        return {"SYSCALL", "EXECVE"} <= self.kinds

    @property
    def begun(self) -> tuple[int, int, int] | None:
        """Of a process that was given its first login uid: session, process, and that uid.

        Not of one that tried to have another, which anybody may.
        """
        said = self.login
        if said.get("res") != "1" or _number(said.get("old-auid", "")) != UNSET:
            return None
        found = tuple(_number(said.get(name, "")) for name in ("ses", "pid", "auid"))
        return None if UNSET in found else (found[0], found[1], found[2])

    @property
    def person(self) -> int:
        """Whose it is: the uid at login, or else the one that it runs as."""
        login = self.number("auid")
        return login if login != UNSET else self.number("uid")

    @property
    def in_container(self) -> bool:
        """Whether it runs in a workspace."""
        return self.subject.startswith(CONTAINER)

    @property
    def argv(self) -> list[str]:
        """The words of the command; one that is not there in whole is empty."""
        joined = {
            place: _text("".join(parts[each] for each in sorted(parts)))
            for place, parts in self.pieces.items()
        }
        words = {place: _text(raw) for place, raw in self.words.items()} | joined
        most = min(max(words, default=-1) + 1, _MOST_WORDS)
        return [words.get(place, "") for place in range(most)]


class Reader:
    """Puts lines together to events. Those of one event come soon after each other."""

    def __init__(self) -> None:
        self._open: dict[int, Event] = {}
        self.unread = 0
        """Lines that are none of auditd's."""

    def take(self, line: str) -> int | None:
        """One line, without its end; the number of its event, None where it has none."""
        found = _LINE.fullmatch(line)
        if found is None:
            self.unread += bool(line.strip())
            return None
        kind, seconds, thousandths, serial, said = found.groups()
        if kind not in _KINDS:  # auditd counts its own events by itself
            return None
        time = int(seconds) + int(thousandths) / 1000
        event = self._open.setdefault(int(serial), Event(int(serial), time))
        event.kinds.add(kind)
        if kind == "EXECVE":
            _take_words(event, said)
        elif kind == "LOGIN":
            event.login = dict(_FIELD.findall(said))
        else:
            event.fields.update(_FIELD.findall(said))
            if subject := _SUBJECT.search(f" {said}"):
                event.subject = subject[1]
        return event.serial

    def finished(self, fresh: set[int]) -> Iterator[Event]:
        """Events in order, up to the first of which a line came lately (`fresh`)."""
        for serial in sorted(self._open):
            if serial in fresh:
                return
            yield self._open.pop(serial)

    @property
    def waiting(self) -> set[int]:
        """The numbers of those that are not given out yet."""
        return set(self._open)


def _take_words(event: Event, said: str) -> None:
    """Whole words, and words that come in pieces: text with blanks stands in hexadecimal."""
    for place, piece, value in _WORD.findall(said):
        if int(place) >= _MOST_WORDS:
            continue
        if piece:
            event.pieces.setdefault(int(place), {})[int(piece)] = value
        else:
            event.words[int(place)] = value


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else UNSET


def _text(raw: str) -> str:
    if raw.startswith('"'):
        return raw.strip('"')
    if len(raw) % 2 == 0 and re.fullmatch(r"[0-9A-F]+", raw):
        return bytes.fromhex(raw).decode(errors="backslashreplace")
    return raw
