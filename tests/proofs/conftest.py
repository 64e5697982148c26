"""Proofs: what takes too long for `make test`, or needs Go, Node or an archive."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them, and give them two hours."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("proof")
            item.add_marker(pytest.mark.timeout(7200, method="signal"))
