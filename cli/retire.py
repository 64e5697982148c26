"""`secondlock rotate` and `revoke`: an enrollment ends, and its id is never used again."""

from __future__ import annotations

import datetime as dt
import io
import json
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from cli.files import locked, replace
from cli.options import JsonOption, ResearcherArgument, StackOption, echo_json
from cli.project import Stack, check_researcher, choose_stack, command, pulumi, shown
from cli.request import faults
from infra.model.problems import Problem, ProblemsError
from infra.model.reading import UnreadableError, read_text
from infra.model.retired import DELETE, RETIRED_BYTES, RETIRED_FILE, load_retired
from infra.model.yaml_lines import compose, read_document

Reason = Literal["rotated", "revoked"]

_ENROLLMENT = re.compile(r"[0-9a-f]{32}")

_NEW_RETIRED = """\
# Enrollments that are over, written by `secondlock rotate` and `revoke`. Keep every line: it is
# what refuses an old phone when an old commit or a former researcher comes back.
retired: []
"""

EndSessionsOption = Annotated[
    bool,
    typer.Option(
        "--end-sessions", help="End this researcher's open sessions when `pulumi up` applies it."
    ),
]


@dataclass(frozen=True)
class _Request:
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


def rotate(
    researcher: ResearcherArgument,
    stack: StackOption = None,
    end_sessions: EndSessionsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Give a researcher a new enrollment: new QR, new emergency codes, the old ones refused.

    For a lost phone or used-up codes. Takes effect with `pulumi up`. Can be run again after an
    interruption.
    """
    chosen = choose_stack(stack)
    check_researcher(researcher)
    path = chosen.request(researcher)
    with _locked(chosen, researcher):
        request = _read(path)
        fresh = secrets.token_hex(16)
        text = _rotated(request, fresh, end_sessions=end_sessions)
        problems = faults(chosen, chosen.values(), researcher, text)
        if problems:
            raise ProblemsError(problems)
        # The old one is retired first: cut off in between, the request is refused, not reused.
        _retire(chosen, researcher, request.enrollment, "rotated")
        replace(path, text.encode())
    up = pulumi("up", stack=chosen)
    if as_json:
        echo_json(
            {
                "stack": chosen.name,
                "researcher": researcher,
                "enrollment": fresh,
                "retired": request.enrollment,
                "next": up,
            }
        )
        return
    typer.echo(f"{researcher} has a new enrollment in {shown(path)}; the old one is retired.")
    typer.echo(f"The machine still takes the old one until: {up}")
    typer.echo(f"Then show the new one: {command('enroll', researcher, stack=chosen)}")


def revoke(
    researcher: ResearcherArgument, stack: StackOption = None, as_json: JsonOption = False
) -> None:
    """Remove a researcher: the request goes, and its enrollment never comes back.

    Takes effect with `pulumi up`, which also removes a machine that was theirs alone, with its
    data. Can be run again after an interruption.
    """
    chosen = choose_stack(stack)
    check_researcher(researcher)
    path = chosen.request(researcher)
    with _locked(chosen, researcher):
        request = _read(path)
        _retire(chosen, researcher, request.enrollment, "revoked")
        path.unlink()
    up = pulumi("up", stack=chosen)
    if as_json:
        echo_json(
            {
                "stack": chosen.name,
                "researcher": researcher,
                "retired": request.enrollment,
                "next": up,
            }
        )
        return
    typer.echo(f"Removed {shown(path)}; the enrollment is retired.")
    typer.echo(f"{researcher} can log in until: {up}")
    typer.echo(
        f"That removes {researcher}'s own machine and data; see first: "
        f"{pulumi('preview', stack=chosen)}"
    )


@contextmanager
def _locked(stack: Stack, researcher: str) -> Iterator[None]:
    """Alone in the stack's folder, with the researcher's request there. Raises ProblemsError."""
    path = stack.request(researcher)
    if not path.parent.is_dir():
        raise _no_request(stack, researcher)
    with locked(path.parent):
        if not path.is_file():
            raise _no_request(stack, researcher)
        yield


def _no_request(stack: Stack, researcher: str) -> ProblemsError:
    left = [one for one in load_retired(stack.requests) if one.researcher == researcher]
    if left and left[-1].reason == "revoked":
        what = f"{researcher} was revoked on {left[-1].date} already"
        return ProblemsError([Problem(None, None, what, pulumi("up", stack=stack))])
    there = (
        ", ".join(
            sorted(path.stem for path in stack.requests.glob("*.yaml") if path.name != RETIRED_FILE)
        )
        or "none"
    )
    what = f"there is no {stack.request(researcher)} (requests of this stack: {there})"
    mend = command("request", researcher, stack=stack)
    return ProblemsError([Problem(None, None, what, mend)])


def _read(path: Path) -> _Request:
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
    return _Request(path, text, document.data, compose(text))


def _rotated(request: _Request, fresh: str, *, end_sessions: bool) -> str:
    """The request's text with another id; everything else stays byte for byte, if it can.

    Raises ProblemsError where the text is in a form that cannot be changed.
    """
    changes: dict[str, Any] = {"enrollment": fresh}
    if end_sessions:
        changes["end_sessions"] = True
    for edit in (_edited, _rewritten):
        text = edit(request, changes)
        if _data(request.path, text) == {**request.data, **changes}:
            return text
    raise ProblemsError([_cannot_change(request.path)])


def _edited(request: _Request, changes: dict[str, Any]) -> str:
    """The text with the changed values alone exchanged: only the usual forms of YAML bear it."""
    end = "\r\n" if "\r\n" in request.text else "\n"
    edits = []
    for name, value in changes.items():
        new = json.dumps(value)
        if name in request.places:
            node = request.places[name][1]
            start, stop = node.start_mark.index, node.end_mark.index
            blank = " " if start == stop else ""
            edits.append((start, stop, blank + new + (end if _is_block(node) else "")))
        else:
            # Before the enrollment's name: there it fits both `{...}` and one field a line.
            mark = request.places["enrollment"][0].start_mark
            after = ", " if request.root.flow_style else end + " " * mark.column
            edits.append((mark.index, mark.index, f"{name}: {new}{after}"))
    text = request.text
    for start, stop, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[stop:]
    return text


def _is_block(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style in {"|", ">"}


def _rewritten(request: _Request, changes: dict[str, Any]) -> str:
    """The text as ruamel.yaml writes it anew: comments stay, the form may not."""
    return _dumped(request.text, lambda document: document.update(changes))


def _dumped(text: str, change: Callable[[CommentedMap], object]) -> str:
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


def _data(path: Path, text: str) -> dict[str, Any]:
    """What we read in a text; nothing where it has faults."""
    document = read_document(path, text=text)
    return {} if document.problems else document.data


def _cannot_change(path: Path) -> Problem:
    what = "is YAML in a form that this program cannot change"
    return Problem(path, None, what, "put each field on a line of its own, then try again")


def _retire(stack: Stack, researcher: str, enrollment: str, reason: Reason) -> None:
    """Add the enrollment to retired.yaml, unless an interrupted run did. Raises ProblemsError."""
    before = load_retired(stack.requests)
    if any(one.enrollment == enrollment for one in before):
        return
    path = stack.requests / RETIRED_FILE
    added: dict[str, Any] = {"enrollment": enrollment, "researcher": researcher, "reason": reason}
    added["date"] = dt.datetime.now(dt.timezone.utc).date()
    if reason == "revoked":
        # The word without which `up` would keep from deleting it; see infra.record.
        added["data"] = DELETE
    entry = CommentedMap({**added, "enrollment": DoubleQuotedScalarString(enrollment)})
    entry.fa.set_flow_style()

    def add(document: CommentedMap) -> None:
        document.fa.set_block_style()
        document["retired"].fa.set_block_style()
        document["retired"].append(entry)

    old = read_text(path, inside=path.parent, limit=RETIRED_BYTES) if path.exists() else None
    text = _dumped(old or _NEW_RETIRED, add)
    kept = _data(path, old) if old else {"retired": []}
    wanted = {**added, "date": str(added["date"])}
    if _data(path, text) != {"retired": [*kept["retired"], wanted]}:
        raise ProblemsError([_cannot_change(path)])
    replace(path, text.encode(), mode=0o644)
