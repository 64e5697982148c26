"""User-data: small on every kind of machine, and a stub that unpacks one bundle and no other."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from cloudinit import stub
from cloudinit.boot import MachineValues, render_user_data
from cloudinit.bundle import bundle, files
from tests.user_data import read

if TYPE_CHECKING:
    from pathlib import Path

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
SMALL = 2048  # bytes


def _config(values: MachineValues) -> dict[str, Any]:
    return read(render_user_data(values)).config


@KINDS
def test_it_is_small(values: MachineValues) -> None:
    assert len(render_user_data(values)) <= SMALL


@KINDS
def test_it_is_the_same_each_time(values: MachineValues) -> None:
    assert render_user_data(values) == render_user_data(values)


@KINDS
def test_nothing_of_cloud_inits_own_opens_the_door(values: MachineValues) -> None:
    # What would make host keys and accounts, and let in a key of EC2's.
    assert not {"ssh", "users_groups"} & set(_config(values)["cloud_init_modules"])


def test_only_a_stock_image_is_installed_and_only_it_waits_with_the_roster() -> None:
    assert "bootcmd" not in _config(BAKED)
    assert "secondlock-fetch.service" in str(_config(BAKED)["runcmd"])
    assert "secondlock-install.service" in str(_config(STOCK)["runcmd"])
    assert "fetch" not in str(_config(STOCK)["runcmd"])
    assert "runcmd" not in _config(LOCAL)


def test_a_machine_knows_where_its_roster_and_logs_are() -> None:
    assert read(render_user_data(BAKED)).known == {
        "stack": "laboratory",
        "machine": "researcher",
        "target": "aws",
        "image": BAKED.image,
        "region": "ap-southeast-1",
        "parameter": "/secondlock/laboratory/roster/researcher",
        "log_group": "/secondlock/laboratory",
        "baked": True,
        "bundle": bundle("aws").digest,
    }


def test_a_machine_too_long_to_describe_is_refused() -> None:
    noise = "".join(f"{number:x}" for number in range(20_000))
    with pytest.raises(ValueError, match="over 16384"):
        render_user_data(MachineValues("demo", noise))


# The stub itself, as a machine runs it


def _boot(root: Path, content: bytes, digest: str) -> subprocess.CompletedProcess[str]:
    """Run the stub in another root folder, with `content` for what would be got from outside."""
    (root / "content").write_bytes(content)
    program = read(render_user_data(LOCAL)).boothook.rsplit("\nmain(", 1)[0]
    script = root / "boothook"
    script.write_text(
        f"{program}\nget = lambda: open({str(root / 'content')!r}, 'rb').read()\n"
        f"main({{'bundle': {digest!r}}}, {str(root)!r})\n"
    )
    argv = [sys.executable, "-I", str(script)]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def _known(root: Path) -> Path:
    return root / stub.KNOWN[1:]


def test_its_files_are_written_once_as_they_are(tmp_path: Path) -> None:
    ours = bundle("local")
    assert _boot(tmp_path, ours.data, ours.digest).returncode == 0
    for path, mode, content in files("local"):
        written = tmp_path / path[1:]
        assert written.read_text() == content
        assert f"{written.stat().st_mode & 0o7777:04o}" == mode
        # Python takes a compiled module for current by its source's time and size.
        assert written.stat().st_mtime > 1e9
    assert json.loads(_known(tmp_path).read_text()) == {"bundle": ours.digest}
    assert not [*tmp_path.rglob("*.new")]

    changed = tmp_path / "etc/pam.d/sshd"
    changed.write_text("by an admin")
    assert _boot(tmp_path, ours.data, ours.digest).returncode == 0
    assert changed.read_text() == "by an admin"


def test_another_bundle_than_the_named_one_changes_nothing(tmp_path: Path) -> None:
    ours = bundle("local")
    damaged = ours.data[:-1] + bytes([ours.data[-1] ^ 1])
    for content in (damaged, ours.data[: len(ours.data) // 2], b"", bundle("aws").data):
        done = _boot(tmp_path, content, ours.digest)
        assert done.returncode != 0
        assert done.stderr.startswith("secondlock: the bundle is another")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["boothook", "content"]


def test_an_absent_bundle_leaves_the_door_shut_and_says_so(tmp_path: Path) -> None:
    script = tmp_path / "boothook"
    script.write_text(read(render_user_data(LOCAL)).boothook.replace("/dev/disk/", "/dev/none/"))
    done = subprocess.run([sys.executable, "-I", script], capture_output=True, text=True)
    assert done.returncode != 0
    assert "secondlock: the bundle cannot be read, the door stays shut" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupted_first_boot_is_done_again(tmp_path: Path) -> None:
    ours = bundle("local")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/systemd").touch()  # in the way of a folder
    assert _boot(tmp_path, ours.data, ours.digest).returncode != 0
    assert not _known(tmp_path).exists()
    (tmp_path / "etc/systemd").unlink()
    (tmp_path / "etc/nftables.conf").write_text("half a fi")
    assert _boot(tmp_path, ours.data, ours.digest).returncode == 0
    assert "chain input" in (tmp_path / "etc/nftables.conf").read_text()
    assert _known(tmp_path).exists()
