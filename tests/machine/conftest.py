"""Machines for the tests in this folder.

SECONDLOCK_TEST_KEEP=DIR keeps the shared machine in that folder from run to run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from cloudinit.bundle import bundle
from infra.local import qemu
from tests.support.aws_machine import GROUP, RECORD, AwsMachine
from tests.support.cloud import Cloud
from tests.support.machine import BOOT, Machine
from tests.support.shared import SEATS, SharedMachine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.support.client import Client
    from tests.support.people import Person

HERE = Path(__file__).parent
TIMEOUT = 600  # seconds; the first test of a machine waits for its boot
POOL = {"key+totp": 32, "password+totp": 6}
PRODUCT_MAXRETRY = 5
# A restarted or replaced machine is no longer the one that the other tests share.
LATE = ("restarted", "replaced")
_running: dict[str, Machine] = {}
"""Machines that many tests use, by their fixtures."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark these tests, give them a time limit, and put those last that restart the machine."""
    ours = [item for item in items if HERE in item.path.parents]
    for item in ours:
        item.add_marker("machine")
        if not item.get_closest_marker("timeout"):
            # By a signal: fixtures still end their machines.
            item.add_marker(pytest.mark.timeout(TIMEOUT, method="signal"))
    items.sort(key=_lateness)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Mark the last of those that will run with a machine, now that others are deselected."""
    for name in ("machine", "shared"):
        using = [item for item in session.items if name in getattr(item, "fixturenames", ())]
        if using:
            using[-1].add_marker(pytest.mark.last_of(name))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """A machine is ended once nobody needs it: an idle one takes others' time."""
    for marker in item.iter_markers("last_of"):
        for name in set(marker.args) & _running.keys():
            _running.pop(name).end()


def _lateness(item: pytest.Item) -> int:
    used = getattr(item, "fixturenames", ())
    return max((LATE.index(name) + 1 for name in LATE if name in used), default=0)


@pytest.fixture(scope="session")
def image() -> None:
    """The golden image, built where it is missing; `make test` has begun before."""
    argv = [sys.executable, "-m", "tools.image"]
    made = subprocess.run(argv, cwd=HERE.parents[1], capture_output=True, text=True)
    if made.returncode:
        pytest.fail(f"no machine to boot: {made.stdout[-2000:]}{made.stderr[-2000:]}")


_M = TypeVar("_M", bound=Machine)


@contextmanager
def _booted(name: str, machine: _M, pool: Mapping[str, int], *, keep: bool) -> Iterator[_M]:
    """The machine with so many people of each method; a kept one is brought up to date."""
    try:
        if not machine.running:
            machine.boot()
            for factors, count in pool.items():
                machine.enlist(factors, count)
            machine.apply()
        elif (error := machine.upgrade(bundle("local").data, "--back")["error"]) is not None:
            pytest.fail(f"the kept machine cannot be brought up to date: {error}")
        machine.lift_bans()
        if not keep:
            _running[name] = machine
        yield machine
    finally:
        if not keep:
            machine.end()


@pytest.fixture(scope="session")
def machine(image: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """One booted machine that many researchers share, for all tests that leave it running."""
    kept = os.environ.get("SECONDLOCK_TEST_KEEP")
    place = Path(kept) if kept else tmp_path_factory.mktemp("machine")
    with _booted("machine", Machine(place, keep=bool(kept)), POOL, keep=bool(kept)) as machine:
        yield machine


@pytest.fixture
def client(machine: Machine) -> Client:
    """Stock ssh towards the shared machine, from an address that nothing has banned."""
    return machine.client


@pytest.fixture
def guarded(machine: Machine) -> Iterator[Machine]:
    """The machine with fail2ban as the product sets it."""
    machine.lift_bans(PRODUCT_MAXRETRY)
    yield machine
    machine.lift_bans()


@pytest.fixture(scope="session")
def shared(image: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedMachine]:
    """One booted machine for twenty people with a share each, for tests that leave it running."""
    kept = os.environ.get("SECONDLOCK_TEST_KEEP_SHARED")
    place = Path(kept) if kept else tmp_path_factory.mktemp("shared")
    pool = {"key+totp": SEATS}
    with _booted("shared", SharedMachine(place, keep=bool(kept)), pool, keep=bool(kept)) as shared:
        yield shared


@pytest.fixture(scope="session")
def aws(image: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsMachine]:
    """A machine of the target aws whose first roster, of four people, has arrived.

    The guest is the one that EC2 gets, booted here: its bundle from S3, its one data volume under
    the name that EC2 gives it. moto listens on this computer's loopback, which the guest's root
    reaches by QEMU's gateway.
    """
    cloud = Cloud(tmp_path_factory.mktemp("cloud"))
    try:
        for group in (GROUP, RECORD):
            cloud.client("logs").create_log_group(logGroupName=group)
        machine = AwsMachine(tmp_path_factory.mktemp("aws"), cloud)
        try:
            qemu.create_data(machine.data, 5)
            machine.add(count=4)
            machine.put()
            machine.boot()
            machine.wait_for("systemctl is-active ssh.service", timeout=BOOT)
            machine.lift_bans()
            yield machine
        finally:
            machine.end()
    finally:
        cloud.end()


@pytest.fixture(scope="session")
def aws_people(aws: AwsMachine) -> list[Person]:
    """Those in the first roster of the machine `aws`."""
    return aws.everyone()
