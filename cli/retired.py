"""retired.yaml, as the command line writes it: first what is over, then the request."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Literal

from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from cli.edit import Request, cannot_change, changed, data, dumped, read
from cli.files import locked
from cli.project import Stack, command, pulumi
from cli.request import faults
from infra.files import write_whole
from infra.model.authenticators import Part, mark
from infra.model.problems import Problem, ProblemsError
from infra.model.reading import read_text
from infra.model.retired import RETIRED_BYTES, RETIRED_FILE, load_retired

Reason = Literal["rotated", "revoked"]

_NEW_RETIRED = """\
# Enrollments that are over, written by `secondlock rotate`, `revoke` and `codes`. Keep every line:
# it is what refuses an old phone when an old commit or a former researcher comes back.
retired: []
"""


@contextmanager
def request_of(stack: Stack, researcher: str) -> Iterator[Request]:
    """The researcher's request, with the stack's folder for oneself. Raises ProblemsError."""
    path = stack.request(researcher)
    if not path.parent.is_dir():
        raise _no_request(stack, researcher)
    with locked(path.parent):
        if not path.is_file():
            raise _no_request(stack, researcher)
        yield read(path)


def checked(stack: Stack, researcher: str, request: Request, changes: Mapping[str, Any]) -> str:
    """The request's text with these changes. Raises ProblemsError where something is wrong then."""
    text = changed(request, changes)
    if problems := faults(stack, stack.values(), researcher, text):
        raise ProblemsError(problems)
    return text


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


def retire(
    stack: Stack,
    researcher: str,
    issued: str,
    reason: Reason,
    part: Part | None = None,
    said: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Add an id to retired.yaml, unless an interrupted run did.

    `part` says what alone is over, `said` what becomes of the person's data. Raises ProblemsError.
    """
    before = load_retired(stack.requests)
    if any(one.mark == mark(issued, part) for one in before):
        return
    path = stack.requests / RETIRED_FILE
    added: dict[str, Any] = {"enrollment": issued, "researcher": researcher, "reason": reason}
    added["date"] = dt.datetime.now(dt.timezone.utc).date()
    if part is not None:
        added["part"] = part
    added |= said
    entry = CommentedMap({**added, "enrollment": DoubleQuotedScalarString(issued)})
    entry.fa.set_flow_style()

    def add(document: CommentedMap) -> None:
        document.fa.set_block_style()
        document["retired"].fa.set_block_style()
        document["retired"].append(entry)

    old = read_text(path, inside=path.parent, limit=RETIRED_BYTES) if path.exists() else None
    text = dumped(old or _NEW_RETIRED, add)
    kept = data(path, old) if old else {"retired": []}
    wanted = {**added, "date": str(added["date"])}
    if data(path, text) != {"retired": [*kept["retired"], wanted]}:
        raise ProblemsError([cannot_change(path)])
    write_whole(path, text.encode(), mode=0o644)
