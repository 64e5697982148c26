"""`secondlock doctor` on this computer: what it looks at is real, what is missing is taken away."""

from __future__ import annotations

import json
import os
import shlex
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli import project
from cli.__main__ import main
from cli.local import doctor as doctor_local
from image.store import fresh_folder, image_folder
from infra.local import qemu
from tests.support.programs import program, stand_in


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one request, `pulumi` and QEMU 9.2 on PATH, and no golden image yet."""
    monkeypatch.setattr(project, "ROOT", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SECONDLOCK_ACCEL", "tcg")
    monkeypatch.delenv("SECONDLOCK_STACK", raising=False)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    stand_in(tmp_path / "bin", {})
    program(tmp_path, "qemu-system-x86_64", "echo QEMU emulator version 9.2.1")
    ask(tmp_path, memory_gib=1)
    return tmp_path


def ask(root: Path, **machine: int) -> None:
    """Write alice's request."""
    folder = root / "stacks" / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    request = {
        "researcher": "alice",
        "factors": "password+totp",
        "allowed_from": ["127.0.0.0/8"],
        "enrollment": f"{10:032x}",
        "machine": machine,
    }
    (folder / "alice.yaml").write_text(yaml.safe_dump(request))


def look(capsys: pytest.CaptureFixture[str], code: int) -> dict[str, dict[str, Any]]:
    """The findings, by check."""
    ended = main(["doctor", "--stack", "demo", "--json"])
    said = capsys.readouterr()
    assert (ended, said.err) == (code, ""), said
    return {one["check"]: one for one in json.loads(said.out)["findings"]}


def test_all_is_well_once_there_is_an_image(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = look(capsys, 1)["image"]
    assert (image["verdict"], image["mend"]) == ("stop", "make image")
    image_folder().mkdir(parents=True)
    found = look(capsys, 0)
    assert found["qemu"]["what"] == "9.2"
    assert found["speed"]["verdict"] == "note"
    assert found["requests"]["what"] == "1, without a fault"
    assert main(["doctor", "--stack", "demo"]) == 0
    assert "emulated (TCG)" in capsys.readouterr().out


def test_a_pulumi_that_cannot_run_python(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image_folder().mkdir(parents=True)
    monkeypatch.setenv("PATH", f"{root / 'bin'}:/usr/bin:/bin")
    assert look(capsys, 0)["pulumi"]["what"] == str(root / "bin" / "pulumi")
    (root / "bin" / "pulumi-language-python").unlink()
    found = look(capsys, 1)["pulumi"]
    assert found["what"].endswith("cannot run this program without pulumi-language-python")
    assert found["mend"] == "make setup"


def test_a_damaged_record_is_told_with_all_the_rest(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image_folder().mkdir(parents=True)
    (root / "bin" / "pulumi").rename(root / "bin" / "asked")
    names = {"pulumi:index:Stash::people": "[]", "secondlock:local:Machine::alice": ""}
    resources = [
        {"urn": f"urn:pulumi:demo::secondlock::{name}", "inputs": {"input": text}}
        for name, text in names.items()
    ]
    state = json.dumps({"deployment": {"resources": resources}})
    script = (
        f'case "$1 $2" in "stack export") echo {shlex.quote(state)};; *) exec asked "$@";; esac'
    )
    program(root, "pulumi", script)
    found = look(capsys, 1)
    assert "the record of people in the stack's state cannot be read" in found["state"]["what"]
    assert "stack demo is not up" in found["login"]["what"]


def test_an_old_image_and_the_machines_that_rest_on_an_older_one(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = image_folder()
    old.mkdir(parents=True)
    (old / "packages").write_text("docker.io\t26.1.5\nlinux-image-6.12.48-amd64\t6.12.48-1\n")
    assert look(capsys, 0)["image"]["verdict"] == "ok"
    long_ago = time.time() - 31 * 86400
    os.utime(old, (long_ago, long_ago))
    found = look(capsys, 0)["image"]
    assert (found["verdict"], found["mend"]) == ("note", "make image FRESH=1")
    assert "docker.io 26.1.5, linux-image-6.12.48-amd64 6.12.48-1" in found["what"]
    machine = root / ".secondlock" / "demo" / "machines" / "alice"
    machine.mkdir(parents=True)
    spec = qemu.MachineSpec("alice", machine, machine, old / "vmlinux", old / "initrd.img")
    qemu._write_spec(spec)
    assert "machines" not in look(capsys, 0)
    fresh_folder().mkdir()
    found = look(capsys, 0)
    assert found["image"]["verdict"] == "ok"
    assert found["machines"]["what"].startswith("alice: ")
    assert "rebuild" in found["machines"]["mend"]


def test_a_qemu_without_avx(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image_folder().mkdir(parents=True)
    program(root, "qemu-system-x86_64", "echo QEMU emulator version 6.2.0")
    assert "emulates no AVX" in look(capsys, 1)["qemu"]["what"]


def test_more_than_this_computer_has(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image_folder().mkdir(parents=True)
    ask(root, memory_gib=2048, cpus=192)
    found = look(capsys, 1)
    assert found["memory"]["verdict"] == "stop"
    assert found["cpus"]["verdict"] == "note"


def test_no_room_on_the_disk(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image_folder().mkdir(parents=True)
    monkeypatch.setattr(doctor_local, "_LEAST_DISK_GIB", 1e9)
    assert look(capsys, 1)["disk"]["mend"] == "make room there"


def test_a_fault_in_a_request_is_told_with_its_line(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image_folder().mkdir(parents=True)
    path = root / "stacks" / "demo" / "alice.yaml"
    path.write_text("colour: red\n" + path.read_text())
    found = look(capsys, 1)["requests"]
    assert (found["file"], found["line"]) == (str(path), 1)
    assert found["what"] == "unknown field `colour`"
    assert main(["doctor", "--stack", "demo"]) == 1
    assert f"{path}:1: unknown field `colour`" in capsys.readouterr().out


def test_every_mistake_of_files_and_settings_is_told_at_once(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the target objects to in one file, too, where another cannot even be read."""
    stand_in(root / "bin", {"secondlock:colour": "red"})
    folder = root / "stacks" / "demo"
    text = (folder / "alice.yaml").read_text()
    (folder / "alice.yaml").write_text(text.replace("127.0.0.0/8", "10.0.0.0/8"))
    (folder / "bob.yaml").write_text("researcher: [\n")
    main(["doctor", "--stack", "demo", "--json"])
    found = json.loads(capsys.readouterr().out)["findings"]
    told = [f"{Path(one['file'] or '').name} {one['what']}" for one in found]
    assert [one.split("`")[0] for one in told if ".yaml" in one] == [
        "bob.yaml not valid YAML: a ",
        "alice.yaml allowed_from[0]: ",
    ]
    assert any("unknown setting secondlock:colour" in one for one in told)
