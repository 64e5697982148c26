"""A machine with a GPU, as far as Docker and the workspace go: the GPU itself is a stand-in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.gpu import APPEAR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.machine import Machine

# As nvidia-ctk writes it, but for the libraries.
LIST = """
mkdir -p /run/cdi
[ -e /dev/nvidia0 ] || mknod -m 666 /dev/nvidia0 c 195 0
cat >/run/cdi/nvidia.yaml <<'END'
cdiVersion: "0.6.0"
kind: nvidia.com/gpu
devices:
- name: all
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
END
"""
HAS = "test -c /dev/nvidia0 && echo yes || echo no"


@pytest.fixture
def gpu(machine: Machine) -> Iterator[Machine]:
    """A machine that seems to have a GPU, of which Docker knows nothing yet."""
    machine.succeed(APPEAR)
    yield machine
    machine.succeed("umount /sys/bus/pci/devices; rm -rf /run/cdi /run/pci /dev/nvidia0")


def test_a_workspace_has_the_machines_gpu_or_its_owner_is_told(gpu: Machine) -> None:
    person = gpu.researcher()
    with gpu.client.session(person) as session:
        # No list: in without it.
        result = session.run(HAS, timeout=300)
        assert (result.exit, result.output) == (0, "no")
        assert "this machine's GPU cannot be used now" in result.errors
        assert gpu.status()["gpu"] == {"count": 1, "models": [], "driver": None, "listed": False}
        # The list comes while something runs: that is not ended.
        session.succeed(
            "setsid -f sh -c 'echo $$ >/tmp/job; exec sleep 600' </dev/null >/dev/null 2>&1"
        )
        gpu.succeed(LIST)
        result = session.run(HAS)
        assert (result.exit, result.output) == (0, "no")
        assert "made before the GPU could be used" in result.errors
        session.succeed("kill -0 $(cat /tmp/job)")
        # Nobody is in it: made again, and so it stays.
        session.run("kill $(cat /tmp/job)")
        for _ in range(2):
            result = session.run(HAS)
            assert (result.output, result.errors.strip()) == ("yes", "")
        assert gpu.status()["gpu"]["listed"] is True
        assert gpu.person_status(person)["gpu"] is True
        # The next boot has no list: the workspace that names it could not start.
        gpu.succeed(f"docker stop --time 1 workspace-{person.name}; rm /run/cdi/nvidia.yaml")
        result = session.run(HAS)
        assert (result.exit, result.output) == (0, "no")
        assert "cannot be used now" in result.errors
