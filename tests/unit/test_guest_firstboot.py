"""What a first boot does once its scripts have ended, or one has failed."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import pytest

firstboot: Any = importlib.import_module("guest.install.firstboot")

ENABLED = "systemctl enable secondlock.target"


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a first boot in `tmp_path` runs besides its scripts, of which there are none yet."""
    for name, path in (("SCRIPTS", "install"), ("MODULES", "modules"), ("INSTALLED", "installed")):
        monkeypatch.setattr(firstboot, name, tmp_path / path)
    (tmp_path / "install").mkdir()
    said: list[str] = []
    monkeypatch.setattr(firstboot, "run", lambda *argv: said.append(" ".join(argv)))
    return said


def _driver(place: Path, kernel: str) -> None:
    file = place / "modules" / kernel / "updates" / "dkms" / "nvidia-current.ko.xz"
    file.parent.mkdir(parents=True)
    file.touch()


def test_a_machine_that_runs_the_newest_kernel_goes_on(tmp_path: Path, ran: list[str]) -> None:
    _driver(tmp_path, os.uname().release)
    assert firstboot.main() == 0
    assert (ran[0], ran[-1]) == (ENABLED, "systemctl start --no-block secondlock.target")
    assert firstboot.INSTALLED.exists()


def test_one_whose_driver_is_for_another_kernel_restarts(tmp_path: Path, ran: list[str]) -> None:
    _driver(tmp_path, "6.12.0-another-cloud-amd64")
    assert firstboot.main() == 0
    assert (ran[0], ran[-1]) == (ENABLED, "systemctl reboot")
    assert firstboot.INSTALLED.exists()


def test_a_script_that_fails_is_the_last_and_nothing_is_started(
    tmp_path: Path, ran: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    for name, text in (("1.sh", "echo first"), ("2.sh", "exit 3"), ("3.sh", "echo third")):
        (tmp_path / "install" / name).write_text(text)
    assert firstboot.main() == 3
    assert (ran, firstboot.INSTALLED.exists()) == ([], False)
    said = capfd.readouterr()
    assert said.out == "first\n"
    assert "2.sh ended with 3 and is tried again" in said.err
