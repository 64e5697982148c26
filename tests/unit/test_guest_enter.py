"""The short way into a workspace leads to the very place that the long one leads to, or to it."""

from __future__ import annotations

import importlib
import os
import pwd
import re
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudinit.bundle import files

containers: Any = importlib.import_module("guest.workspace.containers")
enter: Any = importlib.import_module("guest.workspace.enter")

PROGRAM = "/usr/local/lib/secondlock/enter"
OTHERWISE = f"{PROGRAM}-otherwise"
NAME, UID, ID = "alice", 20001, "ab" * 32
GROUP = f"sys/fs/cgroup/system.slice/docker-{ID}.scope"
RECORDER = '#!/bin/sh\nprintf "%s\\0" "$0" "$@"\n'
THERE = {
    f"etc/secondlock/workspaces/{NAME}/passwd": "",
    f"run/secondlock/workspaces/{NAME}.id": ID,
    f"run/docker/runtime-runc/moby/{ID}/status": "{}",
    f"{GROUP}/pids.current": "3\n",
    f"{GROUP}/pids.max": "1536\n",
    f"{GROUP}/memory.current": "1048576\n",
    f"{GROUP}/memory.max": "3758096384\n",
    "sys/bus/pci/devices/0000:00:01.0/vendor": "0x1af4\n",
    "usr/bin/setpriv": RECORDER,
    OTHERWISE[1:]: RECORDER,
}


class Root:
    """A machine's files, as far as the program looks at them, in a folder."""

    def __init__(self, place: Path) -> None:
        self.place = place
        (script,) = (content for path, _, content in files("local") if path == PROGRAM)
        # Whatever it looks at or runs is in this root; what the workspace has is the workspace's.
        here = re.sub(
            r"(?<![\w$.:/])/(etc|run|sys|usr/bin|usr/local/lib)/", rf"{place}/\1/", script
        )
        (place / "enter").write_text(here)
        for path, content in THERE.items():
            self.write(path, content)

    def write(self, path: str, content: str) -> None:
        """One of its files, programs among them."""
        file = self.place / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        file.chmod(0o755)

    def run(self, environment: dict[bytes, bytes]) -> list[bytes]:
        """What the program becomes: name and arguments, as on the machine."""
        by_sudo = {b"SUDO_USER": NAME.encode(), b"SUDO_UID": b"%d" % UID, b"SUDO_GID": b"%d" % UID}
        done = subprocess.run(
            ["/bin/sh", self.place / "enter"],
            env={**by_sudo, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )
        assert done.stderr == b""
        return done.stdout.replace(os.fsencode(self.place), b"").split(b"\0")[:-1]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    """One where a workspace runs and has room."""
    return Root(tmp_path_factory.mktemp("root"))


def _the_long_way(environment: dict[bytes, bytes]) -> list[bytes]:
    account = pwd.struct_passwd((NAME, "x", UID, UID, "", f"/home/{NAME}", "/bin/sh"))
    runtime = patch.object(containers, "_runtime", lambda _: containers.CRUN)
    with runtime, patch.dict(os.environb, environment, clear=True):
        argv = containers.enter_command(
            account, ID, enter._command(False), enter._environment(account, False), False
        )
    return [os.fsencode(word) for word in ("/usr/bin/setpriv", "--pdeathsig", "TERM", *argv)]


def _sorted(argv: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Apart from the variables, whose order says nothing; and those."""
    pairs = list(pairwise(argv))
    variables = sorted(value for option, value in pairs if option == b"--env")
    at = {index for index, word in enumerate(argv) if word == b"--env"}
    return [w for i, w in enumerate(argv) if i not in at and i - 1 not in at], variables


VALUES = st.binary(max_size=60).filter(lambda value: b"\0" not in value)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    command=st.none() | VALUES | st.text("ab $'\"\\*;\n\t-", max_size=30).map(str.encode),
    more=st.dictionaries(st.sampled_from([b"COLORTERM", b"NO_COLOR", b"SSH_CLIENT"]), VALUES),
)
def test_both_ways_lead_to_the_same_place(
    root: Root, command: bytes | None, more: dict[bytes, bytes]
) -> None:
    environment = more | ({} if command is None else {b"SSH_ORIGINAL_COMMAND": command})
    became = root.run(environment)
    plain = re.fullmatch(rb"[ -~\t\n]*", command or b"") is not None
    if became[0] == OTHERWISE.encode():
        assert not plain
    else:
        assert plain
        assert _sorted(became) == _sorted(_the_long_way(environment))


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (f"etc/secondlock/workspaces/{NAME}", None),
        (f"run/secondlock/workspaces/{NAME}.id", None),
        (f"run/secondlock/workspaces/{NAME}.id", ""),
        (f"run/secondlock/workspaces/{NAME}.id", f"{ID} nvidia.com/gpu=all"),
        (f"run/docker/runtime-runc/moby/{ID}/status", None),
        (f"run/secondlock/shut/{NAME}", ""),
        ("run/cdi/nvidia.yaml", ""),
        ("sys/bus/pci/devices/0000:00:1e.0/vendor", "0x10de\n"),
        (f"{GROUP}/pids.current", "1530\n"),
        (f"{GROUP}/memory.current", "3758096000\n"),
        (f"{GROUP}/memory.current", None),
    ],
    ids=lambda value: str(value).rpartition("/")[2][:20],
)
def test_what_is_otherwise_goes_the_long_way(
    tmp_path: Path, path: str, content: str | None
) -> None:
    root = Root(tmp_path)
    assert root.run({})[0] == b"/usr/bin/setpriv"
    if content is None:
        (root.place / path).rename(tmp_path / "gone")
    else:
        root.write(path, content)
    assert root.run({}) == [OTHERWISE.encode()]
    assert root.run({b"SSH_ORIGINAL_COMMAND": b"secondlock-stop"}) == [OTHERWISE.encode()]


def test_a_workspace_with_the_machines_gpu_needs_no_longer_way(tmp_path: Path) -> None:
    root = Root(tmp_path)
    root.write("run/cdi/nvidia.yaml", "")
    root.write("sys/bus/pci/devices/0000:00:1e.0/vendor", "0x10de\n")
    root.write(f"run/secondlock/workspaces/{NAME}.id", f"{ID} nvidia.com/gpu=all")
    assert root.run({})[0] == b"/usr/bin/setpriv"
