"""What was found of each client, and the table of it in docs/reference/clients.md."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

TABLE = Path(__file__).parents[2] / "docs" / "reference" / "clients.md"
YES, NO = "yes", "no"
HEAD = """\
# Which clients get in

Made by `make clients` ([tests/clients/](../../tests/clients/)), which runs each of them against a
booted machine, as people use it; "its way" is a program's way of connecting, replayed. By a code:
key and one-time code, typed at its prompt. By a certificate: [one code a
day](../how-to/one-code-a-day.md), nothing is asked. An empty field was not tried. Security keys are
OpenSSH's own matter ([how](../how-to/security-keys.md)).

| client | by a code | by a certificate |
|---|---|---|
"""

_found: dict[str, dict[str, str]] = {}


def note(client: str, column: str, what: str = YES) -> None:
    """A client gets in, or does not; `column` is `code` or `certificate`."""
    _found.setdefault(client, {})[column] = what


def rows() -> list[str]:
    """The table's lines, as far as clients were tried."""
    return [
        f"| {client} | {found.get('code', '')} | {found.get('certificate', '')} |"
        for client, found in sorted(_found.items(), key=lambda item: item[0].lower())
    ]


def need(*programs: str) -> None:
    """Skip the test where a program is not installed."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (make setup SETUP_FLAGS=--clients)")
