"""The table of clients, once the others of this folder have run."""

from __future__ import annotations

import os

from tests.clients.found import HEAD, TABLE, rows


def test_the_table_in_docs_is_what_was_found() -> None:
    """Else: SECONDLOCK_WRITE=1 make clients."""
    if os.environ.get("SECONDLOCK_WRITE"):
        TABLE.write_text(HEAD + "".join(f"{row}\n" for row in rows()), encoding="utf-8")
    there = set(TABLE.read_text(encoding="utf-8").splitlines())
    assert [row for row in rows() if row not in there] == []
