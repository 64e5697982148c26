"""Projects for the tests in this folder."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from image.store import image_folder
from tests.support.cloud import AwsProject, Cloud, provider_missing
from tests.support.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark these tests."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("program")


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """The program with the real engine, on a computer that has no golden image."""
    if shutil.which("pulumi", path=f"{Path(sys.executable).parent}") is None:
        pytest.skip("no pulumi in the virtual environment: make setup")
    project = Project(
        tmp_path / "project", XDG_CACHE_HOME=str(tmp_path / "cache"), SECONDLOCK_ACCEL="tcg"
    )
    yield project
    project.end()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[AwsProject]:
    """The program with the real engine and the real AWS provider, in a cloud of its own."""
    if missing := provider_missing():
        pytest.skip(missing)
    cloud = Cloud(tmp_path)
    try:
        yield AwsProject(tmp_path / "project", cloud)
    finally:
        cloud.end()


@pytest.fixture
def unbootable(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The same with a golden image that QEMU cannot start: its files are empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", project.environment["XDG_CACHE_HOME"])
    folder = image_folder()
    folder.mkdir(parents=True)
    for name in ("disk.raw", "vmlinux", "initrd.img"):
        (folder / name).touch()
    return project
