"""What Lynis (an auditor of systems) says of a machine: little, and all of it is answered."""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from infra.local.image import golden_image
from infra.model.problems import ProblemsError
from tests.support.machine import Machine
from tools.packages import unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator

GOAL = 80  # of 100
ANSWERS = Path(__file__).parents[2] / "docs" / "explanation" / "hardening.md"
PARTS = {
    "usr/sbin/lynis": "lynis",
    "usr/share/lynis/include": "include",
    "usr/share/lynis/db": "db",
    "etc/lynis/plugins": "plugins",
    "etc/lynis/default.prf": "default.prf",
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Lynis's report of a booted machine on which somebody works (lynis(8), `--report-file`)."""
    try:
        golden_image()
    except ProblemsError as error:
        pytest.skip(f"no machine to boot: {error}")
    machine = Machine(tmp_path_factory.mktemp("machine"))
    try:
        machine.boot()
        machine.enlist("key+totp", 1)
        machine.apply()
        assert machine.client.login(machine.researcher()).entered
        # What is ours holds for all of a machine's services from its second start on.
        machine.panic()
        machine.succeed("mkdir /run/lynis && tar -x -C /run/lynis", stdin=_packed())
        audit = "sh ./lynis audit system --quick --quiet --no-colors --report-file report"
        machine.run(f"cd /run/lynis && chown -R 0:0 . && {audit}", timeout=1800)
        yield machine.succeed("cat /run/lynis/report")
    finally:
        machine.end()


def _packed() -> bytes:
    place, archive = unpacked("lynis"), io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for source, name in PARTS.items():
            tar.add(place / source, name)
    return archive.getvalue()


def test_lynis_finds_little_to_mend(report: str) -> None:
    (index,) = re.findall(r"(?m)^hardening_index=(\d+)$", report)
    print(f"hardening index {index}")
    assert int(index) >= GOAL


def test_what_lynis_suggests_is_done_or_answered(report: str) -> None:
    suggested = set(re.findall(r"(?m)^(?:suggestion|warning)\[\]=([A-Z]+-\d+)\|", report))
    assert suggested <= set(re.findall(r"`([A-Z]+-\d+)`", ANSWERS.read_text(encoding="utf-8")))
