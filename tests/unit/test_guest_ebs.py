"""The data volume on AWS: what is partitioned, what is formatted, and what never is."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ebs: Any = importlib.import_module("guest.aws.ebs")
system: Any = importlib.import_module("guest.system")

GIB = 2**30
SIZE = GIB + 2**28
COPY = 33 * 512  # bytes of the table's copy at the end
SEARCH_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"  # an ordinary user's may lack the last two
pytestmark = pytest.mark.skipif(
    shutil.which("sfdisk", path=SEARCH_PATH) is None,
    reason="no sfdisk here (package fdisk); the machine tests use it on a machine",
)


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs for disks are found."""
    monkeypatch.setenv("PATH", SEARCH_PATH)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A new volume, as a sparse file."""
    return _new(tmp_path / "volume")


def _new(path: Path) -> Path:
    path.touch()
    os.truncate(path, SIZE)
    return path


def _write(volume: Path, place: int, data: bytes) -> None:
    with volume.open("r+b") as file:
        file.seek(place)
        file.write(data)


def _begin(volume: Path) -> bytes:
    with volume.open("rb") as file:
        return file.read(2 * int(ebs.MIB))


def test_a_blank_volume_is_parted_once(volume: Path) -> None:
    made = ebs.parts(volume)
    assert {name: part.number for name, part in made.items()} == {"sl-state": 1, "sl-home": 2}
    assert all(part.new for part in made.values())
    before = _begin(volume)
    assert ebs.parts(volume) == made
    assert _begin(volume) == before


def test_a_partition_is_new_until_its_file_system_is_whole(volume: Path) -> None:
    ebs.parts(volume)
    ebs.finished(volume, "sl-home")
    assert {name: part.new for name, part in ebs.table(volume).items()} == {
        "sl-state": True,
        "sl-home": False,
    }
    ebs.finished(volume, "sl-state")
    assert not any(part.new for part in ebs.table(volume).values())


@pytest.mark.parametrize(
    "make",
    [
        ["mkfs.ext4", "-qF"],
        ["mkswap", "-q"],
        ["sfdisk", "-q", "--label", "gpt"],
        ["sfdisk", "-q", "--label", "dos"],
    ],
    ids=["ext4", "swap", "another-gpt", "dos"],
)
def test_what_holds_something_is_left_alone(volume: Path, make: list[str]) -> None:
    subprocess.run([*make, str(volume)], input=b",\n", check=True, capture_output=True)
    before = _begin(volume)
    with pytest.raises(system.GuestError, match="not ours"):
        ebs.parts(volume)
    assert _begin(volume) == before


@pytest.mark.parametrize("place", [ebs.MIB + 1024, ebs.MIB + GIB + 1024], ids=["state", "home"])
def test_a_lost_table_does_not_make_a_volume_blank(volume: Path, place: int) -> None:
    _write(volume, place, b"what a file system begins with")
    with pytest.raises(system.GuestError, match="not ours"):
        ebs.parts(volume)


def test_a_table_that_was_cut_off_is_written_again(volume: Path, tmp_path: Path) -> None:
    # sfdisk writes the copy at the end first and the protective MBR last (UEFI, 5.3.2).
    whole = _new(tmp_path / "whole")
    ebs.parts(whole)
    with whole.open("rb") as file:
        file.seek(SIZE - COPY)
        copy = file.read()
    _write(volume, SIZE - COPY, copy)
    assert ebs.table(volume) == {}
    assert set(ebs.parts(volume)) == {"sl-state", "sl-home"}


def test_a_file_system_is_on_the_volume_that_its_serial_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted = {"/": "/dev/nvme0n1p1", "/state": "/dev/nvme1n1p1", "/other": "/dev/vda1"}
    monkeypatch.setattr(ebs, "run", lambda *argv: mounted[argv[-1]] + "\n")
    monkeypatch.setattr(ebs, "BY_ID", tmp_path)
    for number, volume in enumerate(("vol0aaa", "vol0bbb")):
        for ending in ("", "_1", "-part1", "_1-part1"):
            link = tmp_path / f"nvme-Amazon_Elastic_Block_Store_{volume}{ending}"
            part = "p1" if "part" in ending else ""
            link.symlink_to(f"/dev/nvme{number}n1{part}")
    assert ebs.volume_of(Path("/state")) == "vol0bbb"
    assert ebs.volume_of(Path("/")) == "vol0aaa"
    with pytest.raises(system.GuestError, match="which volume /other is on is not known"):
        ebs.volume_of(Path("/other"))
