"""Machines that several researchers name: what is asked for, what is planned, what is wrong."""

from __future__ import annotations

import datetime as dt
import json
import secrets
from typing import TYPE_CHECKING

import pytest

from infra.aws import checks as aws
from infra.checks import check_stack
from infra.enrollment import fingerprint
from infra.model.folder import load_folder
from infra.model.instance_types import TYPES
from infra.model.problems import ProblemsError
from infra.model.shares import share_problems
from tests.support.plans import aws_settings, make_plan
from tests.support.request_files import IDS, IMAGE, ed25519, request_text

if TYPE_CHECKING:
    from pathlib import Path

SEED = secrets.token_hex(32)
MACHINE = f"""\
seats: 8
cpus: 8
memory_gib: 16
home_disk_gib: 99
rebuild: 3
tensorflow_image: {IMAGE}
until: 2027-01-31
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    stack = tmp_path / "stacks" / "lab"
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
    (folder / "machines" / "gpu1.yaml").write_text("seats: 2\nhome_disk: 99\nspot: perhaps\n")
    (folder / "machines" / "Lab 2.yaml").write_text("cpus: 0\nseats: 2\n")
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
    (folder / "machines" / "carol.yaml").write_text("seats: 2\n")
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
    (folder / "machines" / "gpu3.yaml").write_text("seats: 2\n")
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
    (folder / "machines" / "gpu1.yaml").write_text("seats: 2\nzone: eu-west-1a\n")
    _ask(folder, "carol", 2, machine="\n  zone: eu-west-1a")
    found = aws.check_requests(load_folder(folder), aws_settings(zones="eu-west-1b"))
    places = [str(one).replace(f"{folder}/", "").split("`")[0] for one in found]
    assert places[:2] == ["carol.yaml:6: machine.zone: ", "machines/gpu1.yaml:2: zone: "]


# Shares


def _with_gpus(folder: Path, text: str, **people: str) -> list[str]:
    """What is wrong with a machine of four GPUs (g5.12xlarge), given each one's `gpus`."""
    for file in folder.glob("*.yaml"):
        file.unlink()
    (folder / "machines" / "gpu1.yaml").write_text(f"instance_type: g5.12xlarge\n{text}")
    for number, (name, gpus) in enumerate(people.items()):
        _ask(folder, name, number, machine="gpu1", **({"gpus": gpus} if gpus else {}))
    (machine,) = load_folder(folder).machines
    found = share_problems(machine, TYPES["g5.12xlarge"])
    return [str(one).replace(f"{folder}/", "") for one in found]


def test_a_share_is_a_seats_part_and_no_one_elses_coming_changes_it(folder: Path) -> None:
    plan = make_plan("lab", folder, {"seedFingerprint": fingerprint(SEED)}, SEED)
    before = json.loads(plan.machines[1].roster)["researchers"]["alice"]["share"]
    assert before == {"gpus": [], "memory": 1857, "pids": 3072, "home": 12038}
    for number, name in enumerate(("dave", "erin"), 3):
        _ask(folder, name, number, machine="gpu1")
    plan = make_plan("lab", folder, {"seedFingerprint": fingerprint(SEED)}, SEED)
    assert json.loads(plan.machines[1].roster)["researchers"]["alice"]["share"] == before
    assert "share" not in json.loads(plan.machines[0].roster)["researchers"]["carol"]


def test_what_is_said_of_one_counts_before_what_is_said_of_all(folder: Path) -> None:
    text = "share: {memory_gib: 1.5, cpus: 2}\nmembers:\n  alice: {memory_gib: 4, pids: 100}\n"
    (folder / "machines" / "gpu1.yaml").write_text(MACHINE + text)
    plan = make_plan("lab", folder, {"seedFingerprint": fingerprint(SEED)}, SEED)
    alice, bob = (plan.machines[1].shares[name] for name in ("alice", "bob"))
    assert (alice.memory, alice.cpus, alice.pids) == (4096, 2, 100)
    assert (bob.memory, bob.cpus, bob.pids) == (1536, 2, 3072)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("seats: 1\n", "2: seats: 1, and 2 people are there"),
        ("seats: 200\n", "2: seats: 200 in 16 GiB: less than 64 MiB for each"),
        ("seats: 2\nshare:\n  memory_gib: 9\n", "4: share.memory_gib: 2 members may take 18 of it"),
        ("seats: 2\nshare: {home_gib: 10}\n", "3: share.home_gib: 2 members may take 20 of it"),
        ("seats: 2\nmembers: {bob: {cpus: 9}}\n", "1: share.cpus: 2 members may take 9 of it"),
        ("seats: 2\nmembers:\n  zoe: {}\n", "4: members.zoe: no request of zoe says"),
        ("seats: 2\nshare: {pids: 50000}\n", "3: share.pids: 2 members may take 1e+05 of it"),
    ],
)
def test_more_than_there_is_is_refused_with_the_sum(folder: Path, text: str, told: str) -> None:
    (folder / "machines" / "gpu1.yaml").write_text(f"memory_gib: 16\n{text}")
    (problem,) = check_stack("lab", folder.parents[1], {}).in_requests
    assert f"machines/gpu1.yaml:{told}" in str(problem)


def test_each_gpu_is_one_persons_by_what_their_request_says(folder: Path) -> None:
    text = "seats: 4\n"
    assert _with_gpus(folder, text, alice="[0]", bob="[3]", carol="[]") == []
    (taken,) = _with_gpus(folder, text, alice="[0]", bob="[0]")
    assert taken == "bob.yaml:6: gpus[0]: 0 is alice's (free: 1, 2, 3; such as `gpus: [1]`)"
    (absent,) = _with_gpus(folder, text, alice="[4]")
    assert "alice.yaml:6: gpus[0]: 4: gpu1 has 4 GPUs, counted from 0 (free: 0, 1, 2, 3" in absent
    (many,) = _with_gpus(folder, text, alice="[0, 1]")
    assert "alice.yaml:6: gpus: 2 of them, and gpu1 gives a member 1" in many
    assert _with_gpus(folder, text + "members: {alice: {gpus: 2}}\n", alice="[0, 1]") == []
    (unsaid,) = _with_gpus(folder, text, alice="[1]", bob="")
    assert "bob.yaml:1: gpus: which of gpu1's are bob's is not said (free: 0, 2, 3" in unsaid
    assert _with_gpus(folder, "seats: 20\n", alice="") == []


@pytest.mark.parametrize(
    ("gpus", "told"),
    [
        ("[0, 0]", "gpus: 0 stands in this list twice"),
        ("[-1]", "gpus[0]: at least 0"),
        ("[true]", "gpus[0]: expected a whole number"),
        ("0", "gpus: expected a list"),
    ],
)
def test_what_is_no_list_of_gpus(folder: Path, gpus: str, told: str) -> None:
    _ask(folder, "bob", 1, machine="gpu1", gpus=gpus)
    assert told in "\n".join(_told(folder))


def test_a_machine_of_ones_own_has_all_of_its_gpus(folder: Path) -> None:
    _ask(folder, "carol", 2, machine="{cpus: 1}", gpus="[0]")
    assert "carol.yaml:6: gpus: says nothing of a machine of one's own" in _told(folder)[0]
