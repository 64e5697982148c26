"""Which tests run beside which (pytest-xdist, `--dist loadgroup`).

A file's tests go to one worker, in order: many have a stack or a machine in common. So do all tests
of the machine that many files share, and those of all other machines: no more than two boot at a
time. What takes longest begins first.
"""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
SHARED, OTHERS = "the shared machine", "other machines"
FIRST = (SHARED, OTHERS, "program")


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test its group, and sort by it."""
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(_group(item)))
    items.sort(key=_place)


def _group(item: pytest.Item) -> str:
    folder, file = item.path.parent.name, item.path.stem
    if folder != "machine":
        return f"{folder}/{file}"
    return SHARED if "machine" in getattr(item, "fixturenames", ()) else OTHERS


def _place(item: pytest.Item) -> int:
    marker = item.get_closest_marker("xdist_group")
    kind = marker.args[0].partition("/")[0] if marker else ""
    return FIRST.index(kind) if kind in FIRST else len(FIRST)
