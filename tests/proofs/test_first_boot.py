"""The first boot of a machine that was not baked, without a restart: the kernel is the newest.

The install script ran before on this system: to build the driver in an emulated machine would take
an hour. So `firstboot` finds all packages there; whatever else it does, it does as on any machine.
The data volume, the roster and the role are those of the tests of the target aws.
"""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest

from cloudinit import install
from infra.local import qemu
from tests.support.aws_machine import EC2, GATEWAY, GROUP, RECORD, AwsMachine, boothook
from tests.support.cloud import Cloud
from tests.support.gpu import APPEAR
from tools.steps import Step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from image.store import GoldenImage
    from tests.proofs.conftest import Aloud
    from tests.proofs.standins import StandIns
    from tests.proofs.stock import Installed
    from tests.support.people import Person

FIRST = 2700  # seconds; beside other work on two cores 20 minutes were seen
SCRIPT = "/usr/local/lib/secondlock/install/1.sh"
# Without a GPU these two of Debian's end with a fault. They are there, or the boot ends here.
NO_FAULT = """
for program in nvidia-modprobe nvidia-smi; do
    mount --bind /bin/true /usr/bin/$program
done
"""
# Whoever looks into this computer's connections, as some networks do, looks into the machine's too.
PIP = "printf '[global]\\ncert = /run/authorities.pem\\n' >/etc/pip.conf\n"
RUNNING = (
    "amazon-ssm-agent.service docker.service containerd.service chrony.service ssh.service "
    "fail2ban.service secondlock-clock.service secondlock-doorkeeper.service "
    "secondlock-fetch.timer secondlock-ship.timer secondlock-status.timer secondlock-spot.service "
    "apt-daily.timer apt-daily-upgrade.timer"
)


class FirstBoot(AwsMachine):
    """A stock machine with a GPU on its PCI bus."""

    memory_mib = 3072
    patience = FIRST
    before = EC2 + APPEAR + NO_FAULT

    def __init__(self, place: Path, cloud: Cloud, image: GoldenImage, script: str) -> None:
        super().__init__(place, cloud)
        self._image, self._script = image, script

    @property
    def image(self) -> GoldenImage:
        """The system on which the script ran."""
        return self._image

    def user_data(self) -> bytes:
        """With a part behind ours that puts our script, with its stand-ins, for the bundle's.

        That one runs only when cloud-init has come to its next stage.
        """
        put = f"cat >{SCRIPT} <<'END OF SCRIPT'\n{self._script}END OF SCRIPT\n"
        after = boothook(PIP + put)
        text = gzip.decompress(super().user_data()).decode()
        head, boundary, config = text.rpartition("--secondlock\n")
        return gzip.compress(f"{head}{after}{boundary}{config}".encode())


@pytest.fixture(scope="module")
def machine(
    installed: Installed,
    stand_ins: StandIns,
    aloud: Aloud,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[FirstBoot]:
    """A machine whose first boot has come to its end, with one researcher in its roster."""
    script = stand_ins.in_place(install.render_install(None), GATEWAY)
    fetched = f"curl -fsS -o /run/authorities.pem {stand_ins.address(GATEWAY)}/authorities.pem"
    script = f"{fetched}\n{script}"
    cloud = Cloud(tmp_path_factory.mktemp("cloud"))
    try:
        for group in (GROUP, RECORD):
            cloud.client("logs").create_log_group(logGroupName=group)
        machine = FirstBoot(tmp_path_factory.mktemp("first"), cloud, installed.image, script)
        try:
            with aloud():
                print()
                _boot(machine, Step("A first boot of that disk"))
            yield machine
        finally:
            machine.end()
    finally:
        cloud.end()


def _boot(machine: FirstBoot, step: Step) -> None:
    qemu.create_data(machine.data, 5)
    machine.add()
    machine.put()
    with step.heartbeat(lambda: qemu.tail(machine.directory / "console.log", 1)[:60]):
        machine.boot()
        machine.wait_for("systemctl is-active secondlock.target", timeout=FIRST)
        machine.wait_for("systemctl is-active ssh.service", timeout=FIRST)
    step.done()


@pytest.fixture(scope="module")
def person(machine: FirstBoot) -> Person:
    """Whose machine it is."""
    (person,) = machine.everyone()
    return person


def test_the_script_ran_to_its_end_in_the_first_boot_and_no_restart_came(
    machine: FirstBoot, installed: Installed
) -> None:
    assert machine.succeed("uname -r").strip() == installed.found["kernel"]
    assert len(json.loads(machine.succeed("journalctl --list-boots --output=json"))) == 1
    said = machine.succeed("journalctl --unit=secondlock-install.service --output=cat")
    assert said.count("secondlock: installed") == 1
    assert "is tried again" not in said
    machine.succeed("test -e /etc/secondlock/installed && systemctl is-enabled secondlock.target")


def test_the_driver_fits_the_kernel_that_runs(machine: FirstBoot) -> None:
    code, _, error = machine.run("dmesg --clear; modprobe nvidia-current")
    assert (code, error.rpartition(": ")[2].strip()) == (1, "No such device"), error
    said = machine.succeed("dmesg")
    # It looked for a GPU: so the kernel took it, with all its symbols and options.
    assert "NVRM: No NVIDIA GPU found" in said
    for fault in ("Unknown symbol", "disagrees about version", "version magic", "unknown param"):
        assert fault not in said


def test_the_list_of_gpus_came_before_the_first_workspace(
    machine: FirstBoot, person: Person
) -> None:
    form = "{{json .HostConfig.DeviceRequests}}"
    made = f"docker inspect --format '{form}' workspace-{person.name}"
    (asked,) = json.loads(machine.wait_for(made, timeout=300))
    assert (asked["Driver"], asked["DeviceIDs"]) == ("cdi", ["nvidia.com/gpu=all"])
    # Once, and before the roster was asked for: no workspace had to wait for it.
    (listed,) = _said(machine, "secondlock-gpu.service", "Finished")
    (asked_for, *_) = _said(machine, "secondlock-fetch.service", "Starting")
    assert listed < asked_for


def _said(machine: FirstBoot, unit: str, word: str) -> list[int]:
    """When systemd said so of the unit, in microseconds of this boot."""
    lines = machine.succeed(f"journalctl --unit={unit} --output=json").splitlines()
    entries = [json.loads(line) for line in lines]
    return [
        int(entry["__MONOTONIC_TIMESTAMP"])
        for entry in entries
        if entry["MESSAGE"].startswith(word)
    ]


def test_a_researcher_comes_in_by_key_and_code_and_has_the_gpu(
    machine: FirstBoot, person: Person
) -> None:
    seen = machine.client.login(person, "head -c 2 /dev/nvidia0", timeout=300)
    assert seen.data == b"\0\0", seen.errors
    assert machine.client.login(person, code=person.wrong_code()).denied
    assert machine.status()["gpu"]["listed"] is True


def test_what_must_run_does_and_nothing_failed(machine: FirstBoot) -> None:
    for unit in RUNNING.split():
        machine.wait_for(f"systemctl is-active {unit}", timeout=300)
    assert "policy drop" in machine.succeed("nft list chain inet secondlock input")
    assert machine.succeed("systemctl list-units --failed --plain --no-legend") == ""
    assert machine.wait_for("systemctl is-system-running", timeout=300) == "running\n"
    # Nor did any that a timer has started again since. An emulated boot may run out of time.
    faults = "Failed with result '(exit-code|signal|core-dump|resources)'"
    machine.fail(f'journalctl --quiet --output=cat --grep="{faults}" _PID=1')
