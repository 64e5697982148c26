"""Which tests run beside which, where there are several workers (pytest-xdist).

A file's tests go to one worker, in order: many have a stack or a machine in common. So do all tests
of the machine that many files share. Two machines at once keep both cores busy: those that one file
boots for itself come last, when there is nothing lighter to do beside the shared one.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer

SHARED, OTHERS, PROGRAM, UNIT = "shared machine", "other machines", "program", "unit"
ON_AWS = ("test_aws", "test_ship", "test_spot")
"""Files in tests/machine that share a machine of the target aws."""
OF_THEIR_OWN = (*ON_AWS, "test_bans", "test_lifecycle")
"""Those that leave the machine of all others alone."""


class Beside(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Hands each worker whole groups, in order."""

    def _split_scope(self, nodeid: str) -> str:
        """The test's group (called by the base class)."""
        file = nodeid.partition("::")[0]
        if _kind(file) == SHARED:
            return SHARED
        return "aws" if PurePosixPath(file).stem in ON_AWS else file


@pytest.hookimpl
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Any:
    """Not pytest-xdist's own `loadgroup`: 3.8 writes its groups where pytest 9.2 reads none."""
    config.option.loadscopereorder = False  # by our order, not by the number of tests
    return Beside(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In the order in which workers are to take them."""
    order = [SHARED, PROGRAM, UNIT, OTHERS]
    items.sort(key=lambda item: order.index(_kind(item.nodeid.partition("::")[0])))


def _kind(file: str) -> str:
    path = PurePosixPath(file)
    if "machine" in path.parts:
        return OTHERS if path.stem in OF_THEIR_OWN else SHARED
    return PROGRAM if "program" in path.parts else UNIT
