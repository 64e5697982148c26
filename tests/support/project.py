"""A program with a stack of its own, driven by the real `pulumi`: ours, or one of a test's."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml

from cli import project as cli_project
from cli.__main__ import main as secondlock
from infra.enrollment import fingerprint
from infra.local import qemu
from infra.local.host import sweep
from tests.support.people import make_key
from tests.support.plans import make_plan

ROOT = Path(__file__).resolve().parent.parent.parent
STACK = "trial"


class Program:
    """What stands in the folder `place`, with our modules and a file backend: the stack is new.

    `text` is the program's; without it, it is ours.
    """

    def __init__(self, place: Path, text: str | None = None, **environment: str) -> None:
        self.place = place
        self.backend = place / "backend"
        for folder in (place / "stacks", self.backend):
            folder.mkdir(parents=True)
        for name in ("Pulumi.yaml", "__main__.py", "infra", "cloudinit", "image"):
            if text is None or name != "__main__.py":
                (place / name).symlink_to(ROOT / name)
        if text is not None:
            (place / "__main__.py").write_text(text)
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PULUMI_BACKEND_URL": f"file://{self.backend}",
            "PULUMI_CONFIG_PASSPHRASE": secrets.token_hex(16),
            "PULUMI_SKIP_UPDATE_CHECK": "1",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            **environment,
        }
        self.succeed("stack", "init", STACK)

    def start(self, *arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        """Begin a `pulumi` command."""
        return subprocess.Popen(
            ["pulumi", *arguments, "--non-interactive"],
            cwd=self.place,
            env=self.environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, stdin: str = "") -> tuple[int, str]:
        """The exit code and everything that a `pulumi` command printed."""
        with self.start(*arguments, stdin=subprocess.PIPE) as process:
            out, _ = process.communicate(stdin)
        return process.returncode, out

    def succeed(self, *arguments: str, stdin: str = "") -> str:
        """What a `pulumi` command printed that has to work."""
        code, out = self.run(*arguments, stdin=stdin)
        assert code == 0, out
        return out

    def up(self, *arguments: str) -> str:
        """`pulumi up`, as a person who has seen the preview."""
        return self.succeed("up", "--yes", "--skip-preview", *arguments)

    def resources(self) -> list[str]:
        """The names of everything in the stack's state, the stack and its providers apart."""
        urns = [resource["urn"] for resource in self._state()]
        return [urn.split("::")[-1] for urn in urns if "::pulumi:" not in urn]

    def resource(self, kind: str, name: str) -> dict[str, Any]:
        """The outputs of a resource as the state has them: `refresh` renews no stack output."""
        end = f"{kind}::{name}"
        (found,) = [each["outputs"] for each in self._state() if each["urn"].endswith(end)]
        outputs: dict[str, Any] = found
        return outputs

    def _state(self) -> list[dict[str, Any]]:
        deployment = json.loads(self.succeed("stack", "export"))["deployment"]
        return deployment.get("resources") or []

    def kill_up(self, process: subprocess.Popen[str]) -> None:
        """Kill a running `pulumi` at once, and end what it leaves of its language host."""
        hosts = _children_and_theirs(process.pid, "pulumi-language-python", "-python-exec")
        process.kill()
        process.communicate()
        for pid in hosts:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


class Project(Program):
    """Our program, with a seed and no request yet."""

    def __init__(self, place: Path, **environment: str) -> None:
        super().__init__(place, **environment)
        self.home = place / ".secondlock" / STACK
        self.requests = place / "stacks" / STACK
        self.seed = secrets.token_hex(32)
        for folder in (self.requests, place / "keys"):
            folder.mkdir()
        self.succeed("config", "set", "--secret", "secondlock:enrollmentSeed", stdin=self.seed)
        self.succeed("config", "set", "secondlock:seedFingerprint", fingerprint(self.seed))

    def request(self, researcher: str, **values: Any) -> dict[str, Any]:
        """Write a good request; gives back its values."""
        path = self.requests / f"{researcher}.yaml"
        key = make_key(self.place / "keys" / f"{researcher}-{secrets.token_hex(4)}")
        request = {
            "researcher": researcher,
            "ssh_keys": [key],
            "allowed_from": ["127.0.0.0/8"],
            "machine": {"memory_gib": 2},
            "enrollment": secrets.token_hex(16),
        }
        if path.exists():
            request |= yaml.safe_load(path.read_text())
        request |= values
        path.write_text(yaml.safe_dump(request))
        return request

    def later_day(self) -> Path:
        """Give it programs of machines as of a later day: a copy of ours, which is given back."""
        ours = self.place / "cloudinit"
        ours.unlink()
        shutil.copytree(ROOT / "cloudinit", ours)
        issue = ours / "guest/ssh/issue.j2"
        issue.write_text(f"Of a later day. {issue.read_text()}")
        return ours

    def today(self) -> None:
        """Give it ours again."""
        ours = self.place / "cloudinit"
        shutil.rmtree(ours)
        ours.symlink_to(ROOT / "cloudinit")

    def secondlock(self, *words: str) -> None:
        """A command of `./secondlock` that has to work, on this project's files."""
        with patch.object(cli_project, "ROOT", self.place):
            assert secondlock([*words, "--stack", STACK]) == 0

    def machines(self) -> dict[str, Any]:
        """The stack's output `machines`."""
        found: dict[str, Any] = json.loads(self.succeed("stack", "output", "machines", "--json"))
        return found

    def directory(self, machine: str) -> Path:
        """The folder of a machine."""
        return self.home / "machines" / machine

    def secrets(self) -> set[str]:
        """Everything that must be in clear nowhere on this computer."""
        values = {"seedFingerprint": fingerprint(self.seed)}
        plan = make_plan(STACK, self.requests, values, self.seed)
        found = {self.seed}
        for machine in plan.machines:
            found.add(json.loads(machine.roster)["host_key"].splitlines()[3])
        for enrollment in plan.enrollments.values():
            found |= {*enrollment["emergency_codes"], enrollment["uri"]}
            found.add(re.findall("secret=([A-Z2-7]+)", enrollment["uri"])[0])
        return found

    def end(self) -> None:
        """Whatever happened: no machine runs on."""
        sweep(self.home)


def providers(pid: int) -> list[int]:
    """The processes of the dynamic providers below the process `pid`."""
    return _children_and_theirs(pid, "pulumi-resource-pulumi-python", "pulumi.dynamic")


def programs(pid: int) -> list[int]:
    """The processes of the Pulumi programs that the command `pid` runs."""
    hosts = _children(pid, "pulumi-language-python")
    return [program for host in hosts for program in _children(host, "-python-exec")]


def wait_until(ready: Any, what: str, seconds: float = 120) -> None:
    """Wait for something that has to happen."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"it never happened that {what}"
        time.sleep(0.2)


def exists(pid: int) -> bool:
    """Whether the process lives (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


def leaks(folder: Path, needles: set[str]) -> list[str]:
    """Files below `folder` that hold one of `needles`, named with the needle's first characters."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            found += [f"{path}: {one[:3]}..." for one in needles if one.encode() in content]
    return found


def machine_processes(project: Project) -> list[int]:
    """Every QEMU of the project's stack."""
    return qemu.processes(project.home)


def _children_and_theirs(pid: int, word: str, theirs: str) -> list[int]:
    return [each for child in _children(pid, word) for each in [child, *_children(child, theirs)]]


def _children(pid: int, word: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, IndexError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and word.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found
