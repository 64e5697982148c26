"""YAML with the line of every value: what a person's error messages need.

PyYAML's parser without its constructors: nothing in a file can make an object. Anchors, aliases and
tags are refused, so that a file of ten lines cannot unfold into gigabytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from infra.problems import Problem

MAX_BYTES = 64 * 1024
"""A larger file is not parsed: no request comes near it."""

Location = tuple[str | int, ...]
"""Keys and list indices from the document's root, as Pydantic's `loc`."""

_PRIVATE_KEY = re.compile("PRIVATE KEY-----|PuTTY-User-Key-File-|b3BlbnNzaC1rZXktdjEA")
_HOW = "stacks/README.md shows how it is written"
_TAG = "tag:yaml.org,2002:"


@dataclass
class Document:
    """A file's mapping as plain values. Where it cannot be read, `problems` says why."""

    file: Path
    data: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    lines: dict[Location, int] = field(default_factory=dict)
    """1-based line of each value, or of its key where it has one."""
    written: dict[Location, str] = field(default_factory=dict)
    """How a scalar that YAML takes for a number, a boolean or nothing stands in the file."""

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


def read_document(file: Path) -> Document:
    """Read one YAML file whose root is a mapping. Raises nothing: see `Document.problems`."""
    document = Document(file)
    try:
        root = _compose(_read_text(file))
        document.data = _Reader(document).mapping(root, ())
    except _RefusedError as refused:
        document.problems.append(Problem(file, refused.line, refused.what, refused.mend))
    except RecursionError:
        document.problems.append(Problem(file, None, "not valid YAML: nested too deeply", _HOW))
    return document


def holds_private_key(text: str) -> bool:
    """True for OpenSSH's, PEM's and PuTTY's private keys, with or without their armour."""
    return _PRIVATE_KEY.search(text) is not None


class _RefusedError(Exception):
    def __init__(self, line: int | None, what: str, mend: str | None = None) -> None:
        super().__init__(what)
        self.line, self.what, self.mend = line, what, mend


def _read_text(file: Path) -> str:
    try:
        if not file.is_file():
            raise _RefusedError(None, "not a regular file", "move it out of this folder")
        with file.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise _RefusedError(None, f"cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise _RefusedError(None, f"larger than {MAX_BYTES // 1024} KiB: not what belongs here")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise _RefusedError(line, "not UTF-8 text", "save the file as UTF-8") from None
    private = _PRIVATE_KEY.search(text)
    if private:
        raise _RefusedError(
            text[: private.start()].count("\n") + 1,
            "THIS IS A PRIVATE KEY. It must never leave its owner's computer, and everyone who has "
            "seen this file can use it",
            "remove it here and from git's history, stop using it everywhere, make a new one with "
            "`ssh-keygen -t ed25519` and give the line in its .pub file",
        )
    return text


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        plain = not isinstance(event, yaml.AliasEvent)
        if plain and not getattr(event, "anchor", None) and not getattr(event, "tag", None):
            return super().compose_node(parent, index)
        line = event.start_mark.line + 1
        what = "YAML's anchors, aliases and tags (&, *, !) are not allowed here"
        raise _RefusedError(line, what, "write the value out, or put it in quotes")


def _compose(text: str) -> yaml.MappingNode:
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        # Not str(error): that quotes the file's text, whatever was pasted there.
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise _RefusedError(line, f"not valid YAML: {error.problem}", _HOW) from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise _RefusedError(line, "not valid YAML: a control character") from None
    if not isinstance(root, yaml.MappingNode):
        raise _RefusedError(1, "no `field: value` lines", _HOW)
    return root


class _Reader:
    """From nodes to plain values, noting in the document where each stands."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.constructor = yaml.constructor.SafeConstructor()

    def mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        self.document.lines.setdefault(location, node.start_mark.line + 1)
        values: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise _RefusedError(line, "a field's name must be a word")
            place = (*location, key.value)
            if place in self.document.lines:
                what = f"`{key.value:.40}` stands here twice, first in line "
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
            return self.mapping(node, location)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*location, i)) for i, item in enumerate(node.value)]
        return self._scalar(node, location)

    def _scalar(self, node: yaml.Node, location: Location) -> Any:
        """Text, unless YAML 1.1 reads it as something else; dates and the like stay text."""
        if node.tag.removeprefix(_TAG) not in {"bool", "int", "float", "null"}:
            return node.value
        try:
            value = self.constructor.construct_object(node)
        except ValueError:  # such as `0b_`, or an integer of 5,000 digits
            return node.value
        self.document.written[location] = node.value
        return value
