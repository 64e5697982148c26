"""A person's authenticators and emergency codes in their request: one is changed, the rest stay."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from cli.edit import Request
from cli.project import Stack, command
from cli.retired import Reason, checked, request_of, retire
from infra.factors import PHONE
from infra.files import write_whole
from infra.model.authenticators import Part
from infra.model.problems import Problem, ProblemsError


def named(request: Request) -> dict[str, str]:
    """The authenticators' ids by name, whether the request says them or not."""
    found = request.data.get("authenticators")
    if isinstance(found, dict):
        return {str(name): str(issued) for name, issued in found.items()}
    return {PHONE: request.enrollment}


def codes_of(request: Request) -> str:
    """The id of the emergency codes."""
    return str(request.data.get("emergency_codes") or request.enrollment)


def add(stack: Stack, researcher: str, name: str) -> bool:
    """Write a further authenticator into the request; False where it is there already.

    Raises ProblemsError.
    """
    with request_of(stack, researcher) as request:
        there = named(request)
        if name in there:
            return False
        wanted = {**there, name: secrets.token_hex(16)}
        text = checked(stack, researcher, request, {"authenticators": wanted})
        write_whole(request.path, text.encode())
    return True


def renew(stack: Stack, researcher: str, name: str, *, end_sessions: bool) -> tuple[str, str]:
    """Another id for this authenticator alone, and the one that is over. Raises ProblemsError."""
    with request_of(stack, researcher) as request:
        there = _with(stack, researcher, request, name)
        fresh = secrets.token_hex(16)
        changes = _ending({"authenticators": {**there, name: fresh}}, end_sessions)
        _end(stack, researcher, request, there[name], "authenticator", "rotated", changes)
    return fresh, there[name]


def remove(stack: Stack, researcher: str, name: str, *, end_sessions: bool) -> str:
    """Take this authenticator out of the request; the id that is over. Raises ProblemsError."""
    with request_of(stack, researcher) as request:
        there = _with(stack, researcher, request, name)
        rest = {other: issued for other, issued in there.items() if other != name}
        if not rest:
            what = f"{name} is the only authenticator of {researcher}: nobody could log in"
            lost = command("rotate", researcher, "--device", name, stack=stack)
            mend = f"if it is lost: {lost}; if {researcher} leaves: "
            mend += command("revoke", researcher, stack=stack)
            raise ProblemsError([Problem(request.path, None, what, mend)])
        changes = _ending({"authenticators": rest}, end_sessions)
        _end(stack, researcher, request, there[name], "authenticator", "revoked", changes)
    return there[name]


def new_codes(stack: Stack, researcher: str) -> tuple[str, str]:
    """Another id for the emergency codes, and the one that is over. Raises ProblemsError."""
    with request_of(stack, researcher) as request:
        old, fresh = codes_of(request), secrets.token_hex(16)
        changes = {"emergency_codes": fresh}
        _end(stack, researcher, request, old, "emergency_codes", "rotated", changes)
    return fresh, old


def all_new(request: Request) -> dict[str, Any]:
    """Changes by which everything that was issued to a person is issued anew."""
    fresh = secrets.token_hex(16)
    changes: dict[str, Any] = {"enrollment": fresh}
    if request.data.get("authenticators") is not None:
        changes["authenticators"] = {
            name: fresh if issued == request.enrollment else secrets.token_hex(16)
            for name, issued in named(request).items()
        }
    if request.data.get("emergency_codes") is not None:
        changes["emergency_codes"] = secrets.token_hex(16)
    return changes


def retire_all(
    stack: Stack, researcher: str, request: Request, reason: Reason, said: Mapping[str, str]
) -> None:
    """All that was issued to a person is over; `said` of their data. Raises ProblemsError."""
    others = {*named(request).values(), codes_of(request)} - {request.enrollment}
    for issued in sorted(others):
        retire(stack, researcher, issued, reason)
    retire(stack, researcher, request.enrollment, reason, said=said)


def _with(stack: Stack, researcher: str, request: Request, name: str) -> dict[str, str]:
    """The authenticators, with this one among them. Raises ProblemsError."""
    there = named(request)
    if name not in there:
        what = f"{researcher} has no authenticator {name} (there are: {', '.join(there)})"
        mend = f"a new one: {command('enroll', researcher, '--device', name, stack=stack)}"
        raise ProblemsError([Problem(request.path, None, what, mend)])
    return there


def _ending(changes: dict[str, Any], end_sessions: bool) -> dict[str, Any]:
    return {**changes, "end_sessions": True} if end_sessions else changes


def _end(
    stack: Stack,
    researcher: str,
    request: Request,
    issued: str,
    part: Part,
    reason: Reason,
    changes: Mapping[str, Any],
) -> None:
    """Retire an id, then change the request: cut off in between, it is refused.

    Of the enrollment's own id that `part` alone is over.
    """
    text = checked(stack, researcher, request, changes)
    retire(stack, researcher, issued, reason, part if issued == request.enrollment else None)
    write_whole(request.path, text.encode())
