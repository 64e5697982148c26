"""`secondlock init`: from an empty folder to a plan that stands, with the real engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.people import make_key
from tests.support.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from cli import project
project.ROOT = Path(sys.argv[2])
from cli.__main__ import main
sys.exit(main(sys.argv[3:]))
"""


class Folder:
    """A project in which there is no stack yet, and the shell of somebody who has set nothing."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.state = place / ".secondlock" / "lab"
        self.config = place / "stacks" / "Pulumi.lab.yaml"
        (place / "stacks").mkdir(parents=True)
        for name in ("Pulumi.yaml", "__main__.py", "infra", "cloudinit", "image"):
            (place / name).symlink_to(ROOT / name)
        self.key = place / "alice.pub"
        self.key.write_text(make_key(place / "alice") + "\n")
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        self.environment = {"HOME": str(place), "PATH": path, "LANG": "C.UTF-8"}

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-I", "-c", PROGRAM, ROOT, self.place, *words],
            cwd=self.place,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )

    def init(self, *words: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        with self.start("init", "lab", *words) as process:
            out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def pulumi(self, *words: str) -> str:
        """`pulumi` in a shell that has read the stack's environment file."""
        line = '. .secondlock/lab/env && exec "$@"'
        argv = ["sh", "-c", line, "sh", "pulumi", *words, "--stack", "lab", "--non-interactive"]
        done = subprocess.run(
            argv, cwd=self.place, env=self.environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def seed(self) -> str:
        return self.pulumi("config", "get", "secondlock:enrollmentSeed").strip()

    def files(self) -> dict[str, bytes]:
        """What it made, and holds."""
        return {
            str(path): path.read_bytes()
            for folder in (self.state, self.place / "stacks")
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "project")


def _modes(paths: Sequence[Path]) -> list[str]:
    return [f"{path.stat().st_mode & 0o777:o}" for path in paths]


def test_one_command_leads_to_a_plan_that_stands_and_another_changes_nothing(
    folder: Folder,
) -> None:
    with_alice = ("--researcher", "alice", "--key", str(folder.key))
    code, out, err = folder.init(*with_alice)
    assert (code, err) == (0, "")
    assert "pulumi up --stack lab" in out
    private = [folder.state, folder.state / "pulumi"]
    assert _modes(private) == ["700"] * 2
    assert _modes([folder.state / name for name in ("passphrase", "env")]) == ["600"] * 2
    preview = folder.pulumi("preview")
    assert "secondlock:local:Machine" in preview
    assert folder.seed() not in out + folder.config.read_text()

    with (folder.state / "env").open("a") as env:
        env.write("export AWS_PROFILE=lab\n")
    before = folder.files()
    code, out, _ = folder.init(*with_alice)
    assert (code, "stays as it is" in out, "keep a copy elsewhere" in out) == (0, True, True)
    assert folder.files() == before


def test_programs_are_told_what_was_made_and_where(folder: Folder) -> None:
    code, out, err = folder.init("--json", "--researcher", "alice", "--key", str(folder.key))
    assert (code, err) == (0, "")
    told = json.loads(out)
    request = folder.place / "stacks" / "lab" / "alice.yaml"
    passphrase, env = (folder.state / name for name in ("passphrase", "env"))
    made = [folder.config, env, passphrase, request]
    assert told.pop("made") == [str(path) for path in made]
    assert told.pop("next")[-1] == "pulumi up --stack lab"
    assert told.pop("request")["file"] == str(request)
    assert told == {
        "stack": "lab",
        "target": "local",
        "new": True,
        "folder": str(request.parent),
        "settings_file": str(folder.config),
        "env_file": str(env),
        "passphrase_file": str(passphrase),
        "state": f"file://{folder.state}/pulumi",
    }
    again = json.loads(folder.init("--json", "--researcher", "alice")[1])
    assert (again["new"], again["made"], again["request"]) == (False, [], None)
    assert again["passphrase_file"] == str(passphrase)


def test_whatever_it_is_killed_at_it_goes_on(folder: Folder) -> None:
    for seconds in (0.4, 0.8, 1.2, 1.8, 2.5, 3.5):
        process = folder.start("init", "lab")
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    code, _, err = folder.init("--json")
    assert (code, err) == (0, "")
    assert len(folder.seed()) == 64
    before = folder.seed()
    assert folder.init("--researcher", "alice", "--key", str(folder.key))[0] == 0
    assert folder.seed() == before
    folder.pulumi("preview")


def test_a_stack_in_ec2_has_its_region_and_needs_two_decisions(folder: Folder) -> None:
    aws = ("--target", "aws")
    code, _, err = folder.init(*aws)
    assert (code, "--zones" in err) == (2, True)
    zones = ("--zones", "eu-west-1a,eu-west-1b")
    code, _, err = folder.init(*aws, *zones)
    assert (code, "--on-destroy" in err) == (2, True)
    code, _, err = folder.init(*aws, "--zones", "here", "--on-destroy", "delete")
    assert (code, "--zones: 'here' is not an availability zone" in err) == (2, True)
    alice = ("--researcher", "alice", "--key", str(folder.key))
    code, _, err = folder.init(*aws, *zones, "--on-destroy", "delete", *alice)
    assert (code, "where the researcher logs in from" in err) == (2, True)
    asked = (*alice, "--from", "192.0.2.0/24", "--spot", "--private", "--instance-type")
    code, _, err = folder.init(*aws, *zones, "--on-destroy", "delete", *asked, "t3.micro")
    assert (code, "machine.instance_type: `t3.micro`" in err) == (1, True)
    assert not folder.state.exists()
    wanted = (*aws, *zones, "--on-destroy", "snapshot", *asked, "g5.xlarge")
    code, out, _ = folder.init(*wanted, "--json")
    assert code == 0
    assert "./secondlock image pin --stack lab" in json.loads(out)["next"]
    request = (folder.place / "stacks" / "lab" / "alice.yaml").read_text()
    assert "\nmachine: {instance_type: g5.xlarge, spot: true, public: false}\n" in request
    assert folder.pulumi("config", "get", "aws:region").strip() == "eu-west-1"
    assert folder.init(*aws)[0] == 0
    code, _, err = folder.init(*zones, "--on-destroy", "delete")
    assert (code, "is snapshot in this stack, not delete" in err) == (1, True)
    code, _, err = folder.init("--target", "local")
    assert (code, "is aws in this stack, not local" in err) == (1, True)


@pytest.mark.parametrize(
    "words",
    [
        ("--researcher", "alice", "--key", "Pulumi.yaml"),
        ("--researcher", "root", "--key", "alice.pub"),
        ("--researcher", "alice", "--key", "alice.pub", "--from", "everywhere"),
        ("--researcher", "alice", "--key", "alice.pub", "--spot"),
        ("--key", "alice.pub"),
        ("--private",),
    ],
)
def test_what_is_wrong_with_the_first_request_is_told_before_anything_is_made(
    folder: Folder, words: tuple[str, ...]
) -> None:
    before = folder.files()
    code, _, err = folder.init(*words)
    assert code != 0
    assert "Traceback" not in err
    assert folder.files() == before
    assert not folder.state.exists()


def test_a_passphrase_that_is_lost_or_none_is_not_replaced(folder: Folder) -> None:
    assert folder.init()[0] == 0
    passphrase = folder.state / "passphrase"
    words = passphrase.read_text()
    for break_it in (passphrase.unlink, passphrase.touch):
        break_it()
        code, _, err = folder.init()
        assert (code, "is encrypted with it (bring it back" in err) == (1, True)
    assert passphrase.read_text() == ""
    passphrase.write_text(words)
    folder.environment["PULUMI_CONFIG_PASSPHRASE"] = ""
    code, _, err = folder.init()
    assert (code, "everybody could read the seed" in err) == (1, True)


def test_another_stacks_shell_is_not_this_ones(folder: Folder) -> None:
    """Who has just read one stack's environment file makes another."""
    assert folder.init()[0] == 0
    lab = folder.files()
    folder.environment["PULUMI_BACKEND_URL"] = f"file://{folder.state}/pulumi"
    folder.environment["PULUMI_CONFIG_PASSPHRASE_FILE"] = f"{folder.state}/passphrase"
    with folder.start("init", "other") as process:
        out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    other = folder.place / ".secondlock" / "other"
    assert f"State: file://{other}/pulumi" in out
    assert (other / "passphrase").read_text() != (folder.state / "passphrase").read_text()
    assert lab.items() <= folder.files().items()


def test_a_backend_of_the_shell_or_the_command_line_is_kept(folder: Folder) -> None:
    code, _, err = folder.init("--backend", f"file://{folder.place}/nowhere")
    assert (code, "pulumi does not find the state of stack lab" in err) == (1, True)
    team = folder.place / "team"
    team.mkdir()
    folder.environment["PULUMI_BACKEND_URL"] = f"file://{team}"
    code, out, _ = folder.init()
    assert (code, f"State: file://{team}" in out) == (0, True)
    del folder.environment["PULUMI_BACKEND_URL"]
    assert folder.init()[0] == 0
    assert len(folder.seed()) == 64
    folder.environment["PULUMI_BACKEND_URL"] = "s3://elsewhere"
    code, _, err = folder.init()
    assert (code, "unset PULUMI_BACKEND_URL" in err) == (1, True)


def test_a_stack_whose_settings_are_lost_gets_no_other_seed(folder: Folder) -> None:
    assert folder.init()[0] == 0
    state = json.loads(folder.pulumi("stack", "export"))
    urn = "urn:pulumi:lab::secondlock::pulumi:pulumi:Stack::secondlock-lab"
    state["deployment"]["resources"] = [
        {"urn": urn, "custom": False, "type": "pulumi:pulumi:Stack"}
    ]
    (folder.place / "state.json").write_text(json.dumps(state))
    folder.pulumi("stack", "import", "--file", "state.json")
    folder.config.unlink()
    code, _, err = folder.init()
    assert (code, "does not have its seed" in err) == (1, True)
