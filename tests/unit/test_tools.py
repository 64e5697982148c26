"""The set-up's own decisions: which Pulumi serves, what a release must be, whose lock is stale."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import socket
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.request_files import KEY, request_text
from tools import demo, pulumi_cli
from tools.setup import STAMP, stamps
from tools.steps import Step, StepError, appears_whole, exit_code

if TYPE_CHECKING:
    from collections.abc import Iterator


MACHINES = {"x86_64": "x64", "aarch64": "arm64"}
ARCHIVE = f"pulumi-v{pulumi_cli.PULUMI_VERSION}-linux-{MACHINES.get(platform.machine())}.tar.gz"
PROGRAM = b"#!/bin/sh\necho a program\n"


@pytest.fixture
def releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is served where the official releases are looked for."""
    folder = tmp_path / "releases"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(pulumi_cli, "RELEASES", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(pulumi_cli, "CHECKSUMS", tmp_path / "checksums.txt")
    yield folder
    server.shutdown()
    server.server_close()


def publish(folder: Path) -> None:
    """Put a release into `folder`, pinned, with a list of checksums beside it as its server has."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name in ("pulumi/pulumi", "pulumi/pulumi-language-python", "../escaped", "pulumi/x/y"):
            member = tarfile.TarInfo(name)
            member.size = len(PROGRAM)
            archive.addfile(member, io.BytesIO(PROGRAM))
    (folder / ARCHIVE).write_bytes(content.getvalue())
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    listing = f"{'0' * 64}  other.tar.gz\n{digest}  {ARCHIVE}\n"
    (folder / f"pulumi-{pulumi_cli.PULUMI_VERSION}-checksums.txt").write_text(listing)
    pulumi_cli.CHECKSUMS.write_text(f"# of the release\n{listing}")


@pytest.mark.skipif(platform.machine() not in MACHINES, reason="no release for this processor")
class TestRelease:
    def test_its_programs_and_nothing_else_are_unpacked(
        self, releases: Path, tmp_path: Path
    ) -> None:
        publish(releases)
        target = tmp_path / "bin"
        target.mkdir()
        assert pulumi_cli.download(Step("pulumi"), target)
        assert {path.name for path in target.iterdir()} == {"pulumi", "pulumi-language-python"}
        assert os.access(target / "pulumi", os.X_OK)
        assert not (tmp_path / "escaped").exists()

    def test_what_its_server_says_of_it_counts_for_nothing(
        self, releases: Path, tmp_path: Path
    ) -> None:
        publish(releases)
        pulumi_cli.CHECKSUMS.write_text("# none\n")
        assert not pulumi_cli.download(Step("pulumi"), tmp_path)
        pulumi_cli.CHECKSUMS.write_text(f"{'f' * 64}  {ARCHIVE}\n")
        with pytest.raises(StepError, match="SHA-256"):
            pulumi_cli.download(Step("pulumi"), tmp_path)
        assert not (tmp_path / "pulumi").exists()

    def test_an_unreachable_one_is_passed_over(self, releases: Path, tmp_path: Path) -> None:
        publish(releases)
        (releases / ARCHIVE).unlink()
        assert not pulumi_cli.download(Step("pulumi"), tmp_path)


@pytest.mark.parametrize(
    ("version", "host", "serves"),
    [
        (f"v{pulumi_cli.PULUMI_VERSION}", True, True),
        ("v3.300.1-alpha.2", True, True),
        ("v3.100.0", True, False),
        ("v4.0.0", True, False),
        (f"v{pulumi_cli.PULUMI_VERSION}", False, False),
        ("not a version", True, False),
    ],
)
def test_pulumi_on_path(
    version: str, host: bool, serves: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = ["pulumi", "pulumi-language-python"] if host else ["pulumi"]
    for name in programs:
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{version}'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert pulumi_cli.on_path() == (tmp_path / "pulumi" if serves else None)
    if serves:  # whoever looks for it in the project's environment finds it there
        links = tmp_path / "venv" / "bin"
        links.mkdir(parents=True)
        monkeypatch.setattr(pulumi_cli, "VENV", links.parent)
        pulumi_cli.ensure_pulumi("Pulumi", Path("uv"))
        assert {link.name: link.resolve().parent for link in links.iterdir()} == dict.fromkeys(
            programs, tmp_path
        )


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "cache" / "thing"

    def interrupted() -> None:
        with appears_whole(target) as part:
            (part / "half").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(target.parent.iterdir()) == []
    with appears_whole(target) as part:
        (part / "file").write_text("whole")
    assert (target / "file").read_text() == "whole"


def test_the_stamp_follows_the_requirements(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("a==1\n")
    before = stamps([file])
    file.write_text("a==2\n")
    assert before.isdisjoint(stamps([file]))
    assert STAMP.is_file(), "this environment was not completed by `make setup`"


def lock_of(folder: Path, pid: int, hostname: str) -> Path:
    """A lock as Pulumi's file backend writes it."""
    lock = folder / ".pulumi" / "locks" / "organization" / "secondlock" / "demo" / "id.json"
    lock.parent.mkdir(parents=True)
    lock.write_text(json.dumps({"pid": pid, "username": "alice", "hostname": hostname}))
    return lock


@pytest.mark.parametrize(
    ("hostname", "alive"), [(socket.gethostname(), True), ("another-computer", False)]
)
def test_a_lock_that_may_be_held_is_left_alone(
    hostname: str, alive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "BACKEND", tmp_path)
    monkeypatch.setattr(demo, "runs_pulumi", lambda _pid: alive)
    lock = lock_of(tmp_path, 1, hostname)
    with pytest.raises(StepError, match="process 1"):
        demo.recover()
    assert lock.exists()


def test_a_second_demo_is_told_who_works_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    (tmp_path / "stacks").mkdir()
    second = demo.alone()
    with demo.alone(), pytest.raises(StepError, match=f"works here: process {os.getpid()}"):
        second.__enter__()
    with demo.alone():
        assert list((tmp_path / "stacks").iterdir()) == []


def test_a_process_that_got_a_dead_ones_number_is_no_pulumi() -> None:
    assert not demo.runs_pulumi(os.getpid())


def test_half_a_lock_is_removed_unless_it_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "BACKEND", tmp_path)
    lock = lock_of(tmp_path, 1, "another-computer")
    left, current = (lock.with_name(f"id.json.{number}.tmp") for number in (1, 2))
    for half in (left, current):
        half.touch()
    os.utime(left, (0, 0))
    demo.clear_halves()
    assert sorted(lock.parent.iterdir()) == [lock, current]


def test_a_full_disk_is_told_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(lambda: Path("/dev/full").write_text("a passphrase")) == 1
    said = capsys.readouterr().err
    assert said.splitlines()[1:] == [
        "No space left on device",
        "  To mend it: make room, then run the same command again",
    ]


@pytest.mark.parametrize("content", [f"{KEY} a\r\n".encode("utf-16"), f"{KEY} b\n".encode()])
def test_the_demo_takes_a_public_key_as_people_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(demo, "REQUEST", tmp_path / "alice.yaml")
    (tmp_path / "alice.yaml").write_text(request_text())
    (tmp_path / "alice.pub").write_bytes(content)
    demo.tell_other_keys(tmp_path / "alice.pub")
    for other in (b"", b"\xff"):
        (tmp_path / "alice.pub").write_bytes(other)
        with pytest.raises(StepError, match=r"alice\.pub"):
            demo.tell_other_keys(tmp_path / "alice.pub")
