"""Which tests run beside which, where there are several workers (pytest-xdist).

A file's tests go to one worker, in order: many have a stack or a machine in common. All machines
belong to one worker: two emulated ones at once keep each other from the two cores (their virtual
processors wait for each other), so that each takes more than twice its time.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer

MACHINES, PROGRAM, UNIT = "machines", "program", "unit"
ON_AWS = ("test_aws", "test_ship", "test_spot")
"""Files in tests/machine that share a machine of the target aws."""
OF_MANY = ("test_neighbours", "test_network", "test_shares")
"""Those that share a machine for twenty people."""
OF_THEIR_OWN = (*ON_AWS, *OF_MANY, "test_bans", "test_lifecycle", "test_tutorial")
"""Those that leave the machine of all others alone; it is ended before they start theirs."""


class Beside(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Hands each worker whole groups, in order."""

    def _split_scope(self, nodeid: str) -> str:
        """The test's group (called by the base class)."""
        file = nodeid.partition("::")[0]
        return MACHINES if _kind(file) == MACHINES else file


@pytest.hookimpl
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Any:
    """Not pytest-xdist's own `loadgroup`: 3.8 writes its groups where pytest 9.2 reads none."""
    config.option.loadscopereorder = False  # by our order, not by the number of tests
    return Beside(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In the order in which workers are to take them."""
    items.sort(key=lambda item: _order(item.nodeid.partition("::")[0]))


def _order(file: str) -> tuple[int, bool, bool, bool]:
    own = PurePosixPath(file).stem
    order = [MACHINES, PROGRAM, UNIT].index(_kind(file))
    return order, own in OF_THEIR_OWN, own in ON_AWS, own in OF_MANY


def _kind(file: str) -> str:
    parts = PurePosixPath(file).parts
    return MACHINES if "machine" in parts else PROGRAM if "program" in parts else UNIT
