"""The bundle: the same bytes from anywhere, and what is written here, whole."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from cloudinit.bundle import bundle, files, templates
from cloudinit.facets import GUEST, Target, facets, read
from cloudinit.install import render_gateway, render_install, render_workspaces
from cloudinit.render import LIBRARY

ROOT = Path(__file__).parents[2]
TARGETS: tuple[Target, ...] = ("local", "aws")
EACH = pytest.mark.parametrize("target", TARGETS)
DIGESTS = (
    "from cloudinit.bundle import bundle; print(*(bundle(t).digest for t in ('local', 'aws')))"
)


def _digests(place: Path, umask: int) -> list[str]:
    argv = [sys.executable, "-c", DIGESTS]
    environment = {**os.environ, "PYTHONPATH": "", "PYTHONHASHSEED": "random", "TZ": "Asia/Tokyo"}
    out = subprocess.check_output(argv, cwd=place, env=environment, umask=umask, text=True)
    return out.split()


def test_two_checkouts_at_two_places_and_times_make_the_same_bytes(tmp_path: Path) -> None:
    found = []
    for place, umask, time in (
        ("one", 0o022, 1_000_000_000),
        ("another/two", 0o077, 1_700_000_000),
    ):
        for folder in ("cloudinit", "image"):
            shutil.copytree(ROOT / folder, tmp_path / place / folder)
        for path in (tmp_path / place).rglob("*"):
            os.utime(path, (time, time))
            if path.is_file():
                path.chmod(0o666 & ~umask)
        found.append(_digests(tmp_path / place, umask))
    assert found[0] == found[1] == [bundle(target).digest for target in TARGETS]


@EACH
def test_it_is_roots_alone_and_in_order(target: Target) -> None:
    with tarfile.open(fileobj=io.BytesIO(bundle(target).data)) as tar:
        members = tar.getmembers()
    names = [each.name for each in members]
    assert names == sorted(set(names))
    for each in members:
        assert (each.uid, each.gid, each.mtime, each.isfile()) == (0, 0, 0, True), each.name
        assert not each.mode & 0o022, each.name
        assert not {"", ".."} & set(each.name.split("/")), each.name


@EACH
def test_programs_are_those_of_the_repository(target: Target) -> None:
    """As they are written: a traceback's line is the line here."""
    inside = {
        path.split("/guest/")[1]: content for path, _, content in files(target) if "/guest/" in path
    }
    assert inside
    for name, content in inside.items():
        assert content == (ROOT / "cloudinit/guest" / name).read_text()


@EACH
def test_every_program_is_one_that_python_takes(target: Target) -> None:
    inside = {path: content for path, _, content in files(target)}
    for path, content in inside.items():
        if path.endswith(".py") or content.startswith("#!/usr/bin/python3"):
            compile(content, path, "exec")
        if content.startswith("#!/usr/bin/python3") and not path.endswith(".py"):
            package, module = re.findall(r"^from ([a-z_.]+) import ([a-z]+)$", content, re.M)[0]
            places = (
                f"{package.replace('.', '/')}/{module}",
                f"gateway/{package}",
                f"oidc/{package}",
            )
            assert any(f"{LIBRARY}/{place}.py" in inside for place in places)


def test_a_target_has_nothing_that_the_other_needs() -> None:
    local = {path for path, _, _ in files("local")}
    assert not any(word in path for path in local for word in ("aws", "ship", "spot", "firstboot"))


def test_every_file_of_a_facet_is_somewhere_on_a_machine() -> None:
    """But for what others include, and the scripts of a stock machine."""
    parts = {"ssh/pam.j2", "ssh/issue.j2", "install/install.sh.j2", "install/workspaces.sh.j2"}
    parts |= {"install/gateway.sh.j2"}
    there = {
        path.relative_to(GUEST).as_posix().removesuffix(".j2")
        for path in GUEST.glob("*/**/*")
        if path.is_file() and path.suffix not in {".py", ".pyc", ".yaml"}
    } - {part.removesuffix(".j2") for part in parts}
    named = {
        f"{facet.name}/{name}"
        for target in TARGETS
        for facet in facets(target)
        for name in (*facet.files, *facet.units)
    }
    assert there - named == set()
    assert {name for name in named - there if not name.endswith(".py")} <= {"ssh/issue"}


def test_a_template_that_no_facet_has_is_not_passed_over() -> None:
    with pytest.raises(ValueError, match=r"no facet has sshd\.config"):
        templates("aws", "chrony.conf", "sshd.config")


@EACH
def test_nothing_is_written_or_told_twice(target: Target) -> None:
    paths = [path for path, _, _ in files(target)]
    assert len(set(paths)) == len(paths)
    starts = [start for facet in facets(target) for start in facet.changed]
    assert len(set(starts)) == len(starts)


def test_the_verifier_is_told_what_sshd_must_have_checked() -> None:
    inside = {path: content for path, _, content in files("local")}
    assert "verify key+totp publickey\n" in inside["/etc/pam.d/sshd"]
    assert "verify password+totp\n" in inside["/etc/pam.d/sshd-password"]


def test_a_facet_with_a_field_that_none_has_is_refused(tmp_path: Path) -> None:
    (tmp_path / "facet.yaml").write_text("unit: [a.service]\n")
    with pytest.raises(ValueError, match="a facet has no unit"):
        read(tmp_path / "facet.yaml", "local")


def test_a_stock_machine_has_the_scripts_of_the_bake() -> None:
    inside = {path: content for path, _, content in files("aws")}
    scripts = [text for path, text in sorted(inside.items()) if "/secondlock/install/" in path]
    assert scripts == [render_install(None), render_workspaces(), render_gateway()]


def test_every_unit_that_aws_starts_with_is_there() -> None:
    inside = {path: content for path, _, content in files("aws")}
    lines = inside["/etc/systemd/system/secondlock.target"].splitlines()
    wanted = " ".join(line.removeprefix("Wants=") for line in lines if line.startswith("Wants="))
    assert "secondlock-fetch.timer" in wanted.split()
    assert not [unit for unit in wanted.split() if f"/etc/systemd/system/{unit}" not in inside]


def test_each_facet_is_tried_on_a_machine_by_a_test_of_its_name() -> None:
    elsewhere = {"install": "proofs"}  # a stock Debian from the archive
    names = {facet.name for target in TARGETS for facet in facets(target)}
    files = {name: f"{elsewhere.get(name, 'machine')}/test_{name}.py" for name in names}
    assert {file for file in files.values() if not (ROOT / "tests" / file).exists()} == set()
