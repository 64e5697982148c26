"""Pulumi's AWS provider is given credentials only where it is the one that is pinned."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from infra.aws import plugin
from tests.support.project import STACK

if TYPE_CHECKING:
    from tests.support.project import Project

AWS = {
    "aws:region": "eu-west-1",
    "aws:accessKey": "testing",
    "aws:secretKey": "testing",
    "secondlock:target": "aws",
    "secondlock:zones": "eu-west-1a",
    "secondlock:onDestroy": "delete",
    "secondlock:baseImage": "ami-0123456789abcdef0",
    "secondlock:tensorflowImage": "example.org/tensorflow@sha256:" + "0a" * 32,
}


def _stand_in(home: Path, started: Path) -> Path:
    """A provider that does nothing but note that it was started."""
    version = plugin.name().removeprefix("resource-aws-v").partition("-")[0]
    program = home / "plugins" / f"resource-aws-v{version}" / plugin.PROGRAM
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\ntouch {started}\nexit 1\n")
    program.chmod(0o755)
    return program


def test_one_that_is_not_pinned_is_never_started(project: Project) -> None:
    started = project.place / "started"
    home = project.place / "pulumi-home"
    project.environment |= {"PULUMI_HOME": str(home), "PATH": _without_others(project)}
    program = _stand_in(home, started)
    settings = project.place / "stacks" / f"Pulumi.{STACK}.yaml"
    document = yaml.safe_load(settings.read_text())
    document["config"] |= AWS
    settings.write_text(yaml.safe_dump(document))
    project.request("alice", allowed_from=["198.51.100.0/24"], machine={})
    pins = project.place / "stacks" / "plugins.sha256"
    pins.write_text(f"{'0a' * 32}  {plugin.name()}\n")
    for words in (("preview",), ("up", "--yes", "--skip-preview")):
        code, out = project.run(*words, "--stack", STACK)
        assert code != 0
        assert "which is not pinned: it would be given your AWS credentials" in out
        assert f"{pins.relative_to(project.place)}:" in out
        assert "Traceback" not in out
    assert not started.exists()
    # The one that is pinned is started, as far as this one goes.
    pins.write_text(f"{plugin.sha256(program)}  {plugin.name()}\n")
    code, out = project.run("preview", "--stack", STACK)
    assert code != 0
    assert "not pinned" not in out
    assert started.exists()


def _without_others(project: Project) -> str:
    """Its PATH without a provider that a person has there."""
    places = project.environment["PATH"].split(":")
    return ":".join(place for place in places if not (Path(place) / plugin.PROGRAM).exists())
