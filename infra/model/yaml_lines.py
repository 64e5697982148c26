"""YAML with the line of every value: what a person's error messages need.

PyYAML's parser without its constructors: nothing in a file can make an object. Anchors, aliases and
tags are refused, so that a file of ten lines cannot unfold into gigabytes. Numbers are numbers only
where YAML 1.1 and 1.2 agree: `010` is 8 to the one and 10 to the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer

from infra.model.problems import Problem
from infra.model.reading import MAX_BYTES, UnreadableError, read_text
from infra.model.text import brief, first_hidden, visible

Location = tuple[str | int, ...]
"""Keys and list indices from the document's root, as Pydantic's `loc`."""

_DEEPEST = 20  # lists and mappings within each other
_PRIVATE_KEY = re.compile("PRIVATE KEY-----|PuTTY-User-Key-File-|b3BlbnNzaC1rZXktdjEA")
_HOW = "stacks/README.md shows how it is written"
_TAG = "tag:yaml.org,2002:"
_INT = re.compile("[-+]?(0|[1-9][0-9]{0,39})")
_FLOAT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})\.[0-9]{0,17}")
_BOOL = {"yes": True, "no": False, "true": True, "false": False, "on": True, "off": False}


@dataclass
class Document:
    """A file's mapping as plain values. Where it cannot be read, `problems` says why."""

    file: Path
    data: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    lines: dict[Location, int] = field(default_factory=dict)
    """1-based line of each value, or of its key where it has one."""
    written: dict[Location, str] = field(default_factory=dict)
    """How a value stands in the file that YAML takes for something else than text: a number, a
    boolean, nothing, or a field and its value in one line."""

    def problem(self, location: Location, what: str, mend: str | None = None) -> Problem:
        """A problem with the value at a location."""
        return Problem(self.file, self._line(location), what, mend)

    def add(self, location: Location, what: str, mend: str | None = None) -> None:
        """Note a problem with the value at a location."""
        self.problems.append(self.problem(location, what, mend))

    def _line(self, location: Location) -> int | None:
        """The line of the value there, else of the nearest one that encloses it."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location)


def read_document(
    file: Path, *, inside: Path | None = None, limit: int = MAX_BYTES, text: str | None = None
) -> Document:
    """Read one YAML file whose root is a mapping. Raises nothing: see `Document.problems`.

    `inside` and `limit` are as for `reading.read_text`; `text` stands for the file's content.
    """
    document = Document(file)
    try:
        if text is None:
            text = read_text(file, inside=inside, limit=limit)
        _check_text(text)
        document.data = _Reader(document, text).mapping(_compose(text), ())
    except FileNotFoundError:
        document.problems.append(Problem(file, None, "is not there"))
    except UnreadableError as refused:
        document.problems.append(refused.problem.at(file))
    return document


def compose(text: str) -> yaml.MappingNode:
    """The nodes of a text that `read_document` takes, with their places. Raises UnreadableError."""
    return _compose(text)


def holds_private_key(text: str) -> bool:
    """True for OpenSSH's, PEM's and PuTTY's private keys, with or without their armour."""
    return _PRIVATE_KEY.search(text) is not None


def _check_text(text: str) -> None:
    """Raises UnreadableError for what makes a file something else than it looks."""
    private = _PRIVATE_KEY.search(text)
    if private:
        raise UnreadableError(
            "THIS IS A PRIVATE KEY. It must never leave its owner's computer, and everyone who has "
            "seen this file can use it",
            "remove it here and from git's history, stop using it everywhere, make a new one with "
            "`ssh-keygen -t ed25519` and give the line in its .pub file",
            _line_at(text, private.start()),
        )
    # YAML 1.1 ends a line at a lone \r, U+0085 and U+2028 too: a reviewer's editor does not.
    hidden = first_hidden(text.replace("\r\n", " \n"), "\n\t")
    if hidden is not None:
        what = (
            f"not valid YAML: a control character, or one that is not seen: {visible(text[hidden])}"
        )
        raise UnreadableError(what, "remove it", _line_at(text, hidden))


def _line_at(text: str, index: int) -> int:
    return text.count("\n", 0, index) + 1


class _Bounded(Composer):
    """Nodes of what the parser beside it reads, without anchors, aliases and tags."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[attr-defined]
        line = event.start_mark.line + 1
        plain = not isinstance(event, yaml.AliasEvent)
        if not plain or getattr(event, "anchor", None) or getattr(event, "tag", None):
            what = "YAML's anchors, aliases and tags (&, *, !) are not allowed here"
            raise UnreadableError(what, "write the value out, or put it in quotes", line)
        if self._depth == _DEEPEST:
            raise UnreadableError("not valid YAML: nested too deeply", _HOW, line)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Loader(_Bounded, yaml.SafeLoader):
    pass


def _compose(text: str) -> yaml.MappingNode:
    root = _composed_quickly(text) or _composed(text)
    if not isinstance(root, yaml.MappingNode):
        raise UnreadableError("no `field: value` lines", _HOW, 1)
    return root


def _composed(text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line, why = _fault(error, text.split("\n"))
        raise UnreadableError(f"not valid YAML: {why}", _HOW, line) from None
    except yaml.reader.ReaderError as error:
        what = "not valid YAML: a character that it does not allow"
        raise UnreadableError(what, "remove it", _line_at(text, error.position)) from None


# What PyYAML's parser in C may read otherwise than the one in Python, which knows what is wrong.
_UNALIKE = re.compile(r"[^ -~\n]|[?{}%|>]|: *[\],]")
if yaml.__with_libyaml__:

    class _QuickLoader(_Bounded, yaml.CSafeLoader):
        def __init__(self, stream: str) -> None:
            yaml.CSafeLoader.__init__(self, stream)
            _Bounded.__init__(self)


def _composed_quickly(text: str) -> yaml.Node | None:
    """The same nodes in a quarter of the time; None where the other parser has to say."""
    if not yaml.__with_libyaml__ or _UNALIKE.search(text):
        return None
    try:
        return yaml.compose(text, Loader=_QuickLoader)
    except (yaml.YAMLError, UnreadableError):
        return None


# A value that begins with a quote which no other ends in its line; a quote in a quote is doubled.
_OPEN_QUOTE = re.compile(r"""(?:^|[:,\[{-])\s*(?:"(?:[^"\\]|\\.)*$|'(?:[^']|'')*$)""")
_FIELD = re.compile(r"""\s*(?:- +)*[^\s#'"\[{][^#]*?:(?:\s|$)|\s*["'][^"']*["']\s*:""")
_ITEM = re.compile(r"\s*(?:-(?:\s|$)|#|---|\.\.\.|%|$)")
# YAML 1.2.2, section 7.4.2: a field's name has at most 1,024 characters, its quotes among them. A
# key's line in a list is longer, and no name.
_LONG_NAME = re.compile(
    r"""(?:^|[{,])\s*(?:- +)*(?:"[^"]{1023,}"|'[^']{1023,}'|[^\s"'{\[,]{1025,}?)\s*:(?:\s|$)"""
)
_WORDS = (
    ("unknown escape", "a backslash in double quotes that escapes nothing; use single quotes"),
    ("escape sequence", "a backslash in double quotes that escapes nothing; use single quotes"),
    ("flow sequence", "a `[` without its `]`, or no comma between two items"),
    ("flow mapping", "a `{` without its `}`, or no comma between two fields"),
    ("quoted scalar", "a quote that is not closed"),
    ("'\\t'", "a tab where blanks belong"),
    ("cannot start any token", "a value that begins with a sign of YAML's own; put it in quotes"),
    ("expected ':'", "a line without a colon after the field's name"),
    ("mapping values are not allowed", "a `: ` where none belongs; put the value in quotes"),
    ("another document", "a second document (---)"),
    ("flow node", "a `[` or `{` that is not closed"),
    ("found ']'", "a `]` without its `[`"),
    ("found '}'", "a `}` without its `{`"),
    ("document (version", "a line that begins with %"),
    ("block", "a line that is indented otherwise than its neighbours"),
)


def _fault(error: yaml.MarkedYAMLError, lines: list[str]) -> tuple[int, str]:
    """Where an error was made, which is often before the parser meets it, and in which words.

    Never the error's own words: they quote the file, whatever was pasted there.
    """
    mark = error.problem_mark or error.context_mark
    last = max((i for i, line in enumerate(lines) if line.strip()), default=0)
    met = min(mark.line if mark else 0, last)
    said = f"{error.context} {error.problem}"
    why = next((words for part, words in _WORDS if part in said), "not understood")
    if "escape" in said:
        return met + 1, why
    if _LONG_NAME.search(lines[met]):
        return met + 1, "a field's name of more than 1,024 characters, which YAML does not take"
    for number, line in enumerate(lines[: met + 1], start=1):
        if _OPEN_QUOTE.search(line):
            return number, "a quote that is not closed in its line"
    if error.context_mark and ("parsing a flow" in said or "scanning a quoted" in said):
        return error.context_mark.line + 1, why
    before = [i for i in range(met) if lines[i].strip() and not lines[i].lstrip().startswith("#")]
    for index in before[-1:] if "':'" not in said else [*before[-1:], met]:
        if not _FIELD.match(lines[index]) and not _ITEM.match(lines[index]):
            return index + 1, "a line without a colon after the field's name"
    return met + 1, why


class _Reader:
    """From nodes to plain values, noting in the document where each stands."""

    def __init__(self, document: Document, text: str) -> None:
        self.document, self.text = document, text

    def mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        self.document.lines.setdefault(location, node.start_mark.line + 1)
        values: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise UnreadableError("a field's name must be a word", _HOW, line)
            self._check_seen(key, "a field's name")
            place = (*location, key.value)
            if place in self.document.lines:
                what = f"`{brief(key.value, 40)}` stands here twice, first in line "
                self.document.problems.append(
                    Problem(
                        self.document.file,
                        line,
                        f"{what}{self.document.lines[place]}",
                        "remove one of them",
                    )
                )
                continue
            self.document.lines[place] = line
            values[key.value] = self._value(value, place)
        return values

    def _value(self, node: yaml.Node, location: Location) -> Any:
        self.document.lines.setdefault(location, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            self._note_line(node, location)
            return self.mapping(node, location)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*location, i)) for i, item in enumerate(node.value)]
        return self._scalar(node, location)

    def _note_line(self, node: yaml.MappingNode, location: Location) -> None:
        """Keep how a field stands in a list's line: it may have been meant as text with a colon."""
        if len(node.value) == 1:
            end = node.value[0][1].end_mark
            if end.line == node.start_mark.line:
                self.document.written[location] = self.text[node.start_mark.index : end.index]

    def _scalar(self, node: yaml.Node, location: Location) -> Any:
        """Text, unless every YAML reads it as something else; dates and the like stay text."""
        self._check_seen(node, f"`{brief(str(location[-1]), 40)}`")
        kind, text = node.tag.removeprefix(_TAG), node.value
        if kind not in {"bool", "int", "float", "null"}:
            return text
        self.document.written[location] = text
        if kind == "null":
            return None
        if kind == "bool":
            return _BOOL[text.lower()]
        if kind == "int" and _INT.fullmatch(text):
            return int(text)
        return float(text) if _FLOAT.fullmatch(text) else text

    def _check_seen(self, node: yaml.Node, name: str) -> None:
        """Escapes in quotes can write what no reader sees, and halves of characters."""
        hidden = first_hidden(node.value, "\n\t")
        if hidden is not None:
            what = f"{name} holds a control character, or one that is not seen: "
            line = node.start_mark.line + 1
            raise UnreadableError(what + visible(node.value[hidden]), "remove it", line)


def dotted(location: Location) -> str:
    """A place in a document as people write it: `machine.cpus`, `ssh_keys[1]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")
