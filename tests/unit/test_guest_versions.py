"""One link says which bundle runs: whatever is cut off, the files are those of one."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import pytest

versions: Any = importlib.import_module("guest.upgrade.versions")

OLD, NEW = "a" * 64, "b" * 64
PAM, UNIT, GONE, CHRONY = (
    "etc/pam.d/sshd",
    "etc/systemd/system/secondlock-new.service",
    "etc/sudoers.d/old",
    "etc/chrony/chrony.conf",
)


@pytest.fixture
def root(tmp_path: Path) -> str:
    """A machine with the bundle OLD running and NEW beside it."""
    top = f"{tmp_path}/"
    for digest, paths in ((OLD, (PAM, GONE, CHRONY)), (NEW, (PAM, UNIT, CHRONY))):
        for path in paths:
            file = Path(versions.tree(digest, top), path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{digest[0]} {path}")
        (Path(versions.tree(digest, top)) / "usr/__pycache__").mkdir(parents=True)
    versions.link(OLD, top)
    versions.switch(OLD, top)
    return top


def _text(root: str, path: str) -> str:
    return Path(root, path).read_text()


def test_all_files_change_at_one_rename(root: str) -> None:
    assert _text(root, PAM) == f"a {PAM}"
    versions.switch(NEW, root)
    assert (versions.current(root), _text(root, PAM)) == (NEW, f"b {PAM}")
    assert not Path(root, UNIT).exists()
    versions.link(NEW, root)
    versions.unlink(versions.files(OLD, root) - versions.files(NEW, root), root)
    assert _text(root, UNIT) == f"b {UNIT}"
    assert not os.path.lexists(root + GONE)


def test_what_apparmor_or_systemd_want_for_themselves_is_a_copy(root: str) -> None:
    assert not Path(root, CHRONY).is_symlink()
    versions.switch(NEW, root)
    versions.link(NEW, root)
    assert _text(root, CHRONY) == f"b {CHRONY}"
    versions.unlink({CHRONY}, root)
    assert Path(root, CHRONY).exists()


def test_what_somebody_put_in_place_of_a_link_gives_way_and_their_own_files_stay(root: str) -> None:
    Path(root, PAM).unlink()
    Path(root, PAM).write_text("by hand")
    own = Path(root, "etc/pam.d/own")
    own.write_text("mine")
    versions.link(OLD, root)
    versions.unlink({"etc/pam.d/own"}, root)
    assert _text(root, PAM) == f"a {PAM}"
    assert own.read_text() == "mine"


def test_a_machine_without_links_keeps_what_it_had_to_go_back_to(tmp_path: Path) -> None:
    top = f"{tmp_path}/"
    for path in (PAM, GONE):
        Path(top, path).parent.mkdir(parents=True, exist_ok=True)
        Path(top, path).write_text("before")
    assert versions.current(top) is None
    versions.gather(OLD, {PAM, UNIT}, top)
    versions.switch(OLD, top)
    versions.link(OLD, top)
    assert versions.files(OLD, top) == {PAM}
    assert (Path(top, PAM).is_symlink(), _text(top, PAM)) == (True, "before")
    assert _text(top, GONE) == "before"


def test_only_the_named_ones_are_kept(root: str) -> None:
    Path(versions.tree("left", root)).write_text(f"{OLD}\n")
    versions.keep({NEW}, root)
    kept = sorted(path.name for path in Path(versions.tree("left", root)).parent.iterdir())
    assert kept == [NEW, "left"]


def test_what_was_the_images_is_back_where_a_later_bundle_covered_it(root: str) -> None:
    Path(root, UNIT).parent.mkdir(parents=True, exist_ok=True)
    Path(root, UNIT).write_text("the image's")
    assert versions.covered(OLD, NEW, root) == {UNIT}
    versions.gather(OLD, versions.covered(OLD, NEW, root), root)
    versions.switch(NEW, root)
    versions.link(NEW, root)
    assert _text(root, UNIT) == f"b {UNIT}"
    versions.switch(OLD, root)
    versions.link(OLD, root)
    versions.unlink(versions.files(NEW, root) - versions.files(OLD, root), root)
    assert _text(root, UNIT) == "the image's"


def test_what_an_older_program_made_a_link_is_a_copy_again(root: str) -> None:
    Path(root, CHRONY).unlink()
    Path(root, CHRONY).symlink_to(f"../../{versions.CURRENT}/{CHRONY}")
    versions.copy(OLD, root)
    assert not Path(root, CHRONY).is_symlink()
    assert _text(root, CHRONY) == f"a {CHRONY}"
