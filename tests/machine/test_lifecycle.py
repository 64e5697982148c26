"""The life of a stack's machines, as `pulumi` and the accidents of a computer make it.

One stack with two researchers goes through all of it. Each test finds what it needs of it, whatever
ran before; in the order of this file nothing is booted for that a second time.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cli.engine import Machine
from cli.local.status import reports
from cli.project import Stack
from infra.local import clock, qemu
from infra.local.agent import AwayError, GuestAgent
from infra.local.qmp import monitor
from tests.support.bundles import LIBRARY
from tests.support.project import (
    STACK,
    Project,
    exists,
    leaks,
    machine_processes,
    providers,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

# Two boots at once by software emulation, and a roster for each.
pytestmark = pytest.mark.timeout(2400, method="signal")
NOT_THERE = "of-an-earlier-day"


@dataclass(frozen=True)
class FirstUp:
    """What the first `up` of alice and bob said, and the machines that it made."""

    said: str
    machines: dict[str, Any]


@pytest.fixture(scope="module")
def empty(image: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The stack, in which nobody is until a test wants them."""
    if shutil.which("pulumi", path=f"{Path(sys.executable).parent}") is None:
        pytest.skip("no pulumi in the virtual environment: make setup")
    project = Project(tmp_path_factory.mktemp("lifecycle") / "project")
    yield project
    project.end()


@pytest.fixture(scope="module")
def first_up(empty: Project) -> FirstUp:
    """Alice and bob get their machines."""
    for name in ("alice", "bob"):
        empty.request(name)
    return FirstUp(empty.up(), empty.machines())


@pytest.fixture
def stack(empty: Project, first_up: FirstUp) -> Project:
    """The stack, in which alice's and bob's machines run."""
    _run(empty, "alice", "bob")
    return empty


def _run(stack: Project, *names: str) -> None:
    """Let each of them have a machine that runs, where they have none."""
    for name in names:
        if not (stack.requests / f"{name}.yaml").exists():
            stack.request(name)
    if not all(qemu.is_running(stack.directory(name)) for name in names):
        stack.up()


class SmallDisk:
    """A file system of few bytes, where a machine's data disks will be."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir(mode=0o700, parents=True)
        self._mount("mount", "-t", "tmpfs", "-o", "size=3M,mode=0700", "tmpfs")

    def grow(self, size: str) -> None:
        self._mount("mount", "-o", f"remount,size={size}")

    def fill(self) -> None:
        with suppress(OSError), (self.place / "filler").open("wb", buffering=0) as file:
            while file.write(bytes(2**16)):
                pass

    def empty(self) -> None:
        (self.place / "filler").unlink()

    def end(self) -> None:
        self._mount("umount")
        self.place.rmdir()

    def _mount(self, *command: str) -> None:
        subprocess.run([*command, str(self.place)], check=True, timeout=30)


@pytest.fixture
def small_disk(stack: Project) -> Iterator[SmallDisk]:
    """The small disk that erin's data will be on."""
    if os.geteuid() != 0:
        pytest.skip("a file system of one's own needs root")
    disk = SmallDisk(stack.home / "data" / "erin")
    yield disk
    qemu.kill(stack.directory("erin"))
    disk.end()


def _agent(stack: Project, machine: str) -> GuestAgent:
    return GuestAgent(stack.directory(machine))


def _boot_id(stack: Project, machine: str) -> bytes:
    return _agent(stack, machine).run(["/bin/cat", "/proc/sys/kernel/random/boot_id"])[1]


def _restarted(stack: Project, boots: dict[str, bytes]) -> list[str]:
    """Whose kernels started again, other than after a panic as emulated ones have (decision 14)."""
    return [
        name
        for name, boot in boots.items()
        if _boot_id(stack, name) != boot
        and b"Kernel panic" not in (stack.directory(name) / "console.log").read_bytes()
    ]


def _panic_while(stack: Project, machine: str, runs: str) -> None:
    """Let its kernel panic soon after a program has begun whose command line matches `runs`."""
    cut_off = (
        f"until pgrep -f '{runs}'; do sleep 0.02; done; sleep 0.3; echo c >/proc/sysrq-trigger"
    )
    _agent(stack, machine).run(["/usr/bin/systemd-run", "--quiet", "/bin/sh", "-c", cut_off])


def _bundle(stack: Project, machine: str) -> bytes:
    return _agent(stack, machine).run(["/bin/readlink", f"/{LIBRARY}/current"])[1]


def _pid(stack: Project, machine: str) -> int:
    (pid,) = qemu.processes(stack.directory(machine))
    return pid


def _runs(stack: Project, machine: str) -> bool:
    return bool(qemu.processes(stack.directory(machine)))


def _is_on_time(stack: Project, machine: str) -> bool:
    """Whether its clock is this computer's to a twentieth of a second, as far as can be seen."""
    offset = clock.offset(_agent(stack, machine))
    return abs(offset.seconds) < 0.05 + offset.bound


def _listening(port: int) -> set[str]:
    """The addresses (IPv4, in hex as /proc/net/tcp has them) that the port is open on."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    local = [line.split()[1] for line in lines if line.split()[3] == "0A"]
    return {
        address for address, _, end in (one.partition(":") for one in local) if int(end, 16) == port
    }


def test_two_machines_come_up_side_by_side_and_no_secret_is_left(
    stack: Project, first_up: FirstUp
) -> None:
    out = first_up.said
    assert re.search(r"alice creating .*booting", out)
    assert sorted(first_up.machines) == ["alice", "bob"]
    for machine in first_up.machines.values():
        assert machine["running"]
        assert machine["serial"] == 1
    for machine in stack.machines().values():
        assert _listening(machine["port"]) == {"0100007F"}
    names = [*first_up.machines]
    wait_until(lambda: all(_is_on_time(stack, name) for name in names), "their clocks are ours")
    needles = stack.secrets()
    assert len(needles) == 17
    assert not any(needle in out for needle in needles)
    assert leaks(stack.backend, needles) == []
    outside = [path for path in stack.home.iterdir() if path.name != "data"]
    assert [leak for folder in outside for leak in leaks(folder, needles)] == []
    for pid in machine_processes(stack):
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
        assert not any(needle.encode() in arguments for needle in needles)


def test_a_second_up_changes_nothing(stack: Project) -> None:
    state = stack.place / ".secondlock" / STACK
    state.mkdir(parents=True, exist_ok=True)
    files = [state / name for name in ("ssh_config", "known_hosts")]
    for file in files:  # as they were before there was anybody
        file.touch()
    out = stack.up("--expect-no-changes")
    assert f"./secondlock ssh-config --stack {STACK}" in out
    for file in files:
        file.unlink()


def test_a_new_key_reaches_a_running_machine(stack: Project) -> None:
    before, machines = _boot_id(stack, "alice"), stack.machines()
    keys = stack.request("alice")["ssh_keys"]
    new = stack.request("carol")["ssh_keys"]
    (stack.requests / "carol.yaml").unlink()
    stack.request("alice", ssh_keys=keys + new)
    stack.up()
    assert _boot_id(stack, "alice") == before
    after = stack.machines()
    assert after["alice"]["serial"] == machines["alice"]["serial"] + 1
    assert after["bob"] == machines["bob"]
    found = _agent(stack, "alice").run(["/bin/cat", "/etc/secondlock/authorized_keys/alice"])[1]
    assert new[0].split()[1] in found.decode()


def test_a_changed_bundle_reaches_running_machines_and_one_of_before_does_not(
    stack: Project,
) -> None:
    boots = {name: _boot_id(stack, name) for name in ("alice", "bob")}
    first, ours = _bundle(stack, "alice"), stack.later_day()
    # It understands less than the one before it.
    parser = ours / "guest/roster/document.py"
    line = "    envelope = _read(text)\n"
    less = 'need("MARK" not in str(text), "it is of an earlier day")'.replace("MARK", NOT_THERE)
    parser.write_text(parser.read_text().replace(line, f"{line}    {less}\n"))
    serials = {name: stack.machines()[name]["serial"] for name in boots}
    assert "alice: what runs there will be brought up" in stack.succeed("preview")
    stack.up()
    later = _bundle(stack, "alice")
    assert later == _bundle(stack, "bob") != first
    assert _restarted(stack, boots) == []
    # What the bundle before passed over of the roster counts now.
    after = {name: stack.machines()[name]["serial"] for name in boots}
    assert after == {name: serial + 1 for name, serial in serials.items()}

    # A colleague's clone, not pulled since.
    stack.today()
    code, out = stack.run("up", "--yes", "--skip-preview")
    assert code != 0
    assert "replaced here by a newer one" in out
    assert _bundle(stack, "alice") == later
    stack.succeed("config", "set", "secondlock:olderBundle", "true")
    # With a roster that the machine's bundle refuses: the one to come takes it.
    keys = stack.request("alice")["ssh_keys"]
    stack.request("alice", ssh_keys=[f"{keys[0]} {NOT_THERE}", *keys[1:]])
    stack.up()
    assert _bundle(stack, "alice") == _bundle(stack, "bob") == first
    found = _agent(stack, "alice").run(["/bin/cat", "/etc/secondlock/authorized_keys/alice"])[1]
    assert NOT_THERE in found.decode()
    stack.succeed("config", "rm", "secondlock:olderBundle")
    stack.up("--expect-no-changes")


def test_a_killed_machine_is_seen_and_started_again(stack: Project) -> None:
    before, bob = stack.machines()["alice"], _pid(stack, "bob")
    os.kill(_pid(stack, "alice"), signal.SIGKILL)
    wait_until(lambda: not _runs(stack, "alice"), "alice's machine died")
    stack.succeed("refresh", "--yes", "--skip-preview")
    assert stack.resource("dynamic/secondlock:Machine", "alice")["now"]["running"] is False
    stack.up()
    alice = stack.machines()["alice"]
    assert alice["running"] is True
    assert (alice["port"], alice["serial"]) == (before["port"], before["serial"])
    wait_until(lambda: _is_on_time(stack, "alice"), "its clock is ours")
    assert _pid(stack, "bob") == bob


def test_a_machine_that_qemu_halted_goes_on(stack: Project) -> None:
    pid = _pid(stack, "alice")
    monitor(stack.directory("alice"), "stop")
    assert not qemu.is_running(stack.directory("alice"))
    stack.up()
    assert qemu.is_running(stack.directory("alice"))
    assert _pid(stack, "alice") == pid


@pytest.mark.long
def test_a_roster_that_a_panic_cuts_off_is_applied_all_the_same(stack: Project) -> None:
    before, serial = _boot_id(stack, "alice"), stack.machines()["alice"]["serial"]
    _panic_while(stack, "alice", "[s]econdlock-sync apply")
    new = stack.request("carol")["ssh_keys"]
    (stack.requests / "carol.yaml").unlink()
    stack.request("alice", ssh_keys=new)
    stack.up()
    assert _boot_id(stack, "alice") != before
    assert stack.machines()["alice"]["serial"] == serial + 1
    found = _agent(stack, "alice").run(["/bin/cat", "/etc/secondlock/authorized_keys/alice"])[1]
    assert new[0].split()[1] in found.decode()


@pytest.mark.long
def test_an_upgrade_that_a_panic_cuts_off_ends_all_the_same(stack: Project) -> None:
    before, first = _boot_id(stack, "alice"), _bundle(stack, "alice")
    stack.later_day()
    _panic_while(stack, "alice", "[p]ython3 -I -c")
    stack.up()
    assert _boot_id(stack, "alice") != before
    later = _bundle(stack, "alice")
    assert later == _bundle(stack, "bob") != first
    stack.today()
    stack.succeed("config", "set", "secondlock:olderBundle", "true")
    stack.up()
    stack.succeed("config", "rm", "secondlock:olderBundle")
    assert _bundle(stack, "alice") == first


@pytest.mark.long
def test_a_machine_without_room_says_so_and_goes_on_once_there_is(
    stack: Project, small_disk: SmallDisk
) -> None:
    stack.request("erin")
    code, out = stack.run("up", "--yes", "--skip-preview")
    assert code != 0
    assert f"erin: too little room is left on the file system of {small_disk.place}" in out
    small_disk.grow("500M")
    stack.up()
    pid = _pid(stack, "erin")
    # Full once more, under a machine that is in use.
    small_disk.fill()
    write = ["/bin/dd", "if=/dev/zero", "of=/home/more", "bs=1M", "count=64", "conv=fsync"]
    with pytest.raises(AwayError):
        _agent(stack, "erin").run(write, alive=lambda: qemu.is_running(stack.directory("erin")))
    (report,) = reports(
        Stack(STACK, stack.place), {"erin": Machine.model_validate(stack.machines()["erin"])}
    )
    assert report.state == "down"
    assert report.problems[0].what.endswith(f"file system of {small_disk.place}")
    assert (report.problems[0].mend or "").startswith("make room there, then ")
    small_disk.empty()
    stack.up()
    assert _pid(stack, "erin") == pid
    stack.secondlock("revoke", "erin")
    stack.up()


def test_a_machine_whose_disk_is_gone_would_be_made_anew(stack: Project) -> None:
    qemu.kill(stack.directory("alice"))
    shutil.rmtree(stack.directory("alice"))
    stack.succeed("refresh", "--yes", "--skip-preview")
    assert stack.resources().count("alice") == 2  # the component, and what was sent there
    out = stack.succeed("preview")
    assert re.search(r"Machine +alice +replace", out), out


def test_who_is_revoked_loses_the_machine_and_the_other_keeps_theirs(
    empty: Project, first_up: FirstUp
) -> None:
    stack = empty
    # Whether alice has her machine still, or lost it, is no matter.
    _run(stack, *([] if "alice" in stack.resources() else ["alice"]), "bob")
    stack.secondlock("revoke", "alice")
    stack.up()
    assert not stack.directory("alice").exists()
    assert sorted(stack.machines()) == ["bob"]
    assert qemu.is_running(stack.directory("bob"))


def test_after_a_crash_of_up_destroy_leaves_nothing(empty: Project) -> None:
    stack = empty
    _run(stack, "bob")
    stack.request("dave")
    up = stack.start("up", "--yes", "--skip-preview")
    wait_until(lambda: up.poll() is not None or _runs(stack, "dave"), "dave's machine started")
    assert up.poll() is None, up.communicate()
    started = providers(up.pid)
    assert started
    stack.kill_up(up)
    # Nobody goes on making what no state records; the machine itself is detached.
    wait_until(lambda: not any(map(exists, started)), "the providers ended")
    assert _runs(stack, "dave")
    stack.succeed("cancel", "--yes", STACK)
    stack.succeed("destroy", "--yes", "--skip-preview")
    assert stack.resources() == []
    assert machine_processes(stack) == []
    assert not stack.home.exists()
    (stack.requests / "dave.yaml").unlink()
