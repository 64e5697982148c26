"""`secondlock doctor` names what stops `up`: each fault stops the real one too."""

from __future__ import annotations

import copy
import json
import shutil
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest

from cli import project as cli_project
from cli.__main__ import main
from tests.support.documents import STATUS
from tests.support.project import STACK

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.cloud import AwsProject
    from tests.support.project import Project


@pytest.fixture
def look(
    unbootable: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[], list[str]]:
    """What doctor says that would stop `up`, as lines."""
    for name, value in unbootable.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cli_project, "ROOT", unbootable.place)

    def look() -> list[str]:
        capsys.readouterr()
        code = main(["doctor", "--stack", STACK, "--json"])
        said = capsys.readouterr()
        assert said.err == ""
        found = json.loads(said.out)["findings"]
        stops = [one for one in found if one["verdict"] == "stop"]
        assert code == (1 if stops else 0)
        assert all(one["mend"] for one in stops)
        return [f"{one['check']}: {one['what']} ({one['mend']})" for one in stops]

    return look


def test_each_fault_of_seed_settings_and_state_is_named(
    unbootable: Project, look: Callable[[], list[str]]
) -> None:
    project, keep = unbootable, ("--stack", STACK)
    project.request("alice")
    project.request("bob")
    assert look() == []

    def both(*parts: str) -> None:
        told, (code, out) = "\n".join(look()), project.run("preview")
        assert code != 0
        for part in parts:
            assert part in told
            assert part in out

    pinned = project.succeed("config", "get", "secondlock:seedFingerprint").strip()
    project.succeed("config", "rm", "secondlock:seedFingerprint")
    both("does not pin its enrollment seed")
    project.succeed("config", "set", "secondlock:seedFingerprint", "0" * 16)
    both("is not the one pinned")
    project.succeed("config", "set", "secondlock:seedFingerprint", pinned)

    project.succeed("config", "set", "--plaintext", "secondlock:enrollmentSeed", project.seed)
    both("stands there in clear", f"enrollmentSeed --stack {STACK}")
    project.succeed("config", "set", "--secret", "secondlock:enrollmentSeed", stdin="7" * 64)
    both("is a pattern, not random")
    project.succeed("config", "set", "--secret", "secondlock:enrollmentSeed", stdin=project.seed)

    project.succeed("config", "set", "secondlock:colour", "red", *keep)
    both("unknown setting secondlock:colour")
    project.succeed("config", "rm", "secondlock:colour", *keep)

    clone = project.place / "clone"
    shutil.copytree(project.requests, clone)
    project.secondlock("rotate", "bob")
    project.run("up", "--yes", "--skip-preview")
    shutil.rmtree(project.requests)
    shutil.copytree(clone, project.requests)
    both("the stack has seen it retired")


def test_a_passphrase_a_stack_and_a_lock_are_named(
    unbootable: Project, look: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = unbootable
    project.request("alice")
    project.run("up", "--yes", "--skip-preview")
    lock = project.backend / ".pulumi" / "locks" / "organization" / "secondlock" / STACK / "a.json"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text(json.dumps({"pid": 1, "hostname": socket.gethostname()}))
    assert any("process 1 on" in one and "pulumi cancel" in one for one in look())
    lock.unlink()
    with monkeypatch.context() as shell:
        shell.setenv("PULUMI_CONFIG_PASSPHRASE", "another")
        assert any("passphrase" in one for one in look())
    with monkeypatch.context() as shell:
        empty = project.place / "empty"
        empty.mkdir()
        shell.setenv("PULUMI_BACKEND_URL", f"file://{empty}")
        assert any(f"there is no stack {STACK}" in one for one in look())


def test_logins_are_well_only_where_every_machine_lets_its_people_in(
    lab: AwsProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.request("alice")
    lab.up()
    for name, value in lab.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cli_project, "ROOT", lab.place)

    def logins() -> list[tuple[str, str]]:
        capsys.readouterr()
        main(["doctor", "--stack", STACK, "--json"])
        found = json.loads(capsys.readouterr().out)["findings"]
        return [(one["verdict"], one["what"]) for one in found if one["check"] == "login"]

    (silent,) = logins()
    assert silent[0] == "stop"
    assert "alice" in silent[1]
    says: dict[str, Any] = {
        **copy.deepcopy(STATUS),
        "stack": STACK,
        "serial": lab.machines()["alice"]["serial"],
    }
    _say(lab, says)
    assert logins() == [("ok", "1 machines answer, nobody is shut out")]
    says["bans"] = ["192.0.2.9"]
    _say(lab, says)
    assert logins() == [("note", "alice has banned 192.0.2.9: no new login from there gets in")]
    says["bans"], says["door"] = [], "shut"
    _say(lab, says)
    assert logins() == [("stop", "alice's sshd does not run: nobody gets in")]
    says["door"] = "open"
    says["researchers"]["alice"]["frozen"] = True
    _say(lab, says)
    assert logins() == [
        ("stop", "alice is frozen after too many wrong codes: the key may be stolen")
    ]


def _say(lab: AwsProject, status: dict[str, Any]) -> None:
    """What alice's machine writes to its stream."""
    logs, group, stream = lab.cloud.client("logs"), f"/secondlock/{STACK}", "alice/status"
    with suppress(logs.exceptions.ResourceAlreadyExistsException):
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
    event = {"timestamp": int(time.time() * 1000), "message": json.dumps(status)}
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=[event])


def test_without_a_backend_doctor_says_where_the_state_is(
    unbootable: Project, look: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    unbootable.request("alice")
    monkeypatch.delenv("PULUMI_BACKEND_URL")
    monkeypatch.setenv("PULUMI_HOME", str(unbootable.place / "nobodys"))
    assert any("export PULUMI_BACKEND_URL=" in one for one in look())


def test_logs_of_the_engine_that_hold_secrets_are_named(
    unbootable: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = unbootable
    project.request("alice")
    folder = project.place / "tmp"
    folder.mkdir()
    project.environment["TMPDIR"] = str(folder)
    project.run("preview", "-v=9", "--logflow")
    logs = sorted(folder.glob("*.log.*"))
    assert any(project.seed in log.read_text(errors="replace") for log in logs)
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    with patch.object(cli_project, "ROOT", project.place):
        main(["doctor", "--stack", STACK])
    out = capsys.readouterr().out
    for log in logs:
        assert f"shred -u {log}" in out
