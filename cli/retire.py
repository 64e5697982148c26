"""`secondlock rotate` and `revoke`: an enrollment ends, and its id is never used again."""

from __future__ import annotations

import datetime as dt
import io
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer
import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from cli.files import locked, replace
from cli.options import JsonOption, ResearcherArgument, StackOption, echo_json
from cli.project import Stack, check_researcher, choose_stack, command, pulumi, shown
from cli.request import faults
from infra.problems import Problem, ProblemsError
from infra.requests import RETIRED_FILE, load_retired
from infra.yaml_lines import read_document

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
    """A request's text, and where its values stand in it."""

    text: str
    places: dict[str, tuple[yaml.Node, yaml.Node]]

    @property
    def enrollment(self) -> str:
        """The id as it is written."""
        return str(self.places["enrollment"][1].value)


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
        problems = faults(chosen, researcher, text)
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
    problems = read_document(path).problems
    if problems:
        raise ProblemsError(problems)
    text = path.read_bytes().decode("utf-8-sig")
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    fields = root.value if isinstance(root, yaml.MappingNode) else []
    places = {key.value: (key, value) for key, value in fields}
    request = _Request(text, places)
    if "enrollment" not in places or not _ENROLLMENT.fullmatch(request.enrollment):
        what = "has no enrollment of 32 hexadecimal digits to retire"
        raise ProblemsError([Problem(path, None, what, "put back the one it had, from git")])
    return request


def _rotated(request: _Request, fresh: str, *, end_sessions: bool) -> str:
    """The request's text with another id; everything else stays byte for byte."""
    key, value = request.places["enrollment"]
    edits = [(value.start_mark.index, value.end_mark.index, f'"{fresh}"')]
    if end_sessions and "end_sessions" in request.places:
        _, value = request.places["end_sessions"]
        edits.append((value.start_mark.index, value.end_mark.index, "true"))
    elif end_sessions:
        # Before the enrollment's key: there it fits both `{...}` and one field a line.
        flow = request.text.lstrip().startswith("{")
        line = "end_sessions: true" + (", " if flow else "\n" + " " * key.start_mark.column)
        edits.append((key.start_mark.index, key.start_mark.index, line))
    text = request.text
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _retire(stack: Stack, researcher: str, enrollment: str, reason: Reason) -> None:
    """Add the enrollment to retired.yaml, unless an interrupted run did. Raises ProblemsError."""
    if any(one.enrollment == enrollment for one in load_retired(stack.requests)):
        return
    path = stack.requests / RETIRED_FILE
    editor = YAML()
    editor.indent(mapping=2, sequence=4, offset=2)
    editor.width = 1000
    editor.preserve_quotes = True  # what stands there stays as it is, to the byte
    document = editor.load(path.read_text("utf-8") if path.exists() else _NEW_RETIRED)
    entry = CommentedMap(
        enrollment=DoubleQuotedScalarString(enrollment),
        researcher=researcher,
        reason=reason,
        date=dt.datetime.now(dt.timezone.utc).date(),
    )
    entry.fa.set_flow_style()
    entries = document["retired"]
    entries.fa.set_block_style()
    entries.append(entry)
    buffer = io.BytesIO()
    editor.dump(document, buffer)
    replace(path, buffer.getvalue(), mode=0o644)
