"""Machines that several researchers name: what is asked for, what is planned, what is wrong."""

from __future__ import annotations

import datetime as dt
import json
import secrets
from typing import TYPE_CHECKING

import pytest

from infra.aws import checks as aws
from infra.enrollment import fingerprint
from infra.model.folder import load_folder
from infra.model.problems import ProblemsError
from tests.support.plans import aws_settings, make_plan
from tests.support.request_files import IDS, IMAGE, ed25519, request_text

if TYPE_CHECKING:
    from pathlib import Path

SEED = secrets.token_hex(32)
MACHINE = f"cpus: 8\nhome_disk_gib: 99\nrebuild: 3\ntensorflow_image: {IMAGE}\nuntil: 2027-01-31\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    stack = tmp_path / "lab"
    (stack / "machines").mkdir(parents=True)
    (stack / "machines" / "gpu1.yaml").write_text(MACHINE)
    _ask(stack, "alice", 0, machine="gpu1")
    _ask(stack, "bob", 1, machine="gpu1", allowed_from="[127.0.0.1/32]")
    _ask(stack, "carol", 2, machine="{cpus: 1}")
    return stack


def _ask(stack: Path, name: str, number: int, **fields: str) -> None:
    own = {
        "researcher": name,
        "ssh_keys": f"[{ed25519(number + 1)}]",
        "enrollment": f'"{IDS[number]}"',
    }
    (stack / f"{name}.yaml").write_text(request_text(**{**own, **fields}))


def _told(folder: Path) -> list[str]:
    with pytest.raises(ProblemsError) as caught:
        load_folder(folder)
    return [str(one).replace(f"{folder}/", "") for one in caught.value.problems]


def test_two_on_one_machine_and_one_on_their_own(folder: Path) -> None:
    plan = make_plan("lab", folder, {"seedFingerprint": fingerprint(SEED)}, SEED)
    own, shared = plan.machines
    assert (own.name, own.members, own.size.cpus) == ("carol", ("carol",), 1)
    assert (shared.name, shared.members) == ("gpu1", ("alice", "bob"))
    assert (shared.size.cpus, shared.size.home_disk_gib, shared.rebuild) == (8, 99, 3)
    assert (shared.values.image, shared.until) == (IMAGE, dt.date(2027, 1, 31))
    assert set(shared.allowed_from) == {"127.0.0.0/8", "127.0.0.1/32"}
    roster = json.loads(shared.roster)
    assert (roster["machine"], set(roster["researchers"])) == ("gpu1", {"alice", "bob"})
    assert {name: each["machine"] for name, each in plan.enrollments.items()} == {
        "alice": "gpu1",
        "bob": "gpu1",
        "carol": "carol",
    }


def test_every_mistake_is_told_at_once_on_its_line(folder: Path) -> None:
    (folder / "machines" / "gpu1.yaml").write_text("cpus: 8\nhome_disk: 99\nspot: perhaps\n")
    (folder / "machines" / "Lab 2.yaml").write_text("cpus: 0\n")
    _ask(folder, "carol", 2, machine="\n  cpus: 1\n  zones: x")
    _ask(folder, "dave", 3, machine="[gpu1]")
    assert [one.split(" (")[0] for one in _told(folder)] == [
        "carol.yaml:7: unknown field `machine.zones`",
        "dave.yaml:5: machine: expected fields, such as `cpus: 2`, or a shared machine's name",
        "machines/Lab 2.yaml:1: the file's name: 'Lab 2' cannot be a machine's name",
        "machines/Lab 2.yaml:1: cpus: at least 1",
        "machines/gpu1.yaml:2: unknown field `home_disk`",
        "machines/gpu1.yaml:3: spot: expected true or false, without quotes",
    ]


def test_what_people_and_machines_do_not_say_together(folder: Path) -> None:
    (folder / "machines" / "carol.yaml").write_text("cpus: 2\n")
    _ask(folder, "bob", 1, machine="gpu2", rebuild="1")
    assert [one.split(" (")[0] for one in _told(folder)] == [
        "bob.yaml:5: machine: there is no machines/gpu2.yaml",
        "bob.yaml:6: rebuild: the shared machine's file says it for all who are there",
        "machines/carol.yaml:1: carol is a researcher: their own machine would have this name too",
        "machines/carol.yaml:1: nobody's request says `machine: carol`",
    ]


def test_what_is_known_of_a_broken_folder_is_told_and_nothing_else(folder: Path) -> None:
    """Dave may be who wants gpu3; gpu2 is there, though nobody can read it."""
    (folder / "machines" / "gpu2.yaml").write_text("cpus: [\n")
    (folder / "machines" / "gpu3.yaml").write_text("cpus: 2\n")
    _ask(folder, "bob", 1, machine="gpu2", rebuild="1")
    _ask(folder, "carol", 2, machine="gpu4", colour="red")
    (folder / "dave.yaml").write_text("machine: [\n")
    assert [one.split(" (")[0] for one in _told(folder)] == [
        "bob.yaml:6: rebuild: the shared machine's file says it for all who are there",
        "carol.yaml:5: machine: there is no machines/gpu4.yaml",
        "carol.yaml:6: unknown field `colour`",
        "dave.yaml:2: not valid YAML: a `[` or `{` that is not closed",
        "machines/gpu2.yaml:2: not valid YAML: a `[` or `{` that is not closed",
    ]


def test_a_target_blames_the_file_that_says_it(folder: Path) -> None:
    (folder / "machines" / "gpu1.yaml").write_text("root_disk_gib: 30\nzone: eu-west-1a\n")
    _ask(folder, "carol", 2, machine="\n  zone: eu-west-1a")
    found = aws.check_requests(load_folder(folder), aws_settings(zones="eu-west-1b"))
    places = [str(one).replace(f"{folder}/", "").split("`")[0] for one in found]
    assert places[:2] == ["carol.yaml:6: machine.zone: ", "machines/gpu1.yaml:2: zone: "]
