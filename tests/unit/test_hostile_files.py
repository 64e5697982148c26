"""The command line among files and answers that others wrote: told once, in words, at once."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shlex
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli import engine, project
from cli.__main__ import main
from cli.doctor_stack import left_behind
from cli.ssh_config import own_key
from infra.model.folder import load_folder
from infra.model.problems import ProblemsError
from infra.model.retired import load_retired
from infra.model.text import shell_word
from infra.record import Record
from tests.support.documents import outputs
from tests.support.request_files import (
    ECDSA,
    KEY,
    OTHER_KEY,
    PRIVATE_KEY,
    request_text,
    rfc4716,
    rsa_key,
)

CASES = Path(__file__).parent / "requests_that_failed"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project and home; the person stands in the project."""
    monkeypatch.setattr(project, "ROOT", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SECONDLOCK_STACK", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stacks" / "lab").mkdir(parents=True)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], words: list[str], code: int = 1) -> str:
    """What a command says where it fails; it does so soon."""
    started = time.monotonic()
    assert main(words) == code
    assert time.monotonic() - started < 60
    told = capsys.readouterr()
    assert "a fault of secondlock itself" not in told.err
    assert all(line.isprintable() for line in told.err.splitlines())
    return told.err


# Public keys as people have them


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        (f"{KEY} alice\r\n".encode(), [f"{KEY} alice"]),
        (f"\ufeff{KEY} alice\n".encode(), [f"{KEY} alice"]),
        (f"{KEY} büro 🦊\r\n".encode("utf-16"), [f"{KEY} büro 🦊"]),
        (f"{KEY} a\r\n".encode("utf-16-le"), [f"{KEY} a"]),
        (f"# mine\n\n{KEY}\n{OTHER_KEY} b\n{KEY} again\n".encode(), [KEY, f"{OTHER_KEY} b"]),
        (f"  {KEY}\talice: laptop \n".encode(), [f"{KEY} alice: laptop"]),
        (rfc4716(rsa_key(3072)).encode(), [f"{rsa_key(3072)} rsa key of alice"]),
        (rfc4716(KEY, "").replace("\n", "\r\n").encode("utf-16"), [KEY]),
        ((rfc4716(KEY, "x-a: b\n") + rfc4716(ECDSA, "")).encode(), [KEY, ECDSA]),
    ],
)
def test_keys_that_are_taken(
    root: Path, capsys: pytest.CaptureFixture[str], content: bytes, keys: list[str]
) -> None:
    (root / "alice.pub").write_bytes(content)
    words = ["request", "alice", "--stack", "lab", "--key", "alice.pub"]
    assert main(words) == 0, capsys.readouterr().err
    (request,) = load_folder(root / "stacks" / "lab").people
    assert list(request.ssh_keys) == keys


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (PRIVATE_KEY.encode(), "alice.pub: is a private key"),
        (PRIVATE_KEY.encode("utf-16"), "alice.pub: is a private key"),
        (b"PuTTY-User-Key-File-3: ssh-ed25519\r\n", "puttygen"),
        (b"", "alice.pub: holds no SSH public key"),
        (b"\n# none\n", "alice.pub: holds no SSH public key"),
        (f'from="10.0.0.0/8" {KEY}\n'.encode(), "alice.pub:1: options stand before"),
        (f"{KEY[:60]}\n{KEY[60:]}\n".encode(), "alice.pub:1: a key that is broken"),
        (b"-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n", "ssh-keygen -i -m PKCS8"),
        (b"-----BEGIN CERTIFICATE-----\nMCow\n", "not an SSH public key"),
        (rfc4716(KEY).replace("AAAA", "AAAB").encode(), "alice.pub:1: a damaged key"),
        (b"---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n", "alice.pub:1: a damaged key"),
        (f"{KEY} a\0b\n".encode(), "control characters"),
        (b"\xff\xfe\xff", "not UTF-16 text"),
        (b"\x80\x81\x82", "not UTF-8 text"),
        (b"x" * 100_000, "larger than 64 KiB"),
        (b"x\n" * 30_000, "alice.pub: holds no SSH public key"),
        (KEY.encode() + b"\n?" * 30_000, "29980 more faults"),
    ],
)
def test_keys_that_are_named(
    root: Path, capsys: pytest.CaptureFixture[str], content: bytes, told: str
) -> None:
    (root / "alice.pub").write_bytes(content)
    err = said(capsys, ["request", "alice", "--stack", "lab", "--key", "alice.pub"])
    assert told in err
    assert len(err.splitlines()) <= 21
    assert "b3BlbnNz" not in err
    assert not (root / "stacks/lab/alice.yaml").exists()


@pytest.mark.parametrize("path", ["fifo", "/dev/zero", "stacks", "x" * 5000, "a\nb", "nowhere"])
def test_what_is_no_key_file(root: Path, capsys: pytest.CaptureFixture[str], path: str) -> None:
    os.mkfifo(root / "fifo")
    err = said(capsys, ["request", "alice", "--stack", "lab", "--key", path])
    assert len(err.splitlines()) == 1
    assert "(" in err


# The project's other files


def test_a_dangling_lock_of_an_editor_stops_nothing(root: Path) -> None:
    (root / "alice.pub").write_text(KEY)
    (root / "stacks/lab/.#alice.yaml").symlink_to("alice@host.1234:5678")
    os.mkfifo(root / "stacks/lab/notes")
    assert main(["request", "alice", "--stack", "lab", "--key", "alice.pub"]) == 0
    assert main(["rotate", "alice", "--stack", "lab"]) == 0


def test_no_fault_names_a_folder_that_is_not_there(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "alice.pub").write_text(KEY)
    (root / "stacks/lab/bob.yaml").write_text(request_text(researcher="bob"))
    err = said(capsys, ["request", "alice", "--stack", "lab", "--key", "alice.pub"])
    assert "/tmp/secondlock-" not in err
    assert "bob.yaml has the same SSH key" in err


@pytest.mark.parametrize(
    "config",
    [
        "config:\n  a: 2026-13-45\n",
        "config:\n  a: " + "9" * 5_000 + "\n",
        "config:\n  a: !!python/name:os.system\n",
        "config: [\n",
        "config:\n  a: &x [*x]\n",
        "config: " + "[" * 10_000,
        "config:\n  a: \x00\n",
        '"config": "\\ud800"\n',
        "- a",
        "",
        "config:\n  secondlock:target: local\n  secondlock:target: aws\n",
        "config: []\n",
        "encryptionsalt: {a: 1}\n",
    ],
)
def test_any_settings_file_is_read_or_told(
    root: Path, capsys: pytest.CaptureFixture[str], config: str
) -> None:
    file = root / "stacks" / "Pulumi.lab.yaml"
    file.write_text(config)
    started = time.monotonic()
    faults = ""
    try:
        project.Stack("lab", root).values()
    except ProblemsError as error:
        faults = str(error)
    assert not faults or faults.startswith(f"{file}:")
    assert "\n" not in faults
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("words", [["request", "alice", "--key", "no"], ["doctor"]])
def test_a_target_that_there_is_none_of_is_told_before_all_else(
    root: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    (root / "stacks/Pulumi.lab.yaml").write_text("config:\n  secondlock:target: 2026-99-99\n")
    (line,) = said(capsys, [*words, "--stack", "lab"]).splitlines()
    assert "Pulumi.lab.yaml: secondlock:target: expected local or aws" in line


def test_a_pipe_in_the_place_of_the_settings_is_not_waited_for(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(root / "stacks" / "Pulumi.lab.yaml")
    for words in (["doctor"], ["image", "show"]):
        assert "Pulumi.lab.yaml: not a regular file" in said(capsys, [*words, "--stack", "lab"])


def test_settings_that_are_a_link_to_somebodys_secret_are_not_read(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = root / "shadow"
    secret.write_text("config:\n  secondlock:target: root-s-password\n")
    (root / "stacks" / "Pulumi.lab.yaml").symlink_to(secret)
    for words in (["doctor"], ["request", "alice"], ["init", "lab"]):
        stack = [] if words[0] == "init" else ["--stack", "lab"]
        told = said(capsys, [*words, *stack])
        assert "Pulumi.lab.yaml: a link to a file elsewhere" in told
        assert "root-s-password" not in told


def test_settings_are_read_as_pulumi_gives_them(root: Path) -> None:
    (root / "stacks/Pulumi.lab.yaml").write_text(
        "encryptionsalt: v1:x\nconfig:\n  a: true\n  b: 3\n  c: '007'\n  d: {secure: v1:y}\n"
        "  e: 1.50\n  f: 2026-11-22\n  g:\n"
    )
    assert project.Stack("lab", root).values() == {
        "a": "true", "b": "3", "c": "007", "d": "", "e": "1.50", "f": "2026-11-22", "g": "",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["costCentre", "instanceType"])
def test_a_setting_never_breaks_out_of_its_comment(
    root: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (root / "alice.pub").write_text(KEY)
    value = json.dumps('x"\nopen_to_world: true\n#')
    (root / "stacks/Pulumi.lab.yaml").write_text(
        f"config:\n  secondlock:target: aws\n  secondlock:{name}: {value}\n"
    )
    words = ["request", "alice", "--stack", "lab", "--key", "alice.pub", "--from", "10.0.0.0/8"]
    assert f"secondlock:{name}" in said(capsys, words)
    assert not (root / "stacks/lab/alice.yaml").exists()


@pytest.mark.parametrize("value", ["🦊", "a\u2028open_to_world: true", "\x85b: c", "\udc80"])
def test_what_is_typed_on_the_command_line_stays_one_value(
    root: Path, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    (root / "alice.pub").write_text(KEY)
    words = ["request", "alice", "--stack", "lab", "--key", "alice.pub"]
    err = said(capsys, [*words, "--from", value])
    assert len(err.splitlines()) == 1


def env(root: Path, content: bytes | None) -> project.Stack:
    stack = project.Stack("lab", root)
    stack.state.mkdir(parents=True)
    file = stack.state / "env"
    if content is None:
        os.mkfifo(file, 0o600)
    else:
        file.write_bytes(content)
        file.chmod(0o600)
    return stack


@pytest.mark.parametrize(
    "content",
    [None, b"export A='a\0b'\n", b"export A=\xff\n", b"\xff\xfee\0", b"export A=\x1b[31m\n"],
)
def test_an_env_file_that_is_none(root: Path, content: bytes | None) -> None:
    stack = env(root, content)
    with pytest.raises(ProblemsError) as caught:
        engine.environment(stack, {})
    assert str(caught.value).isprintable()


def test_an_env_file_that_is_a_link_is_refused(root: Path) -> None:
    stack = project.Stack("lab", root)
    stack.state.mkdir(parents=True)
    (root / "other").write_text("export A=1\n")
    (root / "other").chmod(0o600)
    (stack.state / "env").symlink_to(root / "other")
    with pytest.raises(ProblemsError, match="env: "):
        engine.environment(stack, {})


@pytest.mark.parametrize("content", ["", "\n", "ssh-ed25519", "\xff"])
def test_an_empty_public_key_of_the_demo_is_nobodys(root: Path, content: str) -> None:
    stack = project.Stack("lab", root)
    stack.state.mkdir(parents=True)
    stack.key.touch()
    stack.key.with_suffix(".pub").write_bytes(content.encode("latin-1"))
    (root / "stacks/lab/alice.yaml").write_text(request_text())
    assert own_key(stack, "alice") is None


def test_a_lock_of_another_run_is_named_while_it_is_waited_for(root: Path) -> None:
    (root / "stacks/lab/alice.yaml").write_text(request_text())
    program = (
        "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
        "from pathlib import Path\n"
        "from cli import files, project\n"
        "project.ROOT = Path.cwd(); files.PATIENCE = 1.0\n"
        "from cli.__main__ import main\n"
        "sys.exit(main(['rotate', 'alice', '--stack', 'lab']))\n"
    )
    descriptor = os.open(root / "stacks/lab", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, str(ROOT)], capture_output=True, text=True, timeout=30
        )
    finally:
        os.close(descriptor)
    assert done.returncode == 1
    waiting, gave_up = done.stderr.splitlines()
    assert "waiting" in waiting
    assert f"process {os.getpid()}" in waiting
    assert "another" in gave_up


# Requests in other shapes


WITHOUT_A_VALUE = {
    (CASES / "28-rotate-end-sessions-empty" / "alice.yaml").read_text(),
    request_text(end_sessions="~"),
    "{researcher: alice, ssh_keys: [" + KEY + "], allowed_from: [127.0.0.0/8], end_sessions: ,\n "
    'enrollment: "0123456789abcdef0123456789abcde0"}\n',
}


@pytest.mark.parametrize("more", [[], ["--end-sessions"]])
@pytest.mark.parametrize(
    "text",
    [
        (CASES / "28-rotate-end-sessions-empty" / "alice.yaml").read_text(),
        request_text(end_sessions="# not now\n  false"),
        request_text(end_sessions="~"),
        request_text().replace("enrollment: ", "enrollment:\n  "),
        request_text().replace("enrollment: ", "enrollment: # phone\n  "),
        request_text().replace("enrollment: ", '"enrollment": '),
        request_text().replace("enrollment: ", "? enrollment\n: "),
        request_text().replace("\n", "\r\n"),
        "\ufeff" + request_text(),
        "---\n" + request_text() + "...\n",
        "# alice\n\n" + request_text(),
        "%YAML 1.1\n---\n" + request_text(),
        "  " + request_text().replace("\n", "\n  ").rstrip() + "\n",
        request_text().rstrip(),
        request_text(enrollment='|-\n  "x"').replace('"x"', "0123456789abcdef0123456789abcde0"),
        request_text(enrollment=">-\n  x", rebuild="1").replace(
            "x", "0123456789abcdef0123456789abcde0"
        ),
        "# é🦊\n{researcher: alice, ssh_keys: [" + KEY + "],\n allowed_from: [127.0.0.0/8],\n "
        'enrollment: "0123456789abcdef0123456789abcde0"}\n',
        "{researcher: alice, ssh_keys: ["
        + KEY
        + "], allowed_from: [127.0.0.0/8], end_sessions: ,\n "
        'enrollment: "0123456789abcdef0123456789abcde0"}\n',
        "{enrollment: 0123456789abcdef0123456789abcde0, researcher: alice, ssh_keys: ["
        + KEY
        + "],\n "
        "allowed_from: [127.0.0.0/8]}",
    ],
)
def test_rotate_in_every_shape_of_yaml(
    root: Path, capsys: pytest.CaptureFixture[str], text: str, more: list[str]
) -> None:
    file = root / "stacks/lab/alice.yaml"
    file.write_text(text, "utf-8", newline="")
    if not more and text in WITHOUT_A_VALUE:
        assert "expected true or false" in said(capsys, ["rotate", "alice", "--stack", "lab"])
        assert file.read_bytes() == text.encode()
        return
    assert main(["rotate", "alice", "--stack", "lab", *more]) == 0, capsys.readouterr().err
    (request,) = load_folder(file.parent).people
    (retired,) = load_retired(file.parent)
    assert request.enrollment != retired.enrollment
    assert request.end_sessions is bool(more)
    after = file.read_text("utf-8")
    assert ("# " in after) == ("# " in text)


@pytest.mark.parametrize(
    "text",
    [
        "{retired: []}\n",
        "retired:\n- {enrollment: '%s', researcher: bob, reason: revoked, date: 2026-01-01}\n",
        "retired: [{enrollment: '%s', researcher: bob, reason: revoked, date: 2026-01-01}] # old\n",
        "retired:\r\n  []\r\n",
        "---\nretired: []\n...\n",
    ],
)
def test_retired_in_every_shape_of_yaml(
    root: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    file = root / "stacks/lab/alice.yaml"
    file.write_text(request_text())
    retired = file.with_name("retired.yaml")
    retired.write_text(text.replace("%s", "f" * 31 + "e"), newline="")
    before = load_retired(file.parent)
    assert main(["rotate", "alice", "--stack", "lab"]) == 0, capsys.readouterr().err
    assert load_retired(file.parent)[:-1] == before
    assert len(load_folder(file.parent).people) == 1


# What is told, and how


@pytest.mark.parametrize(
    "words",
    [
        ["request", "alice", "--key", "nowhere"],
        ["rotate", "alice"],
        ["rotate", "ali\x1bce"],
        ["status", "--nonsense"],
        ["revoke"],
        ["enroll", "alice"],
    ],
)
def test_errors_of_json_are_json(
    root: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
) -> None:
    monkeypatch.setenv("PATH", str(root))
    assert main([*words, "--stack", "lab", "--json"]) in {1, 2}
    told = capsys.readouterr()
    assert told.err == ""
    (problem,) = json.loads(told.out)["problems"]
    assert set(problem) == {"severity", "file", "line", "what", "mend"}
    assert problem["what"].isprintable()


def test_mends_are_commands_that_work(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name with a blank is quoted, and nobody is told to remove a file that is not theirs."""
    stack = project.Stack("lab", root)
    stack.state.mkdir(parents=True)
    err = said(capsys, ["enroll", "alice", "--stack", "lab", "--png", "/etc/passwd"])
    assert "rm" not in err.split()
    err = said(capsys, ["enroll", "alice", "--stack", "lab", "--png", "no such/a b.png"])
    assert "mkdir -p 'no such'" in err
    (root / "a key").write_text(PRIVATE_KEY)
    err = said(capsys, ["request", "alice", "--stack", "lab", "--key", "a key"])
    assert "ssh-keygen -y -f 'a key' > 'a key.pub'" in err


@pytest.mark.parametrize(
    "name", [b"a\x1b[31m\n'b\\", "\u202e\u3164 $(id)".encode(), b"\xff\x01 `id`", b"plain", b"a b"]
)
def test_a_file_of_any_name_is_what_bash_makes_of_its_mend(name: bytes) -> None:
    assert shell_word("\ud800").isprintable()
    word = shell_word(os.fsdecode(name))
    assert word.isprintable()
    assert subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True).stdout == name


def test_the_mend_of_a_left_log_removes_it(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = root / "pulumi\x1b[2J.log.x"
    log.write_text("secret")
    monkeypatch.setenv("TMPDIR", str(root))
    (found,) = left_behind()
    subprocess.run(["bash", "-ec", found.mend or ""], check=True)
    assert not log.exists()


def test_options_are_called_as_they_are_typed(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing that was typed as nothing is taken for something else."""
    words = ["request", "alice", "--stack", "lab", "--factors", "password+totp"]
    err = said(capsys, [*words, "--spot", "--private", "--instance-type", ""], 2)
    assert "--instance-type and --spot and --private" in err
    assert "'--key': a file's name is missing" in said(capsys, [*words, "--key", ""], 2)
    assert "'--seal': a file's name" in said(capsys, ["enroll", "alice", "--seal", ""], 2)
    assert "is no stack's name" in said(capsys, ["status", "--stack", ""], 2)


# What the engine says


def pulumi(root: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """A `pulumi` that answers so, whatever it is asked."""
    (root / "answer").write_text(answer, "utf-8", "surrogatepass")
    program = root / "bin" / "pulumi"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\ncat {shlex.quote(str(root / 'answer'))}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "warning: x",
        "[1]",
        "3",
        '{"machines": []}',
        '{"machines": {"a": 1}}',
        "[" * 100_000,
        '{"machines": {"a\\u001b[31m": {}}}',
        "null",
        '"\\ud800"',
        "1" * 5000,
    ],
)
def test_an_engine_that_does_not_answer_as_it_should(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str
) -> None:
    pulumi(root, monkeypatch, answer)
    for command in (["status"], ["ssh-config"], ["enroll", "alice", "--force"]):
        (line,) = said(capsys, [*command, "--stack", "lab"]).splitlines()
        assert "pulumi" in line
        assert ": (" not in line


FAILS = [
    ("error: x", "pulumi config --stack lab"),
    ("error: passphrase must be set", "read -rsp 'Passphrase: ' PULUMI_CONFIG_PASSPHRASE; export"),
    (
        "error: PULUMI_ACCESS_TOKEN must be set for login",
        "mkdir -p -m 700 {home} && export PULUMI_BACK",
    ),
]


@pytest.mark.parametrize(("fault", "mend"), FAILS)
def test_mends_of_a_failing_engine_can_be_typed_and_show_no_secret(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: str,
    mend: str,
) -> None:
    (root / "bin").mkdir()
    (root / "bin/pulumi").write_text(f"#!/bin/sh\necho {shlex.quote(fault)} >&2\nexit 255\n")
    (root / "bin/pulumi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{root / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(ProblemsError) as told:
        engine.config_values(project.Stack("lab", root))
    assert mend.format(home=root / ".secondlock/lab/pulumi") in str(told.value)
    assert "--show-secrets" not in str(told.value)
    (root / "stacks/Pulumi.lab.yaml").write_text("encryptionsalt: v1:x\nconfig: []\n")
    with pytest.raises(ProblemsError, match=r"Pulumi\.lab\.yaml:2: config: expected fields"):
        engine.config_values(project.Stack("lab", root))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("address", "127.0.0.1\n  ProxyCommand touch /tmp/x"),
        ("address", "-oProxyCommand=x"),
        ("address", ""),
        ("port", 0),
        ("port", 70000),
        ("host_key", "ssh-ed25519 AAAA\n* ssh-ed25519 AAAA"),
        ("host_key", "@cert-authority * ssh-ed25519 AAAA"),
        ("researchers", ["alice\n  LocalCommand x"]),
        ("researchers", ["*"]),
        ("target", "local\x1b[2J"),
        ("directory", "relative"),
        ("directory", "/a\nb"),
        ("instance_id", "i-1\n  ProxyCommand x"),
        ("region", "eu; touch x"),
        ("zone", "\x1b"),
        ("log_group", "\n"),
    ],
)
def test_hostile_outputs_reach_neither_ssh_nor_the_screen(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    field: str,
    value: object,
) -> None:
    machines = outputs(root)
    pulumi(root, monkeypatch, json.dumps({"machines": machines}))
    assert main(["ssh-config", "--stack", "lab"]) == 0
    capsys.readouterr()
    config = root / ".secondlock/lab/ssh_config"
    config.unlink()
    machines["alice"][field] = value
    pulumi(root, monkeypatch, json.dumps({"machines": machines}))
    assert f"machines.alice.{field}" in said(capsys, ["ssh-config", "--stack", "lab"])
    assert not config.exists()


def test_a_hostile_name_of_a_machine(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machines = {"a\n* ssh-rsa AAAA": outputs(root)["alice"]}
    pulumi(root, monkeypatch, json.dumps({"machines": machines}))
    assert "not as expected" in said(capsys, ["ssh-config", "--stack", "lab"])


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "[" * 100_000, '{"people": {"a": 1}, "data": {}, "retired": {}}', "null"],
)
def test_a_record_in_the_state_that_is_none(text: str) -> None:
    with pytest.raises(ProblemsError, match="damaged"):
        Record.parse(text)


def test_permissions_of_what_is_written(root: Path) -> None:
    """What is replaced keeps its mode; nothing else changes."""
    (root / "stacks/lab/alice.yaml").write_text(request_text())
    (root / "stacks/lab/alice.yaml").chmod(0o640)
    assert main(["rotate", "alice", "--stack", "lab"]) == 0
    assert stat.S_IMODE((root / "stacks/lab/alice.yaml").stat().st_mode) == 0o640


def test_ssh_keygen_reads_what_we_made_of_rfc_4716(root: Path) -> None:
    """Our reading of a converted key is OpenSSH's."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    (root / "alice").write_text(rfc4716(KEY))
    done = subprocess.run(
        ["ssh-keygen", "-i", "-f", "alice"], cwd=root, capture_output=True, text=True, check=True
    )
    assert base64.b64decode(done.stdout.split()[1]) == base64.b64decode(KEY.split()[1])
