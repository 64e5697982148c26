"""What Image Builder is told to do, as far as it can be tried without it."""

from __future__ import annotations

import importlib
import os
import pwd
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudinit.install import AWS_PACKAGES, DRIVER_PACKAGES, render_install
from image import components as image_components
from image.components import LIMIT, render_agent, render_components
from image.packages import PACKAGES

gpu: Any = importlib.import_module("guest.gpu.devices")
workspace: Any = importlib.import_module("guest.workspace.containers")
IMAGE = "tensorflow/tensorflow@sha256:" + "a" * 64
SHELLCHECK = Path(sys.executable).parent / "shellcheck"


def _documents() -> dict[str, dict[str, Any]]:
    return {name: yaml.safe_load(text) for name, text in render_components(IMAGE).items()}


def _scripts() -> dict[str, str]:
    found = {"agent": render_agent(IMAGE)}
    for document in _documents().values():
        for phase in document["phases"]:
            for step in phase["steps"]:
                (found[step["name"]],) = step["inputs"]["commands"]
    return found


def test_documents_are_of_the_schema_and_fit() -> None:
    assert all(len(text) <= LIMIT for text in render_components(IMAGE).values())
    phases: list[str] = []
    for document in _documents().values():
        assert document["schemaVersion"] == 1.0
        assert set(document) == {"description", "schemaVersion", "phases"}
        for phase in document["phases"]:
            phases.append(phase["name"])
            for step in phase["steps"]:
                assert step["action"] == "ExecuteBash"
                assert step["onFailure"] == "Abort"
                assert step["timeoutSeconds"] > 0
                assert list(step["inputs"]) == ["commands"]
    assert phases == ["build", "build", "build", "build", "validate", "test"]


def test_yaml_gives_the_scripts_back_to_the_byte() -> None:
    assert _scripts()["Install"] == render_install(IMAGE)
    assert "apt-get" in _scripts()["agent"]


@pytest.mark.parametrize("name", ["agent", "Install", "Workspaces", "Files", "Check", "Try"])
def test_every_script_is_sound_shell(name: str, tmp_path: Path) -> None:
    script = _scripts()[name]
    assert script.startswith("#!/bin/bash\n")
    assert "set -euo pipefail" in script
    assert "{{" not in script  # Image Builder would replace it
    place = tmp_path / "script.sh"
    place.write_text(script)
    for command in (["bash", "-n"], [str(SHELLCHECK)]):
        done = subprocess.run([*command, str(place)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_has_what_local_machines_have() -> None:
    install = _scripts()["Install"]
    assert set(PACKAGES) - set(AWS_PACKAGES) <= {"qemu-guest-agent"}
    for package in (*AWS_PACKAGES, *DRIVER_PACKAGES):
        assert f" {package}" in install
    assert IMAGE in install
    assert "server 169.254.169.123" in _scripts()["Files"]


def test_the_bake_tries_the_gpu_as_a_workspace_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every option of the `docker run` against the container that a machine makes."""
    listed = tmp_path / "nvidia.yaml"
    listed.touch()
    monkeypatch.setattr(gpu, "LIST", listed)
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    account = pwd.struct_passwd(("alice", "x", 20001, 20001, "", "/home/alice", "/bin/sh"))
    container = workspace._definition(account, IMAGE)
    host = container["HostConfig"]
    (command,) = re.findall(r"docker run .*?(?= @image@)", image_components._TEST, re.DOTALL)
    words = shlex.split(command.replace("\\\n", " "))
    assert words[words.index("--user") + 1] == container["User"]
    assert words[words.index("--network") + 1] == host["NetworkMode"]
    assert [words[words.index("--device") + 1]] == host["DeviceRequests"][0]["DeviceIDs"]
    assert [words[words.index("--cap-drop") + 1]] == host["CapDrop"]
    assert [words[words.index("--security-opt") + 1]] == host["SecurityOpt"]
    assert words[words.index("--pids-limit") + 1] == str(host["PidsLimit"])
    assert ("--read-only" in words, "--init" in words) == (host["ReadonlyRootfs"], host["Init"])
    assert "--privileged" not in words
    assert "--gpus" not in words
    # Without this Docker knows no such device.
    assert '"cdi": true' in _scripts()["Files"]
    assert "nvidia-ctk cdi generate" in _scripts()["Files"]


def test_the_agent_is_installed_as_the_script_does_it_and_nothing_else() -> None:
    agent = _scripts()["agent"]
    assert "gpgv --keyring" in agent
    assert "nvidia" not in agent
    assert "docker" not in agent
    start = agent.index('say "Systems Manager')
    assert agent[start:].rpartition("systemctl start")[0].strip() in render_install(IMAGE)


def test_double_braces_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_components, "_TEST", "#!/bin/bash\necho '{{.Digest}}'\n")
    with pytest.raises(ValueError, match="double braces"):
        render_components(IMAGE)


def test_a_component_too_long_for_image_builder_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(image_components, "_TEST", "#!/bin/bash\n" + "true\n" * LIMIT)
    with pytest.raises(ValueError, match=str(LIMIT)):
        render_components(IMAGE)
