"""The table of attempts in docs/ is that of the tests."""

from __future__ import annotations

from tests.support.attempts import ATTEMPTS, GROUPS, TABLE, table


def test_the_table_is_up_to_date() -> None:
    """Else: python -m tests.support.attempts."""
    assert TABLE.read_text() == table()


def test_each_has_a_name_of_its_own() -> None:
    assert len(ATTEMPTS) == sum(map(len, GROUPS.values()))
