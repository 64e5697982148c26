"""The one list of faults: all of it at once, each once, whatever else is wrong."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING

import pytest

from cli import project
from cli.__main__ import main
from cli.project import Stack
from cli.request import faults
from infra.checks import SECRETS, SEED, WEBHOOK, checked_plan
from infra.enrollment import fingerprint
from infra.model.problems import ProblemsError
from infra.model.settings import MODELS
from infra.targets import target_of
from tests.support.request_files import IDS, ed25519, request_text

if TYPE_CHECKING:
    from pathlib import Path

STACK, HERE = "lab", ".secondlock/lab"
A_SEED = secrets.token_hex(32)
NETWORKS = [f"198.51.{number}.0/25" for number in range(61)]
LOCAL = {
    SEED: A_SEED,
    "secondlock:seedFingerprint": fingerprint(A_SEED),
    "secondlock:rememberHours": "4",
}
AWS = {
    **LOCAL,
    "aws:region": "eu-west-1",
    "secondlock:target": "aws",
    "secondlock:zones": "eu-west-1a,eu-west-1b",
    "secondlock:onDestroy": "delete",
    "secondlock:baseImage": "ami-0123456789abcdef0",
    "secondlock:tensorflowImage": "example.org/tf@sha256:" + "0a" * 32,
}


@pytest.fixture(autouse=True)
def _nobodys_region(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one stack, `lab`, of which nothing is asked yet."""
    monkeypatch.setattr(project, "ROOT", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "stacks" / STACK / "machines").mkdir(parents=True)
    return tmp_path


def ask(root: Path, name: str, number: int, **fields: str) -> Path:
    """Write a good request but for these fields."""
    own = {
        "researcher": name,
        "ssh_keys": f"[{ed25519(number + 1)}]",
        "enrollment": f'"{IDS[number]}"',
        "allowed_from": "[198.51.100.0/24]",
    }
    file = root / "stacks" / STACK / f"{name}.yaml"
    file.write_text(request_text(**{**own, **fields}))
    return file


def told(root: Path, config: dict[str, str], *, encrypted: tuple[str, ...] = SECRETS) -> list[str]:
    """All that one run says is wrong."""
    with pytest.raises(ProblemsError) as caught:
        checked_plan(STACK, config, encrypted=encrypted, root=root)
    return [str(one).replace(f"{root}/stacks/{STACK}/", "") for one in caught.value.problems]


def agree(found: list[str], expected: list[str]) -> None:
    """Each of these is told, once, and nothing else."""
    counted = {part: sum(part in one for one in found) for part in expected}
    assert (counted, len(found)) == (dict.fromkeys(expected, 1), len(expected)), found


@pytest.mark.parametrize("seed", ["good", "", "7" * 64, "in clear"])
@pytest.mark.parametrize("setting", ["", "colour", "costCentre"])
@pytest.mark.parametrize("alice", ["", "researcher: [\n", "- no\n", "\udcff", "researcher: root\n"])
def test_one_run_tells_every_mistake(root: Path, alice: str, setting: str, seed: str) -> None:
    expected = [
        "bob.yaml:6: remember_hours: more than the stack's 4",
        "bob.yaml:5: machine.root_disk_gib: the baked image does not fit",
        "aws:region is not set, and the stack's zones are in eu-west-1",
        "secondlock:deleteData names bob@eu-west-1, and this stack shall have that data",
    ]
    ask(root, "bob", 1, machine="{root_disk_gib: 8}", remember_hours="5")
    config = {**AWS, "secondlock:deleteData": "bob@eu-west-1, carol@eu-west-1"}
    del config["aws:region"]
    if alice:
        file = root / "stacks" / STACK / "alice.yaml"
        file.write_text(alice, errors="surrogateescape")
    if setting:
        config[f"secondlock:{setting}"] = "a;b"
        expected.append(f"secondlock:{setting}")
    if seed == "in clear":
        expected.append("stands there in clear")
    elif seed != "good":
        config[SEED] = seed
        expected.append("is a pattern, not random" if seed else "has no enrollment seed")
    found = told(root, config, encrypted=() if seed == "in clear" else SECRETS)
    of_alice = [one for one in found if one.startswith("alice.yaml")]
    assert bool(of_alice) == bool(alice)
    agree([one for one in found if one not in of_alice], expected)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("target", "azure"),
        *((key, None) for key in ("zones", "onDestroy", "baseImage", "tensorflowImage")),
        *((key, "") for key in ("zones", "onDestroy", "baseImage", "tensorflowImage")),
        ("zones", "eu-west-1a,here"),
        ("vpcCidr", "10.0.0.0/8"),
        ("bake", "perhaps"),
        ("rememberHours", "13"),
        ("deleteData", "all"),
        ("instanceType", "p5.48xlarge"),
        ("olderBundle", "yes"),
        ("seedFingerprint", "0123"),
        ("newSeed", "yes"),
        ("alertWebhook", "http://chat.example.org/x"),
    ],
)
def test_a_setting_that_is_wrong_is_told_once_and_hides_nothing(
    root: Path, key: str, value: str | None
) -> None:
    """Nor is anything else said to be wrong for want of it."""
    ask(root, "alice", 0, colour="red")
    ask(root, "bob", 1, machine="{zone: eu-west-1c, root_disk_gib: 16}", remember_hours="4")
    config = {**AWS, "secondlock:zones": "eu-west-1a,eu-west-1c"}
    config |= {f"secondlock:{key}": value or ""}
    if value is None:
        del config[f"secondlock:{key}"]
    agree(told(root, config), [f"secondlock:{key}", "alice.yaml:5: unknown field `colour`"])


def test_a_webhook_in_clear_is_told_and_not_shown(root: Path) -> None:
    ask(root, "alice", 0, allowed_from="[127.0.0.0/8]")
    config = {**LOCAL, WEBHOOK: "https://chat.example.org/hook/s3cret"}
    found = told(root, config, encrypted=(SEED,))
    agree(found, ["the webhook stands there in clear"])
    assert "s3cret" not in found[0]
    plan = checked_plan(STACK, config, encrypted=SECRETS, root=root)
    assert "s3cret" not in repr(plan)


def test_what_only_a_plan_shows_is_told_with_what_hinders_it(root: Path) -> None:
    data = root / ".secondlock" / STACK / "data" / "carol"
    data.mkdir(parents=True)
    (data / "home.img").touch()
    ask(root, "bob", 1, allowed_from="[127.0.0.0/8, 10.0.0.0/8]", remember_hours="5")
    config = {**LOCAL, "secondlock:colour": "red", "secondlock:deleteData": f"bob@{HERE}"}
    expected = [
        "data/carol: holds data that would be deleted",
        "bob.yaml:3: allowed_from[1]: `10.0.0.0/8` cannot hold",
        "bob.yaml:5: remember_hours: more than the stack's 4",
        "unknown setting secondlock:colour",
        f"secondlock:deleteData names bob@{HERE}",
    ]
    agree(told(root, config, encrypted=()), [*expected, "stands there in clear"])
    config[SEED] = secrets.token_hex(32)
    agree(told(root, config), [*expected, "is not the one pinned"])


def test_a_request_that_up_would_refuse_is_not_written(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For what is wrong already, nobody is turned away."""
    values = {key: value for key, value in AWS.items() if key not in (SEED, "aws:region")}
    values |= {"secondlock:vpcCidr": "10.0.0.0/24", "secondlock:zones": "eu-west-1a"}
    (root / "stacks" / f"Pulumi.{STACK}.yaml").write_text(json.dumps({"config": values}))
    many = ask(root, "many", 0, allowed_from=json.dumps(NETWORKS))

    def request(name: str, *networks: str) -> tuple[int, str]:
        words = ["request", name, "--stack", STACK, "--factors", "password+totp"]
        code = main([*words, *(each for one in networks for each in ("--from", one))])
        assert many.with_stem(name).exists() == (code == 0)
        return code, capsys.readouterr().err

    code, said = request("alice", *NETWORKS)
    assert (code, said.count("61 networks, and a security group takes 60")) == (1, 1)
    for number in range(9):
        assert request(f"r{number}", "198.51.100.0/24") == (0, "")
    # A subnet has room for eleven machines, and there are ten.
    assert request("alice", "198.51.100.0/24") == (0, "")
    code, said = request("bob", "198.51.100.0/24")
    assert code == 1
    assert "12 machines, but the public subnet" in said


def test_who_joins_a_shared_machine_does_not_overfill_its_door(root: Path) -> None:
    folder = root / "stacks" / STACK
    (folder / "machines" / "gpu1.yaml").write_text("seats: 2\nroot_disk_gib: 30\n")
    ask(root, "alice", 0, machine="gpu1", allowed_from=json.dumps(NETWORKS[:40]))
    bob = ask(root, "bob", 1, machine="gpu1", allowed_from=json.dumps(NETWORKS[40:]))
    text = bob.read_text()
    bob.unlink()
    (found,) = faults(Stack(STACK, root), AWS, "bob", text)
    assert "61 networks, and a security group takes 60" in str(found)
    bob.write_text(text)
    carol = ask(root, "carol", 2).read_text()
    assert faults(Stack(STACK, root), AWS, "carol", carol) == []


def test_every_target_that_settings_name_is_there() -> None:
    assert all(callable(target_of(name).make) for name in MODELS)
