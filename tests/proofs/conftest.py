"""Proofs: what takes too long for `make test`, or needs Go, Node or an archive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from image.rootfs import scratch_for_namespace
from tests.proofs.standins import StandIns
from tests.proofs.stock import Installed, install_on_stock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    Aloud = Callable[[], AbstractContextManager[None]]

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them, and give them two hours."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("proof")
            item.add_marker(pytest.mark.timeout(7200, method="signal"))


@pytest.fixture(scope="session")
def aloud(request: pytest.FixtureRequest) -> Aloud:
    """What is printed within is seen at once: some steps take a quarter of an hour."""
    capture: Any = request.config.pluginmanager.getplugin("capturemanager")
    within: Aloud = capture.global_and_fixture_disabled
    return within


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIns]:
    """What the install script fetches besides Debian's archive."""
    stand_ins = StandIns(tmp_path_factory.mktemp("stand-ins"))
    try:
        yield stand_ins
    finally:
        stand_ins.end()


@pytest.fixture(scope="session")
def installed(stand_ins: StandIns, aloud: Aloud) -> Iterator[Installed]:
    """A stock Debian on which the script ran, for all proofs of it."""
    with scratch_for_namespace() as place:
        with aloud():
            print()
            made = install_on_stock(Path(place), stand_ins)
        yield made
