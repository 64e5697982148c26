"""User-data: within EC2's limit on every kind of machine, whole, and free of what others need."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from cloudinit.render import LIMIT, MachineValues, render_user_data
from tests.user_data import read

if TYPE_CHECKING:
    from pathlib import Path

SPARE = 200  # bytes for longer names than these
LOCAL = MachineValues("laboratory", "researcher")
BAKED = MachineValues(
    "laboratory",
    "researcher",
    "aws",
    image="registry.example.org/groups/laboratory/tensorflow-gpu@sha256:" + "0f3a" * 16,
    region="ap-southeast-1",
    parameter="/secondlock/laboratory/roster/researcher",
    log_group="/secondlock/laboratory",
)
STOCK = MachineValues(**{**vars(BAKED), "baked": False})
KINDS = pytest.mark.parametrize("values", [LOCAL, BAKED, STOCK], ids=["local", "baked", "stock"])


def _config(values: MachineValues) -> dict[str, Any]:
    return read(render_user_data(values)).config


def _files(values: MachineValues) -> dict[str, str]:
    files = read(render_user_data(values)).files
    return {path: content for path, (_, content) in files.items()}


@KINDS
def test_it_fits(values: MachineValues) -> None:
    assert len(render_user_data(values)) <= LIMIT - SPARE


@KINDS
def test_it_is_the_same_each_time(values: MachineValues) -> None:
    assert render_user_data(values) == render_user_data(values)


@KINDS
def test_every_program_is_one_that_python_takes(values: MachineValues) -> None:
    files = _files(values)
    modules = {path.rsplit("/", 1)[1][:-3] for path in files if path.endswith(".py")}
    for path, content in files.items():
        if path.endswith(".py") or content.startswith("#!/usr/bin/python3"):
            compile(content, path, "exec")
        if content.startswith("#!/usr/bin/python3"):
            assert content.split("from guest import ")[1].split()[0] in modules


@KINDS
def test_nothing_of_cloud_inits_own_opens_the_door(values: MachineValues) -> None:
    # What would make host keys and accounts, and let in a key of EC2's.
    assert not {"ssh", "users_groups"} & set(_config(values)["cloud_init_modules"])


@KINDS
def test_its_files_are_written_once_as_they_are(values: MachineValues, tmp_path: Path) -> None:
    boothook, _, files = read(render_user_data(values))
    script = tmp_path / "boothook"
    script.write_text(boothook.replace('\n["/', f'\n["{tmp_path}/'))
    subprocess.run([sys.executable, "-I", script], check=True)
    for path, (mode, content) in files.items():
        written = tmp_path / path[1:]
        assert written.read_text() == content
        assert f"{written.stat().st_mode & 0o7777:04o}" == mode
    assert not [*tmp_path.rglob("*.new")]

    changed = tmp_path / "etc/pam.d/sshd"
    changed.write_text("by an admin")
    subprocess.run([sys.executable, "-I", script], check=True)
    assert changed.read_text() == "by an admin"


def test_an_interrupted_first_boot_is_done_again(tmp_path: Path) -> None:
    boothook, _, files = read(render_user_data(LOCAL))
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/secondlock").touch()  # in the way of the last file's folder
    script = tmp_path / "boothook"
    script.write_text(boothook.replace('\n["/', f'\n["{tmp_path}/'))
    assert subprocess.run([sys.executable, "-I", script], capture_output=True).returncode != 0
    (tmp_path / "etc/secondlock").unlink()
    (tmp_path / "etc/nftables.conf").write_text("half a fi")
    subprocess.run([sys.executable, "-I", script], check=True)
    assert (tmp_path / "etc/nftables.conf").read_text() == files["/etc/nftables.conf"][1]


def test_a_kind_has_nothing_that_another_needs() -> None:
    local, baked, stock = _files(LOCAL), _files(BAKED), _files(STOCK)
    assert not any("aws" in path or "ssm" in path or "fetch" in path for path in local)
    assert not any("hostclock" in path for path in (*baked, *stock))
    assert {path for path in stock if path not in baked} == {
        "/usr/local/lib/secondlock/firstboot",
        "/usr/local/lib/secondlock/guest/firstboot.py",
        "/etc/systemd/system/secondlock-install.service",
    }


def test_only_a_stock_image_is_installed_and_only_it_waits_with_the_roster() -> None:
    assert "bootcmd" not in _config(BAKED)
    assert "secondlock-fetch.service" in str(_config(BAKED)["runcmd"])
    assert "secondlock-install.service" in str(_config(STOCK)["runcmd"])
    assert "fetch" not in str(_config(STOCK)["runcmd"])
    assert "runcmd" not in _config(LOCAL)


def test_a_machine_knows_where_its_roster_and_logs_are() -> None:
    known = json.loads(_files(BAKED)["/etc/secondlock/machine.json"])
    assert known == {
        "stack": "laboratory",
        "machine": "researcher",
        "target": "aws",
        "image": BAKED.image,
        "region": "ap-southeast-1",
        "parameter": "/secondlock/laboratory/roster/researcher",
        "log_group": "/secondlock/laboratory",
        "baked": True,
    }


def test_a_machine_too_long_to_describe_is_refused() -> None:
    noise = "".join(f"{number:x}" for number in range(6000))
    with pytest.raises(ValueError, match="over 16384"):
        render_user_data(MachineValues("demo", noise))
