"""What a plan may not take away from what the stack's state remembers, without an engine."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from cli import project
from cli.__main__ import main
from infra.enrollment import fingerprint
from infra.local import fit
from infra.local.host import Place
from infra.plan import Plan
from infra.record import Record, refusals
from tests.support.plans import make_plan
from tests.support.request_files import IDS, ed25519, request_text

SEED = secrets.token_hex(32)
PLACE = "eu-west-1"
OWN = "{cpus: 2}"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a stack with a machine for several, and nobody in it."""
    monkeypatch.setattr(project, "ROOT", tmp_path)
    folder = tmp_path / "stacks" / "lab"
    (folder / "machines").mkdir(parents=True)
    (tmp_path / "Pulumi.yaml").write_text("name: lab\nstackConfigDir: stacks\n")
    (tmp_path / "stacks/Pulumi.lab.yaml").write_text("config:\n  secondlock:target: local\n")
    return folder


def _ask(lab: Path, name: str, machine: str, number: int, **fields: str) -> None:
    """A request with the enrollment of this number, and the file of a machine that is shared."""
    who = {"researcher": name, "ssh_keys": f"[{ed25519(len(name))}]", "machine": machine}
    text = request_text(**{**who, "enrollment": f'"{IDS[number]}"', **fields})
    (lab / f"{name}.yaml").write_text(text)
    for file in lab.glob("machines/*.yaml"):
        if not any(f"machine: {file.stem}\n" in one.read_text() for one in lab.glob("*.yaml")):
            file.unlink()
    if machine != OWN:
        (lab / "machines" / f"{machine}.yaml").write_text("seats: 2\n")


def _retire(lab: Path, name: str, number: int, words: str) -> None:
    """A line of retired.yaml, the folder's newest."""
    file = lab / "retired.yaml"
    before = file.read_text() if file.exists() else "retired:\n"
    entry = f'enrollment: "{IDS[number]}", researcher: {name}, date: 2026-11-22, {words}'
    file.write_text(f"{before}  - {{{entry}}}\n")


def _plan(lab: Path, *words: str) -> Plan:
    values = {"seedFingerprint": fingerprint(SEED), "deleteData": ",".join(words)}
    return make_plan("lab", lab, values, SEED)


def _record(lab: Path) -> Record:
    return Record.parse(str(Record.of(_plan(lab), PLACE)))


def _refused(old: Record, lab: Path, *words: str, place: str = PLACE) -> list[str]:
    found = [str(one) for one in refusals(old, _plan(lab, *words), place)]
    return [one.replace(f"{lab}/", "") for one in found]


def _run(*words: str) -> None:
    assert main([*words, "--stack", "lab"]) == 0


def test_who_moves_takes_a_new_enrollment_and_a_word_on_the_data(lab: Path) -> None:
    _ask(lab, "alice", OWN, 0)
    own = _record(lab)
    _ask(lab, "alice", "gpu1", 0)
    phone, data = _refused(own, lab)
    assert phone.startswith("alice.yaml:")
    assert "enrollment: issued for the machine alice, and the request says gpu1" in phone
    assert "./secondlock rotate alice --stack lab" in phone
    assert "the data of alice would be deleted" in data
    assert "alice: now on gpu1" in data
    assert "secondlock:deleteData alice@eu-west-1 --stack lab" in data
    _run("rotate", "alice")
    assert _refused(own, lab) == [data]
    assert _refused(own, lab, "alice@eu-west-1") == []
    moved = _record(lab)
    assert _refused(moved, lab) == []

    # A clone in which she is still on her own machine.
    (lab / "retired.yaml").unlink()
    _ask(lab, "alice", OWN, 0)
    stale = _refused(moved, lab)
    assert any("the stack has seen it retired" in one and "git pull" in one for one in stale)
    assert any("the data of gpu1 would be deleted" in one for one in stale)


def test_an_older_state_has_the_move_and_the_clone_has_not(lab: Path) -> None:
    _ask(lab, "alice", "gpu1", 0)
    moved = _record(lab)  # with the enrollment of before: earlier releases let her
    _ask(lab, "alice", OWN, 0)
    phone, data = _refused(moved, lab)
    assert "issued for the machine gpu1" in phone
    assert "git pull" in phone
    assert "the data of gpu1 would be deleted" in data


@pytest.mark.parametrize("field", ["authenticators", "emergency_codes"])
def test_nothing_of_before_is_taken_along_on_a_move(lab: Path, field: str) -> None:
    """Each secret is the machine's, whatever the field that has its id."""
    kept = {"authenticators": f"{{tablet: {IDS[5]}}}", "emergency_codes": f'"{IDS[5]}"'}[field]
    _ask(lab, "alice", OWN, 0, **{field: kept})
    own = _record(lab)
    _ask(lab, "alice", "gpu1", 1, **{field: kept})
    _retire(lab, "alice", 0, "reason: rotated")
    (told,) = _refused(own, lab, "alice@eu-west-1")
    assert f"{field}" in told
    assert "issued for the machine alice" in told


def test_the_data_of_a_shared_machine_goes_by_its_own_word_alone(lab: Path) -> None:
    for number, name in enumerate(("al", "bob")):
        _ask(lab, name, "gpu1", number)
    both = _record(lab)
    _run("revoke", "al")
    assert "data: delete" not in (lab / "retired.yaml").read_text()
    assert _refused(both, lab) == []
    _run("revoke", "bob")
    (lab / "machines" / "gpu1.yaml").unlink()
    # As releases before this one wrote it, of a member who was the last.
    written = (lab / "retired.yaml").read_text()
    for text in (written, written.replace("}", ", data: delete}")):
        (lab / "retired.yaml").write_text(text)
        (told,) = _refused(both, lab)
        assert "the data of gpu1 would be deleted" in told
        assert "al: revoked, bob: revoked" in told
        assert "secondlock:deleteData gpu1@eu-west-1" in told
        assert _refused(both, lab, "gpu1@eu-west-1") == []


def test_who_leaves_a_machine_of_their_own_takes_the_data_along(lab: Path) -> None:
    _ask(lab, "alice", OWN, 0)
    own = _record(lab)
    _run("revoke", "alice")
    assert _refused(own, lab) == []
    # And comes back elsewhere before anybody runs `up`.
    _ask(lab, "alice", "gpu1", 1)
    assert _refused(own, lab) == []


def test_who_is_missing_is_told_once(lab: Path) -> None:
    for number, name in enumerate(("al", "bob")):
        _ask(lab, name, "gpu1", number)
    both = _record(lab)
    for file in ("al.yaml", "bob.yaml", "machines/gpu1.yaml"):
        (lab / file).unlink()
    _retire(lab, "al", 0, "reason: revoked")
    (told,) = _refused(both, lab)
    assert "bob is in the stack" in told


def test_a_word_that_is_asked_for_keeps_those_of_before(lab: Path) -> None:
    _ask(lab, "alice", OWN, 0)
    own = _record(lab)
    _ask(lab, "alice", "gpu1", 1)
    _retire(lab, "alice", 0, "reason: rotated")
    (told,) = _refused(own, lab, "bob@eu-west-1")
    assert "secondlock:deleteData bob@eu-west-1,alice@eu-west-1 --stack lab" in told


def test_data_that_goes_elsewhere_takes_the_used_emergency_codes_along(lab: Path) -> None:
    """They are derived: in the new place the same ones would be good again."""
    _ask(lab, "alice", OWN, 0)
    here, word = _record(lab), f"alice@{PLACE}"
    (told,) = _refused(here, lab, word, place="us-east-1")
    assert "emergency_codes: which of these were used is forgotten" in told
    assert "./secondlock codes alice --stack lab" in told
    _run("codes", "alice")
    assert _refused(here, lab, word, place="us-east-1") == []


def _data(lab: Path, name: str, *sent: int) -> list[str]:
    """What is said of a machine's data on this computer that no request asks for."""
    place = Place(lab.parents[1] / ".secondlock" / "lab", name)
    place.data.mkdir(parents=True, exist_ok=True)
    (place.data / "home.img").touch()
    place.note_sent(IDS[number] for number in sent)
    return [str(one) for one in fit.problems(_plan(lab), lab.parents[1])]


def test_a_leaver_who_came_back_and_moved_loses_no_data_by_the_old_line(lab: Path) -> None:
    """On this computer the disk is asked as well, whatever the state knows."""
    _ask(lab, "alice", "gpu1", 2)
    _retire(lab, "alice", 0, "reason: revoked, data: delete")
    # She left, and is on gpu1 since: her first machine's data was given up.
    assert _data(lab, "alice", 0) == []
    # She had a machine of her own in between, with the enrollment that she has now, or another.
    (told,) = _data(lab, "alice", 0, 2)
    assert "holds data that would be deleted" in told
    _retire(lab, "alice", 1, "reason: rotated")
    assert len(_data(lab, "alice")) == 1
