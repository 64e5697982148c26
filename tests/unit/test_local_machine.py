"""What a plan finds to do about a machine that is there, by the provider alone."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from image.store import fresh_folder, image_folder
from infra.local import machine, qemu
from infra.local.host import Place
from infra.local.image import golden_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IDS = ["a" * 32, "b" * 32]


@pytest.fixture
def props(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A machine's properties, made from the one golden image that there is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    _built(image_folder())
    return {
        "directory": str(tmp_path / "lab" / "machines" / "alice"),
        "data": "alice",
        "made_of": _made_of(rebuild=0),
        "set_up": json.dumps({"digest": "0"}),
        "host_key": "key",
        "roster": "{}",
    }


def _built(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "disk.raw").touch()


def _made_of(rebuild: int) -> str:
    return json.dumps({"image": golden_image().identity, "cpus": 2, "rebuild": rebuild})


def _diff(olds: dict[str, Any], news: dict[str, Any]) -> tuple[list[str], str]:
    """What makes another machine necessary, and what the plan says."""
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("infra.provider.Voice.info", lambda _, text: said.append(text))
        patch.setattr("infra.local.machine.pulumi.get_project", lambda: "secondlock")
        found = machine._MachineProvider().diff("alice", olds, news)
    return found.replaces or [], " ".join(said)


def _changes(olds: dict[str, Any], news: dict[str, Any]) -> bool:
    """Whether there is something to do about a machine that runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("infra.provider.Voice.info", lambda *_: None)
        patch.setattr("infra.local.machine.pulumi.get_project", lambda: "secondlock")
        patch.setattr("infra.local.machine.qemu.is_running", lambda _: True)
        return bool(machine._MachineProvider().diff("alice", olds, news).changes)


def test_a_fresh_image_waits_for_rebuild(props: dict[str, Any]) -> None:
    assert _diff(props, props) == ([], "")
    _built(fresh_folder())
    replaces, said = _diff(props, {**props, "made_of": _made_of(rebuild=0)})
    assert replaces == []
    assert "alice is behind: it keeps the image " in said
    assert _diff(props, {**props, "made_of": _made_of(rebuild=1)}) == (["made_of"], "")


def test_a_machine_whose_image_lacks_what_a_bundle_needs_is_told_of_and_left_alone(
    props: dict[str, Any],
) -> None:
    old, new, newer = ("a" * 64, "b" * 64, "c" * 64)
    news = {**props, "bundle": new}
    assert "will be brought up" in _diff({**props, "bundle": old}, news)[1]
    kept = machine._without_upgrade({"bundle": old}, news, f"{new} its image has no pam_x.so")
    assert kept["bundle"] == old
    assert _diff(kept, news) == ([], "alice: its image has no pam_x.so")
    assert not _changes(kept, news)
    # A bundle of a later day is tried.
    assert "will be brought up" in _diff(kept, {**news, "bundle": newer})[1]
    assert _changes(kept, {**news, "bundle": newer})


def test_a_machine_that_comes_back_on_another_port_says_so(
    props: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("infra.provider.Voice.info", lambda _, text: said.append(text))
    monkeypatch.setattr("infra.local.machine.pulumi.get_project", lambda: "secondlock")
    there = machine._Machine(props)
    machine._tell_moved(there, 20001, 20001)
    assert said == []
    machine._tell_moved(there, 20001, 20002)
    assert "127.0.0.1:20002" in said[0]
    assert "./secondlock ssh-config --stack lab" in said[0]


def test_a_machine_whose_image_is_gone_is_made_again(props: dict[str, Any]) -> None:
    (image_folder() / "disk.raw").unlink()
    _built(fresh_folder())
    news = {**props, "made_of": _made_of(rebuild=0)}
    assert _diff(props, news) == (["made_of"], "")


@pytest.fixture
def told(props: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Which enrollments each roster said to be known, on machines that boot at once."""
    found: list[list[str]] = []

    def sync(_: object, message: bytes) -> tuple[int, bytes]:
        found.append(json.loads(message)["known"])
        return 0, b'{"applied": true}'

    def boot(there: machine._Machine, port: int, web_port: int = 0) -> SimpleNamespace:
        there.directory.mkdir(parents=True, exist_ok=True)
        (there.directory / "root.qcow2").touch()
        return SimpleNamespace(ssh_port=port, web_port=None)

    monkeypatch.setattr(machine, "_sync", sync)
    monkeypatch.setattr(machine, "_start", boot)
    monkeypatch.setattr("infra.local.machine.pulumi.get_project", lambda: "secondlock")
    for name in ("infra.provider.Voice._log", "infra.local.machine._make"):
        monkeypatch.setattr(name, lambda *_, **__: None)
    monkeypatch.setattr(machine, "_wait_for_door", lambda *_: None)
    people = {"alice": {"enrollment": IDS[0], "codes_enrollment": IDS[1]}}
    props["roster"] = json.dumps({"researchers": people})
    qemu.create_data(Place.of(props["directory"]).data, 1)
    return found


def _make(props: dict[str, Any]) -> dict[str, Any]:
    """A machine's outputs, as the state has them."""
    return machine._MachineProvider().create(props).outs or {}


def _refresh(made: dict[str, Any]) -> dict[str, Any]:
    found = machine._MachineProvider().read("alice", made)
    assert found.id == "alice"
    return found.outs or {}


def _lose_data(place: Place) -> None:
    shutil.rmtree(place.data)


def _lose_all(place: Place) -> None:
    shutil.rmtree(place.home)


def test_a_machine_is_told_by_which_port_browsers_come(
    props: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found: list[dict[str, Any]] = []

    def sync(_: object, message: bytes) -> tuple[int, bytes]:
        found.append(json.loads(message))
        return 0, b'{"applied": true}'

    monkeypatch.setattr(machine, "_sync", sync)
    monkeypatch.setattr(qemu, "load_spec", lambda _: SimpleNamespace(web_port=20002))
    qemu.create_data(Place.of(props["directory"]).data, 1)
    rosters: list[dict[str, Any]] = [{"researchers": {}}, {"researchers": {}, "web": {"host": "x"}}]
    for roster in rosters:
        machine._deliver(machine._Machine({**props, "roster": json.dumps(roster)}), 0)
    assert [message.get("web_port") for message in found] == [None, 20002]


@pytest.mark.parametrize("lose", [_lose_data, _lose_all])
@pytest.mark.parametrize("rebuild", [0, 1])
def test_a_machine_that_lost_its_data_is_told_what_it_was_sent(
    props: dict[str, Any], told: list[list[str]], lose: Callable[[Place], None], rebuild: int
) -> None:
    """As the engine goes about it: `refresh`, then `up`, which makes the data first."""
    provider, place = machine._MachineProvider(), Place.of(props["directory"])
    made = _make(props)
    assert told == [[]]  # the first enrollment works at once
    lose(place)
    made = _refresh(made)
    qemu.create_data(place.data, 1)
    news = {**props, "data": "another", "made_of": _made_of(rebuild)}
    assert "data" in _diff(made, news)[0]
    provider.delete("alice", made)
    made = _make(news)
    assert told == [[], IDS]
    # One of which only the disk was lost is made anew too, and stays once it is there.
    shutil.rmtree(place.machine)
    made = _refresh(made)
    assert _diff(made, news)[0] == ["directory"]
    provider.delete("alice", made)
    assert _diff(_refresh(_make(news)), news)[0] == []


def test_a_machine_that_goes_for_good_leaves_nothing(
    props: dict[str, Any], told: list[list[str]]
) -> None:
    place, made = Place.of(props["directory"]), _make(props)
    shutil.rmtree(place.data)
    machine._MachineProvider().delete("alice", made)
    assert told == [[]]
    assert not place.machine.exists()
    assert not place.data.exists()
