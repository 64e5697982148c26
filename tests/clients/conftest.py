"""What all clients share: one machine, people whose codes may be remembered, and a certificate."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.machine.conftest import client, image, machine  # noqa: F401 (fixtures)
from tests.support.client import drive
from tests.support.people import make_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.machine import Machine
    from tests.support.people import Person

HERE = Path(__file__).parent
AT_ONCE = 5


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them, and give each ten minutes: the first of them waits for a boot."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("machine")
            item.add_marker(pytest.mark.timeout(600, method="signal"))


@dataclass(frozen=True)
class Way:
    """A way to log in, as a client is told of it."""

    machine: Machine
    login: str
    """The account."""
    name: str
    """What `id -un` says there."""
    key: Path
    certificate: Path | None
    """Of today; with it nothing may be asked."""
    code: str
    """What an answer to a prompt is; empty where none is to be given."""

    @property
    def environment(self) -> dict[str, str]:
        """For programs of the tests' own."""
        found = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ["HOME"],
            "HOST": self.machine.client.address,
            "PORT": str(self.machine.client.port),
            "HOST_KEY": self.machine.host_key.public_openssh,
            "LOGIN": self.login,
            "KEY": str(self.key),
            "CODE": self.code,
        }
        return found | ({"CERTIFICATE": str(self.certificate)} if self.certificate else {})

    @property
    def options(self) -> list[str]:
        """For OpenSSH's programs: all that they need, and no prompt where none is to be."""
        asked = [] if self.code else ["-o", "BatchMode=yes"]
        return [*self.machine.client.options(self.key), "-o", f"User={self.login}", *asked]


@pytest.fixture(scope="session")
def people(machine: Machine) -> Iterator[Person]:  # noqa: F811
    """People whose codes may stand for the next ones, each for one login by a code."""
    return _people(machine)


def _people(machine: Machine) -> Iterator[Person]:  # noqa: F811
    while True:
        some = machine.add(count=AT_ONCE)
        for person in some:
            request = person.request.model_copy(update={"remember_hours": 12})
            machine.lab.requests[person.name] = request
        machine.apply()
        yield from some


@pytest.fixture
def by_code(machine: Machine, people: Iterator[Person]) -> Way:  # noqa: F811
    """Somebody's key, and a code of theirs that nobody has used."""
    person = next(people)
    # Not one of their phone's: some of these programs take their time to start.
    code = person.emergency_codes[0]
    return Way(machine, person.name, person.name, person.key, None, code)


@pytest.fixture(scope="session")
def by_certificate(
    machine: Machine,  # noqa: F811
    people: Iterator[Person],
    tmp_path_factory: pytest.TempPathFactory,
) -> Way:
    """A key of today's, with the certificate that a code has brought."""
    person, key = next(people), tmp_path_factory.mktemp("today") / "day"
    make_key(key)
    asked = [*machine.client.argv(person), "secondlock-remember"]
    got = drive(asked, [person.code], stdin=key.with_suffix(".pub"))
    assert got.exit == 0, got
    certificate = key.with_name("day-cert.pub")
    certificate.write_bytes(got.data)
    return Way(machine, f"{person.name}.day", person.name, key, certificate, "")


def run(way: Way, *argv: str, timeout: float = 120) -> str:
    """A program's output; it is told of the way in its environment."""
    done = subprocess.run(
        argv, env=way.environment, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, f"{argv[0]}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def built_by(argv: list[str], place: Path, what: str) -> None:
    """Run a build; the test is skipped where what it fetches is not to be had."""
    done = subprocess.run(argv, cwd=place, capture_output=True, text=True, timeout=500, check=False)
    if done.returncode:
        pytest.skip(f"{what} is not to be had here: {(done.stdout + done.stderr)[-400:]}")
