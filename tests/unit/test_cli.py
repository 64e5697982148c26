"""The command line without an engine: requests, rotation, revocation, and how faults are told."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from cli import engine, project
from cli.__main__ import main
from infra.files import write_whole
from infra.model.folder import load_folder
from infra.model.problems import ProblemsError
from infra.model.retired import load_retired
from tests.support.request_files import IMAGE

CHECKOUT = Path(__file__).resolve().parents[2]
AWS_STACK = f"""\
config:
  secondlock:target: aws
  secondlock:zones: eu-west-1a
  secondlock:onDestroy: delete
  secondlock:baseImage: ami-0123456789abcdef0
  secondlock:tensorflowImage: {IMAGE}
"""


def public_line(key: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey) -> str:
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return public.decode() + " alice@laptop # work: home\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, and a home whose ssh key is alice's."""
    monkeypatch.setattr(project, "ROOT", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SECONDLOCK_STACK", raising=False)
    ssh = tmp_path / "home" / ".ssh"
    ssh.mkdir(parents=True)
    (ssh / "id_rsa.pub").write_text(public_line(ed25519.Ed25519PrivateKey.generate()))
    return tmp_path


@pytest.fixture
def alice(root: Path) -> Path:
    """Alice's request, as `secondlock request` writes it."""
    assert main(["request", "alice", "--stack", "lab"]) == 0
    return root / "stacks" / "lab" / "alice.yaml"


def test_request_is_valid_and_never_overwritten(
    alice: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (request,) = load_folder(alice.parent).people
    assert request.researcher == "alice"
    assert request.allowed_from == ("127.0.0.0/8",)
    assert request.ssh_keys[0].endswith("alice@laptop # work: home")
    before = alice.read_bytes()
    assert main(["request", "alice", "--stack", "lab"]) == 1
    assert f"{alice}: is already there" in capsys.readouterr().err
    assert alice.read_bytes() == before


def test_request_can_let_browsers_in(root: Path) -> None:
    assert main(["request", "carol", "--stack", "lab", "--web"]) == 0
    (request,) = load_folder(root / "stacks" / "lab").people
    assert request.access == ("ssh", "web")
    assert request.web_allowed_from == request.allowed_from == ("127.0.0.0/8",)


@pytest.mark.parametrize("identity", ["248289761001", "no", "a: b # c", 'x"y', "alice@example.org"])
def test_request_can_have_a_provider_vouch(root: Path, identity: str) -> None:
    settings = root / "stacks" / "Pulumi.lab.yaml"
    settings.parent.mkdir()
    refused = ["request", "carol", "--stack", "lab", "--oidc", identity]
    assert main(refused) == 1  # the stack names none
    more = {"oidcIssuer": "https://id.example.org", "oidcClientId": "gpu"}
    lines = "".join(f"  secondlock:{key}: {value}\n" for key, value in more.items())
    settings.write_text(f"config:\n  secondlock:target: local\n{lines}")
    assert main(refused) == 0
    (request,) = load_folder(root / "stacks" / "lab").people
    assert (request.access, request.oidc) == (("ssh", "web"), identity)


@pytest.fixture
def bob(alice: Path) -> Path:
    """Bob's request, beside alice's and with a key of his own."""
    key = alice.parent.parent / "bob.pub"
    key.write_text(public_line(ed25519.Ed25519PrivateKey.generate()))
    assert main(["request", "bob", "--stack", "lab", "--key", str(key)]) == 0
    return alice.with_name("bob.yaml")


def test_two_requests_never_share_an_enrollment(alice: Path, bob: Path) -> None:
    first, second = load_folder(alice.parent).people
    assert first.enrollment != second.enrollment


def test_request_takes_no_private_key(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    (root / "id").write_bytes(private)
    assert main(["request", "alice", "--key", str(root / "id")]) == 1
    told = capsys.readouterr().err
    assert "is a private key" in told
    assert f"--key {root / 'id'}.pub" in told
    assert not (root / "stacks").exists()


def test_request_passes_over_a_weak_key_of_ones_own(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weak = public_line(rsa.generate_private_key(65537, 2048))
    (root / "home/.ssh/id_rsa.pub").write_text(weak)
    assert main(["request", "alice"]) == 1
    assert "ssh-keygen -t ed25519" in capsys.readouterr().err
    assert main(["request", "alice", "--factors", "password+totp"]) == 0


def test_request_with_a_bad_network_writes_nothing(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "10.0.0.1/8\nopen_to_world: true"
    assert main(["request", "alice", "--from", "127.0.0.1/8", "--from", hostile]) == 1
    told = capsys.readouterr().err
    assert "allowed_from[0]: `127.0.0.1/8` has host bits set" in told
    assert "allowed_from[1]" in told
    assert not (root / "stacks").exists()


def test_request_tells_every_mistake_at_once(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the key's file, of the networks as they are written, and what the target objects to."""
    (root / "words").write_text("no key\nat all\n")
    (root / "stacks/gpu").mkdir(parents=True)
    (root / "stacks/gpu/bob.yaml").write_text("researcher: [\n")
    (root / "stacks/Pulumi.gpu.yaml").write_text("config:\n  secondlock:target: aws\n")
    words = ["request", "alice", "--stack", "gpu", "--key", str(root / "words")]
    words += ["--from", "127.0.0.1/32", "--instance-type", "t3.micro"]
    assert main(words) == 1
    key, kind, network = capsys.readouterr().err.splitlines()
    assert f"{root / 'words'}: holds no SSH public key" in key
    assert "machine.instance_type: `t3.micro`" in kind
    assert "allowed_from[0]: `127.0.0.1/32` is this computer's own" in network


@pytest.mark.parametrize("option", ["--target", "--on-destroy", "--factors"])
def test_a_choice_that_there_is_none_of(
    root: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    assert main(["init", "lab", option, "gcp"]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(f"secondlock: Invalid value for '{option}': 'gcp' is not one of '")
    assert told.endswith("' (see: secondlock init --help)")


def test_a_reserved_name_is_told_with_what_mends_it(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["request", "retired", "--json"]) == 2
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem["what"].endswith("RESEARCHER: `retired` is reserved by Secondlock")
    assert problem["mend"] == "take another name"


def test_request_on_aws_asks_from_where(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "stacks").mkdir()
    (root / "stacks/Pulumi.gpu.yaml").write_text("config:\n  secondlock:target: aws\n")
    assert main(["request", "alice", "--stack", "gpu"]) == 2
    assert "--from 192.0.2.0/24" in capsys.readouterr().err
    assert main(["request", "alice", "--stack", "gpu", "--from", "192.0.2.0/24"]) == 0


@pytest.mark.parametrize("name", ["../alice", "Alice", "root", "-x", "a" * 33, ""])
def test_names_that_would_be_paths_are_usage_errors(root: Path, name: str) -> None:
    assert main(["revoke", "--stack", "lab", "--", name]) == 2
    assert main(["request", "--stack", f"../{name}", "alice"]) == 2
    assert not (root / "stacks").exists()


def test_rotate_changes_the_id_and_nothing_else(alice: Path) -> None:
    text = (
        alice.read_text().replace("\n  - 127", "   # from here\n- 127") + "rebuild: 3  # bigger\n"
    )
    alice.write_text(text)
    (before,) = load_folder(alice.parent).people
    assert main(["rotate", "alice", "--stack", "lab"]) == 0
    (after,) = load_folder(alice.parent).people
    assert after.enrollment != before.enrollment
    assert alice.read_text() == text.replace(before.enrollment, after.enrollment)
    (retired,) = load_retired(alice.parent)
    assert (retired.enrollment, retired.reason) == (before.enrollment, "rotated")


@pytest.mark.parametrize("ending", ["", "end_sessions: false  # for now\n"])
def test_rotate_can_end_sessions(alice: Path, ending: str) -> None:
    alice.write_text(alice.read_text() + ending)
    assert main(["rotate", "alice", "--stack", "lab", "--end-sessions"]) == 0
    assert load_folder(alice.parent).people[0].end_sessions


def test_rotate_can_end_sessions_in_a_one_line_request(alice: Path) -> None:
    (request,) = load_folder(alice.parent).people
    alice.write_text(request.model_dump_json(exclude={"tensorflow_image"}) + "\n")
    assert main(["rotate", "alice", "--stack", "lab", "--end-sessions"]) == 0
    assert load_folder(alice.parent).people[0].end_sessions


def test_interrupted_rotation_is_refused_until_it_is_run_again(
    alice: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cut_off(path: Path, data: bytes, *, mode: int = 0o600) -> None:
        if path == alice:
            raise KeyboardInterrupt
        write_whole(path, data, mode=mode)

    with monkeypatch.context() as patch:
        patch.setattr("cli.retire.write_whole", cut_off)
        assert main(["rotate", "alice", "--stack", "lab"]) == 130
    with pytest.raises(ProblemsError, match="retired"):
        load_folder(alice.parent)
    assert main(["rotate", "alice", "--stack", "lab"]) == 0
    assert len(load_folder(alice.parent).people) == 1
    assert len(load_retired(alice.parent)) == 1


def test_revoke_retires_and_removes(
    alice: Path, bob: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = alice.read_text()
    assert main(["rotate", "bob", "--stack", "lab"]) == 0
    assert main(["revoke", "alice", "--stack", "lab"]) == 0
    assert "pulumi up --stack lab" in capsys.readouterr().out
    assert [one.researcher for one in load_folder(alice.parent).people] == ["bob"]
    assert [one.reason for one in load_retired(alice.parent)] == ["rotated", "revoked"]
    assert main(["revoke", "alice", "--stack", "lab"]) == 1
    assert "was revoked on" in capsys.readouterr().err
    alice.write_text(text)  # a reverted commit
    with pytest.raises(ProblemsError, match="retired"):
        load_folder(alice.parent)


def test_retired_file_keeps_what_stands_in_it(alice: Path) -> None:
    retired = alice.parent / "retired.yaml"
    retired.write_text("# asked for by the office\nretired: []\n")
    assert main(["rotate", "alice", "--stack", "lab"]) == 0
    once = retired.read_text()
    assert once.startswith("# asked for by the office\n")
    assert main(["rotate", "alice", "--stack", "lab"]) == 0
    assert retired.read_text().startswith(once)
    assert len(load_retired(alice.parent)) == 2


def test_json_everywhere(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("request", "rotate", "revoke"):
        assert main([command, "alice", "--stack", "lab", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["researcher"] == "alice"


def test_environment_adds_what_is_not_set(root: Path) -> None:
    stack = project.Stack("lab", root)
    stack.state.mkdir(parents=True)
    file = stack.state / "env"
    file.write_text("# of the demo\nexport PATH='/a b/bin':\"$PATH\"\nexport A=1\nexport B='2 3'\n")
    file.chmod(0o600)
    merged = engine.environment(stack, {"PATH": "/usr/bin", "A": "mine"})
    assert merged == {"PATH": "/a b/bin:/usr/bin", "A": "mine", "B": "2 3"}


@pytest.mark.parametrize(
    ("mode", "text", "told"),
    [(0o644, "", "chmod 600"), (0o660, "", "chmod 600"), (0o600, "export A=1\nrm x\n", "env:2")],
)
def test_environment_that_others_may_have_written_is_refused(
    root: Path, mode: int, text: str, told: str
) -> None:
    stack = project.Stack("lab", root)
    stack.state.mkdir(parents=True)
    file = stack.state / "env"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(ProblemsError, match=told):
        engine.environment(stack, {})


def test_stack_is_the_only_one_or_asked_for(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("vision", "speech"):
        (root / "stacks" / name).mkdir(parents=True)
    assert main(["rotate", "alice"]) == 2
    assert "speech, vision" in capsys.readouterr().err
    (root / "stacks" / "speech").rmdir()
    assert project.choose_stack(None).name == "vision"


def test_launcher_runs_from_anywhere_and_names_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli/__init__.py").write_text("raise SystemExit('not the project')")
    launcher = CHECKOUT / "secondlock"
    helped = subprocess.run([launcher, "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert helped.returncode == 0, helped.stderr
    assert "ssh-config" in helped.stdout
    shutil.copy(launcher, tmp_path)
    bare = subprocess.run([tmp_path / "secondlock"], capture_output=True, text=True)
    assert bare.returncode == 1
    assert "setup)" in bare.stderr


def test_unforeseen_faults_tell_neither_traceback_nor_text(
    alice: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("otpauth://secret")

    monkeypatch.setattr("cli.retire.write_whole", broken)
    assert main(["rotate", "alice", "--stack", "lab"]) == 1
    told = capsys.readouterr().err
    assert "ZeroDivisionError" in told
    assert "otpauth" not in told
    assert len(told.splitlines()) == 1


def test_faults_of_the_file_system_are_plain_errors(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "stacks").write_text("in the way")
    assert main(["request", "alice"]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"secondlock: {root}/stacks/demo: this is not a folder (")
    assert len(told.splitlines()) == 1


# Shared machines


def test_a_shared_machine_and_those_who_join_and_leave_it(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    on_stack = ["--stack", "lab"]
    assert main(["machine", "gpu1", "--seats", "20", "--memory-gib", "64", *on_stack]) == 0
    assert "./secondlock request RESEARCHER --machine gpu1" in capsys.readouterr().out
    for name in ("alice", "bob"):
        key = root / f"{name}.pub"
        key.write_text(public_line(ed25519.Ed25519PrivateKey.generate()))
        assert main(["request", name, "--machine", "gpu1", "--key", str(key), *on_stack]) == 0
    asked = load_folder(root / "stacks" / "lab")
    (machine,) = asked.machines
    assert machine.shared is not None
    assert (machine.name, machine.size.memory_gib, machine.shared.seats) == ("gpu1", 64, 20)
    assert [one.researcher for one in machine.members] == ["alice", "bob"]
    capsys.readouterr()
    assert main(["revoke", "bob", "--home", "archive", *on_stack]) == 0
    assert "goes to /home/.archive" in capsys.readouterr().out
    (left,) = load_retired(root / "stacks" / "lab")
    assert (left.machine, left.home, left.data) == ("gpu1", "archive", None)


def test_what_a_shared_machine_is_its_own_file_says(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["machine", "gpu1", "--seats", "2", "--stack", "lab"]) == 0
    assert main(["machine", "gpu1", "--seats", "2", "--stack", "lab"]) == 1
    assert "is already there" in capsys.readouterr().err
    asked = ["request", "alice", "--machine", "gpu1", "--spot", "--stack", "lab"]
    assert main(asked) == 2
    assert main(["request", "alice", "--machine", "gpu2", "--stack", "lab"]) == 1
    assert "there is no machines/gpu2.yaml" in capsys.readouterr().err
    assert main(["machine", "Not One", "--seats", "2", "--stack", "lab"]) == 2
    assert main(["request", "alice", "--stack", "lab"]) == 0
    assert main(["revoke", "alice", "--home", "delete", "--stack", "lab"]) == 2
    assert "a machine of their own" in capsys.readouterr().err
    assert main(["revoke", "alice", "--home", "burn", "--stack", "lab"]) == 2


def test_who_joins_gets_the_first_gpus_that_are_nobodys(root: Path) -> None:
    stack = root / "stacks" / "lab"
    stack.mkdir(parents=True)
    (root / "stacks" / "Pulumi.lab.yaml").write_text(AWS_STACK)
    on_stack = ["--stack", "lab"]
    of_four = ["--seats", "2", "--instance-type", "g5.12xlarge"]
    assert main(["machine", "gpu1", *of_four, *on_stack]) == 0
    for name in ("alice", "bob"):
        key = root / f"{name}.pub"
        key.write_text(public_line(ed25519.Ed25519PrivateKey.generate()))
        asked = ["--machine", "gpu1", "--key", str(key), "--from", "198.51.100.0/24", *on_stack]
        assert main(["request", name, *asked]) == 0
    gpus = {one.researcher: one.gpus for one in load_folder(stack).people}
    assert gpus == {"alice": (0, 1), "bob": (2, 3)}
