"""A clone that is behind undoes nothing: the stack's state knows its people and their data."""

from __future__ import annotations

import json
import os
import shutil
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.project import STACK, programs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.cloud import AwsProject
    from tests.support.project import Project

KNOWS_MORE = "the stack's state knows more than this folder"


@contextmanager
def _stale(project: Project, clone: Path) -> Iterator[None]:
    """Inside, the project's requests are those of `clone`."""
    now = clone.with_name("now")
    shutil.copytree(project.requests, now)
    shutil.rmtree(project.requests)
    shutil.copytree(clone, project.requests)
    yield
    shutil.rmtree(project.requests)
    now.rename(project.requests)


def _refused(project: Project, *parts: str) -> None:
    """Preview and `up` are refused, with a reason that has `parts`, and change nothing."""
    before = _state(project)
    for command in (["preview"], ["up", "--yes", "--skip-preview"]):
        code, out = project.run(*command)
        assert code != 0, out
        for part in parts:
            assert part in out, out
        assert "Traceback" not in out
        assert "exit code" not in out
    assert _state(project) == before


def _state(project: Project) -> list[dict[str, Any]]:
    """Every resource in the state, without times."""
    exported = json.loads(project.succeed("stack", "export", "--show-secrets"))
    resources = exported["deployment"].get("resources") or []
    made = (each for each in resources if each["type"] != "pulumi:pulumi:Stack")
    return [{**each, "modified": None} for each in made]


def test_a_stale_clone_is_refused_and_leavers_go_by_revoke(unbootable: Project) -> None:
    project, up = unbootable, ["up", "--yes", "--skip-preview"]
    for name in ("alice", "bob"):
        project.request(name)
    clone = project.place / "clone"
    shutil.copytree(project.requests, clone)
    project.secondlock("rotate", "alice")
    carol = project.request("carol")
    project.run(*up)  # no machine starts here, but people are known and data is made
    data = {name: project.home / "data" / name / "home.img" for name in ("alice", "bob", "carol")}
    assert all(path.exists() for path in data.values())

    with _stale(project, clone):
        _refused(project, "carol")
        # The disk says so by itself; without it, the state does.
        shutil.move(project.home, project.home.with_name("elsewhere"))
        _refused(
            project,
            KNOWS_MORE,
            f"stacks/{STACK}/carol.yaml: carol is in the stack",
            "alice.yaml:",
            "the stack has seen it retired",
            f"stacks/{STACK}/retired.yaml: lacks enrollments that are over, of: alice",
        )
        # Nor does a target of its own get round it.
        code, out = project.run(*up, "--target", "**alice**")
        assert code != 0
        assert KNOWS_MORE in out
        shutil.move(project.home.with_name("elsewhere"), project.home)

    # An id that was changed by hand leaves the old phone's alive.
    project.request("carol", enrollment="0123456789abcdef" * 2)
    _refused(project, f"the stack has another one for carol, {carol['enrollment']}")
    project.request("carol", enrollment=carol["enrollment"])

    project.secondlock("revoke", "bob")
    project.secondlock("rotate", "carol")
    _, out = project.run(*up)
    assert "the data of bob" in out
    assert KNOWS_MORE not in out
    assert [path.exists() for path in data.values()] == [True, False, True]

    # Who left stays away, whatever file comes back.
    shutil.copy(clone / "bob.yaml", project.requests)
    retired = project.requests / "retired.yaml"
    known = retired.read_text()
    retired.write_text("retired: []\n")
    _refused(project, "bob.yaml:", "it was bob's")
    retired.write_text(known)
    project.succeed("destroy", "--yes", "--skip-preview")
    assert not project.home.exists()


def test_data_that_no_state_knows_of_is_not_deleted_unasked(unbootable: Project) -> None:
    project = unbootable
    project.request("alice")
    strange = project.home / "data" / "bob"
    strange.mkdir(parents=True)
    (strange / "home.img").write_bytes(b"years of work")
    _refused(project, "data/bob: holds data that would be deleted")
    word = f"bob@.secondlock/{STACK}"
    project.succeed("config", "set", "secondlock:deleteData", word)
    project.run("up", "--yes", "--skip-preview")
    assert not strange.exists()


def _share(project: Project, name: str) -> None:
    """From now on this researcher asks for the shared machine gpu1."""
    (project.requests / "machines").mkdir(exist_ok=True)
    (project.requests / "machines" / "gpu1.yaml").write_text("seats: 2\nhome_disk_gib: 20\n")
    project.request(name, machine="gpu1")


def test_who_moves_or_leaves_a_shared_machine_takes_no_data_along_unasked(
    unbootable: Project,
) -> None:
    project, up = unbootable, ["up", "--yes", "--skip-preview"]
    own, shared = (project.home / "data" / name / "home.img" for name in ("alice", "gpu1"))
    word = f"@.secondlock/{STACK}"
    project.request("alice")
    project.run(*up)
    # She leaves and comes back: that she gave her data up once holds for that once.
    project.secondlock("revoke", "alice")
    project.run(*up)
    assert not own.exists()
    project.request("alice")
    project.run(*up)
    clone = project.place / "clone"
    shutil.copytree(project.requests, clone)

    _share(project, "alice")
    moved = ("issued for the machine alice", "./secondlock rotate alice")
    _refused(project, KNOWS_MORE, *moved, "the data of alice would be deleted")
    project.secondlock("rotate", "alice")
    _refused(project, "data/alice: holds data that would be deleted")
    assert own.exists()
    project.succeed("config", "set", "secondlock:deleteData", f"alice{word}")
    _, out = project.run(*up)
    assert KNOWS_MORE not in out
    assert (own.exists(), shared.exists()) == (False, True)

    with _stale(project, clone):
        project.succeed("config", "rm", "secondlock:deleteData")
        _refused(project, "data/gpu1: holds data that would be deleted")
        shutil.move(project.home, project.home.with_name("elsewhere"))
        _refused(project, KNOWS_MORE, "seen it retired", "the data of gpu1 would be deleted")
        shutil.move(project.home.with_name("elsewhere"), project.home)

    project.secondlock("revoke", "alice")
    (project.requests / "machines" / "gpu1.yaml").unlink()
    _refused(project, "data/gpu1: holds data that would be deleted", f"gpu1{word}")
    project.succeed("config", "set", "secondlock:deleteData", f"gpu1{word}")
    project.run(*up)
    assert not shared.exists()


@pytest.mark.long
def test_on_aws_who_moves_or_leaves_a_shared_machine_takes_no_volume_along(
    lab: AwsProject,
) -> None:
    lab.request("alice")
    lab.up()
    clone = lab.place / "clone"
    shutil.copytree(lab.requests, clone)
    _share(lab, "alice")
    moved = ("issued for the machine alice", "secondlock:deleteData alice@eu-west-1")
    _refused(lab, KNOWS_MORE, *moved)
    lab.secondlock("rotate", "alice")
    _refused(lab, "the data of alice would be deleted", "alice: now on gpu1")
    lab.configure(deleteData="alice@eu-west-1")
    assert "the data of alice (eu-west-1) goes" in lab.up()
    assert list(lab.machines()) == ["gpu1"]

    with _stale(lab, clone):
        lab.succeed("config", "rm", "secondlock:deleteData")
        _refused(lab, "seen it retired", "secondlock:deleteData gpu1@eu-west-1", "git pull")

    lab.secondlock("revoke", "alice")
    _refused(lab, "machines/gpu1.yaml", "nobody's request says")
    (lab.requests / "machines" / "gpu1.yaml").unlink()
    _refused(lab, "the data of gpu1 would be deleted", "alice: revoked")
    lab.configure(deleteData="gpu1@eu-west-1")
    lab.up()
    assert lab.machines() == {}


def test_on_aws_too_and_another_region_takes_no_data_unasked(lab: AwsProject) -> None:
    for name in ("alice", "bob"):
        lab.request(name)
    clone = lab.place / "clone"
    shutil.copytree(lab.requests, clone)
    lab.secondlock("rotate", "alice")
    lab.request("carol")
    lab.up()
    outputs = lab.machines()
    with _stale(lab, clone):
        _refused(lab, KNOWS_MORE, "carol is in the stack", "has seen it retired")
    assert lab.machines() == outputs

    # A line without the word, as by hand: the machine would go, and its data with it.
    lab.secondlock("revoke", "bob")
    retired = lab.requests / "retired.yaml"
    asked = retired.read_text()
    retired.write_text(asked.replace(", data: delete", ""))
    assert retired.read_text() != asked
    _refused(lab, "bob was revoked without a word on the data")
    retired.write_text(asked)
    assert "the data of bob (eu-west-1) goes" in lab.up()

    lab.configure(zones="us-east-1a")
    lab.succeed("config", "set", "aws:region", "us-east-1")
    _refused(
        lab,
        "the data of alice would be deleted: it is in eu-west-1",
        "secondlock:deleteData alice@eu-west-1",
    )
    lab.configure(zones="eu-west-1a,eu-west-1b", deleteData="alice@eu-west-1")
    code, out = lab.run("preview")
    assert code != 0
    assert "pulumi config rm secondlock:deleteData" in out
    lab.succeed("config", "rm", "secondlock:deleteData")
    lab.succeed("preview", "--expect-no-changes")
    lab.succeed("destroy", "--yes", "--skip-preview")


def test_a_program_that_the_engine_interrupts_says_nothing(unbootable: Project) -> None:
    """It does so where a plan is refused, at any moment: what is wrong has been told by then."""
    for number in range(20):
        unbootable.request(f"r{number}")
    for _ in range(3):
        process = unbootable.start("preview")
        assert process.stdout is not None
        while "pulumi:pulumi:Stack" not in process.stdout.readline():
            assert process.poll() is None
        for pid in programs(process.pid):
            os.kill(pid, signal.SIGINT)
        said, _ = process.communicate()
        assert process.returncode != 0
        assert "Traceback" not in said
        assert "KeyboardInterrupt" not in said
