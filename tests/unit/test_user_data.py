"""User-data: within EC2's limit on every kind of machine, whole, and free of what others need."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from cloudinit.render import LIMIT, MachineValues, render_user_data

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
    text = gzip.decompress(render_user_data(values)).decode()
    head, _, body = text.partition("\n")
    assert head == "#cloud-config"
    config: dict[str, Any] = json.loads(body)
    return config


def _files(values: MachineValues) -> dict[str, str]:
    return {each["path"]: each["content"] for each in _config(values)["write_files"]}


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
def test_the_door_is_shut_before_sshd_starts(values: MachineValues) -> None:
    config = _config(values)
    shut = ("/etc/ssh/sshd_config.d/00-secondlock.conf", "/etc/pam.d/sshd",
            "/etc/systemd/system/ssh.service.d/secondlock.conf")  # fmt: skip
    for path in shut:
        (entry,) = (each for each in config["write_files"] if each["path"] == path)
        assert "defer" not in entry
    assert config["ssh_genkeytypes"] == []
    assert config["users"] == []


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
