"""User-data: small on every kind of machine, and a stub that unpacks one bundle and no other."""

from __future__ import annotations

import datetime as dt
import importlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from cloudinit.boot import MachineValues, render_user_data
from cloudinit.bundle import bundle, files
from tests.support.user_data import read

if TYPE_CHECKING:
    from pathlib import Path

stub: Any = importlib.import_module("guest.stub")
LOCAL = MachineValues("laboratory", "researcher")
AWS = MachineValues(
    "laboratory",
    "researcher",
    "aws",
    image="registry.example.org/groups/laboratory/tensorflow-gpu@sha256:" + "0f3a91c65be824d7" * 4,
    region="ap-southeast-1",
    parameter="/secondlock/laboratory/roster/researcher",
    log_group="/secondlock/laboratory",
    bundles="https://secondlock-laboratory-0a1b2c3d4e5f6978.s3.ap-southeast-1.amazonaws.com/bundle",
)
KINDS = pytest.mark.parametrize("values", [LOCAL, AWS], ids=["local", "aws"])
SMALL = 2560  # bytes; EC2 takes 16,384


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


def test_cloud_init_looks_for_no_keys_of_a_user_whom_nobody_makes() -> None:
    # Where it looks for them, its last stage fails (tests/proofs/test_first_boot.py).
    assert "cloud_final_modules" not in _config(AWS)
    assert _config(AWS)["no_ssh_fingerprints"] is True
    assert _config(LOCAL)["cloud_final_modules"] == []


def test_a_machine_knows_where_its_bundle_roster_and_logs_are() -> None:
    given = {name: value for name, value in vars(AWS).items() if value}
    assert read(render_user_data(AWS)).known == {**given, "bundle": bundle("aws").digest}
    assert read(render_user_data(LOCAL)).known == {
        "stack": "laboratory",
        "machine": "researcher",
        "target": "local",
        "image": LOCAL.image,
        "bundle": bundle("local").digest,
    }


# The stub itself, as a machine runs it


def _boot(
    root: Path, content: bytes, digest: str, **known: str
) -> subprocess.CompletedProcess[str]:
    """Run the stub in another root folder, with `content` for what would be got from outside.

    What it runs is in the file `ran` there.
    """
    (root / "content").write_bytes(content)
    program = read(render_user_data(LOCAL)).boothook.rsplit("\nmain(", 1)[0]
    script = root / "boothook"
    script.write_text(
        f"{program}\n"
        f"ROOT, WAITS = {str(root)!r} + '/', (0,)\n"
        "def local(*_):\n"
        "    return open(ROOT + 'content', 'rb').read()\n"
        "aws = local\n"
        "def run(*argv):\n"
        "    print(*argv, file=open(ROOT + 'ran', 'a'))\n"
        f"main({ {**known, 'bundle': digest}!r})\n"
    )
    argv = [sys.executable, "-I", str(script)]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def _known(root: Path) -> Path:
    return root / str(stub.KNOWN)


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
        assert "no bundle, the door stays shut: it has another SHA-256" in done.stderr
        assert sorted(path.name for path in tmp_path.iterdir()) == ["boothook", "content"]


def test_an_absent_bundle_leaves_the_door_shut_and_says_so(tmp_path: Path) -> None:
    script = tmp_path / "boothook"
    program = read(render_user_data(LOCAL)).boothook.replace("/dev/disk/", "/dev/none/")
    script.write_text(program)
    done = subprocess.run([sys.executable, "-I", script], capture_output=True, text=True)
    assert done.returncode != 0
    assert "secondlock: no bundle, the door stays shut: " in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupted_first_boot_is_done_again(tmp_path: Path) -> None:
    ours = bundle("local")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/systemd").touch()  # in the way of a folder
    (tmp_path / "etc/nftables.conf").write_text("the image's own")
    assert _boot(tmp_path, ours.data, ours.digest).returncode != 0
    assert not _known(tmp_path).exists()
    (tmp_path / "etc/systemd").unlink()
    assert _boot(tmp_path, ours.data, ours.digest).returncode == 0
    assert "chain input" in (tmp_path / "etc/nftables.conf").read_text()
    assert _known(tmp_path).exists()


@pytest.mark.parametrize("baked", [True, False], ids=["baked", "stock"])
def test_on_aws_the_door_is_shut_first_and_a_stock_image_is_installed(
    tmp_path: Path, baked: bool
) -> None:
    if baked:
        (tmp_path / stub.BAKED).parent.mkdir(parents=True)
        (tmp_path / stub.BAKED).touch()
    ours = bundle("aws")
    assert _boot(tmp_path, b"", ours.digest, bundles="https://x").returncode != 0
    shut = (tmp_path / "ran").read_text().splitlines()
    assert any("mask" in line and "sshd-keygen" in line for line in shut)
    assert any("disable" in line and "ssh.socket" in line for line in shut)
    assert _boot(tmp_path, ours.data, ours.digest, bundles="https://x").returncode == 0
    unit = "secondlock.target" if baked else "secondlock-install.service"
    ran = (tmp_path / "ran").read_text().splitlines()[2 * len(shut) :]
    assert ran == [f"systemctl enable --quiet {unit}", f"systemctl start --no-block {unit}"]
    assert f"/etc/systemd/system/{unit}" in {path for path, _, _ in files("aws")}


@pytest.mark.parametrize(
    "url",
    [
        f"{AWS.bundles}/{bundle('aws').digest}",
        "https://secondlock-a-0a.s3.cn-north-1.amazonaws.com.cn/bundle/0a1b",
        "https://secondlock-a-0a.s3.us-gov-west-1.amazonaws.com/bundle/0a1b",
        "http://127.0.0.1:5000/secondlock-a-0a/bundle/0a1b",
    ],
)
def test_its_signature_is_the_one_that_botocore_makes(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = dt.datetime(2026, 11, 26, 1, 2, 3, tzinfo=dt.timezone.utc)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: at)
    role = {"AccessKeyId": "ASIA0", "SecretAccessKey": "s/3+cret", "Token": "to/k+en=="}
    request = AWSRequest("GET", url)
    request.context["client_config"] = Config(s3={"payload_signing_enabled": False})
    credentials = Credentials(role["AccessKeyId"], role["SecretAccessKey"], role["Token"])
    botocore.auth.S3SigV4Auth(credentials, "s3", "cn-north-1").add_auth(request)
    theirs = {name.lower(): value for name, value in request.headers.items()}
    ours = stub.sign(url, "cn-north-1", role, at.strftime("%Y%m%dT%H%M%SZ"))
    assert ours.pop("host") == urlsplit(url).netloc
    assert {name.lower(): value for name, value in ours.items()} == theirs
    assert "authorization" in ours
