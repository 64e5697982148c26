"""A request's file, changed as an editor would: what is not meant stays as it is."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from infra.model.problems import Problem, ProblemsError
from infra.model.reading import UnreadableError, read_text
from infra.model.yaml_lines import compose, read_document

_ENROLLMENT = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Request:
    """A request's text, its values, and where they stand in it."""

    path: Path
    text: str
    data: dict[str, Any]
    root: yaml.MappingNode

    @property
    def places(self) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Each field's name and value."""
        return {key.value: (key, value) for key, value in self.root.value}

    @property
    def enrollment(self) -> str:
        """The id as it is written."""
        return str(self.data["enrollment"])


def read(path: Path) -> Request:
    """The request, which need not be valid: its id may be retired. Raises ProblemsError."""
    try:
        text = read_text(path, inside=path.parent)
    except UnreadableError as error:
        raise ProblemsError([error.problem.at(path)]) from None
    document = read_document(path, text=text)
    if document.problems:
        raise ProblemsError(document.problems)
    if not _ENROLLMENT.fullmatch(str(document.data.get("enrollment"))):
        what = "has no enrollment of 32 hexadecimal digits to retire"
        raise ProblemsError([Problem(path, None, what, "put back the one it had, from git")])
    return Request(path, text, document.data, compose(text))


def changed(request: Request, changes: Mapping[str, Any]) -> str:
    """The request's text with these fields instead; all else stays byte for byte, if it can.

    Raises ProblemsError where the text is in a form that cannot be changed.
    """
    for edit in (_edited, _rewritten):
        text = edit(request, changes)
        if data(request.path, text) == {**request.data, **changes}:
            return text
    raise ProblemsError([cannot_change(request.path)])


def _edited(request: Request, changes: Mapping[str, Any]) -> str:
    """The text with the changed values alone exchanged: only the usual forms of YAML bear it."""
    if any(_is_block_of_fields(request, name) for name in changes):
        return ""
    end = "\r\n" if "\r\n" in request.text else "\n"
    edits = []
    for name, value in changes.items():
        new = json.dumps(value)
        if name in request.places:
            node = request.places[name][1]
            start, stop = node.start_mark.index, node.end_mark.index
            blank = " " if start == stop else ""
            edits.append((start, stop, blank + new + (end if _is_block(node) else "")))
        elif request.root.flow_style:
            mark = request.places["enrollment"][0].start_mark
            edits.append((mark.index, mark.index, f"{name}: {new}, "))
        else:
            last, column = len(request.text), request.places["enrollment"][0].start_mark.column
            before = "" if request.text.endswith("\n") else end
            edits.append((last, last, f"{before}{' ' * column}{name}: {new}{end}"))
    text = request.text
    for start, stop, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[stop:]
    return text


def _is_block_of_fields(request: Request, name: str) -> bool:
    """Whether it is a mapping of one field a line, with comments of their own perhaps."""
    node = request.places[name][1] if name in request.places else None
    return isinstance(node, yaml.MappingNode) and not node.flow_style


def _is_block(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style in {"|", ">"}


def _rewritten(request: Request, changes: Mapping[str, Any]) -> str:
    """The text as ruamel.yaml writes it anew: comments stay, the form may not."""

    def change(document: CommentedMap) -> None:
        for name, value in changes.items():
            if isinstance(value, dict) and isinstance(document.get(name), CommentedMap):
                _renew(document[name], value)
            else:
                document[name] = _quoted(value)

    return dumped(request.text, change)


def _renew(fields: CommentedMap, wanted: Mapping[str, Any]) -> None:
    """Make it so; comments of fields that stay do too."""
    for name in [name for name in fields if name not in wanted]:
        del fields[name]
    for name, value in wanted.items():
        if fields.get(name) != value:
            fields[name] = _quoted(value)


def _quoted(value: Any) -> Any:
    """Texts in quotes: an id of digits alone is a number to YAML."""
    if isinstance(value, str):
        return DoubleQuotedScalarString(value)
    if isinstance(value, dict):
        return {name: _quoted(each) for name, each in value.items()}
    return value


def dumped(text: str, change: Callable[[CommentedMap], object]) -> str:
    """The text after a change to what it says; empty where ruamel.yaml does not understand it."""
    editor = YAML()
    editor.indent(mapping=2, sequence=4, offset=2)
    editor.width = 1000
    editor.preserve_quotes = True  # what stands there stays as it is, to the byte
    buffer = io.BytesIO()
    try:
        document = editor.load(text)
        change(document)
        editor.dump(document, buffer)
    except (YAMLError, AttributeError, KeyError, ValueError):
        return ""
    return buffer.getvalue().decode()


def data(path: Path, text: str) -> dict[str, Any]:
    """What we read in a text; nothing where it has faults."""
    document = read_document(path, text=text)
    return {} if document.problems else document.data


def cannot_change(path: Path) -> Problem:
    what = "is YAML in a form that this program cannot change"
    return Problem(path, None, what, "put each field on a line of its own, then try again")
