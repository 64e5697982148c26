"""One virtual machine as a Pulumi resource.

`diff` looks at the real process, so that a plain `up` starts what has died. User-data is not
followed on a living machine: the plan says so and names the number to raise.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pulumi
from pulumi import dynamic

from infra.local import qemu
from infra.local.agent import AgentError, GuestAgent
from infra.local.data import LocalData
from infra.local.host import data_folder, machines_folder
from infra.local.provider import PROGRESS_SECONDS, LocalError, LocalProvider, Props, Voice, changed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from infra.local.host import LocalHost
    from infra.plan import MachinePlan

BOOT_SECONDS = 900.0  # some 40 s alone; software emulation on a busy computer takes its time
DOOR_SECONDS = 180.0
SYNC_SECONDS = 300.0
ADDRESS = "127.0.0.1"
_READY = "/etc/secondlock/machine.json"
_SYNC = ["/usr/local/sbin/secondlock-sync", "apply"]
_SERIAL = ["/usr/local/sbin/secondlock-sync", "serial"]
# What a machine is made of: a change of any makes another machine.
_MADE_OF = (
    "directory", "data_directory", "data", "image", "cpus", "memory_gib", "root_disk_gib",
    "rebuild",
)  # fmt: skip
# What is brought to it as it runs.
_FOLLOWED = ("roster", "host_key")
_URN_HEAD = "urn:pulumi:{}::{}::secondlock:local:Machine$pulumi-python:dynamic/secondlock:Machine::"


class _Machine:
    """A machine's inputs, and the way to tell how far it is."""

    def __init__(self, props: Props) -> None:
        self.props = props
        self.name = str(props["name"])
        self.directory = Path(props["directory"]).resolve()
        self.agent = GuestAgent(self.directory)
        self.voice = Voice(props["urn"])

    def is_running(self) -> bool:
        return qemu.is_running(self.directory)

    def is_ready(self) -> bool:
        """Whether cloud-init has written everything that a roster needs."""
        try:
            return self.agent.ping() and self.agent.exists(_READY)
        except AgentError:
            return False

    def fault(self, what: str, mend: str) -> LocalError:
        """What is wrong, what mends it, and the machine's own last words."""
        console = self.directory / "console.log"
        words = qemu.tail(console, 12)
        said = f"\nThe last lines of {console}:\n{words}" if words else ""
        return LocalError(f"{self.name}: {what} ({mend}){said}")


class _MachineProvider(LocalProvider):
    def create(self, props: Props) -> dynamic.CreateResult:
        machine = _Machine(props)
        with _faults(machine):
            if not _is_orphan(machine):
                _make(machine)
            port = _start(machine, port=0)
            with machine.voice.busy("applying its roster"):
                serial = _deliver(machine, serial=0)
            _wait_for_door(machine, port)
        outs = {**props, "made_with": _digest(props["user_data"]), "serial": serial, "port": port}
        return dynamic.CreateResult(machine.name, {**outs, "running": True})

    def diff(self, _id: str, olds: Props, news: Props) -> dynamic.DiffResult:
        replaces = changed(olds, news, _MADE_OF)
        running = qemu.is_running(Path(olds["directory"]))
        if not replaces and olds["made_with"] != _digest(news["user_data"]):
            Voice(news["urn"]).info(
                f"{news['name']} is behind: it keeps the set-up that it was made with until "
                f"`rebuild:` in its request is raised from {news['rebuild']:.0f}"
            )
        return dynamic.DiffResult(
            changes=bool(replaces or not running or changed(olds, news, _FOLLOWED)),
            replaces=replaces,
            delete_before_replace=True,
        )

    def update(self, _id: str, olds: Props, news: Props) -> dynamic.UpdateResult:
        machine = _Machine(news)
        was_running, port, serial = machine.is_running(), int(olds["port"]), int(olds["serial"])
        with _faults(machine):
            port = _start(machine, port)
            if changed(olds, news, _FOLLOWED):
                with machine.voice.busy("applying its roster"):
                    serial = _deliver(machine, serial)
            if not was_running or changed(olds, news, ("host_key",)):
                _wait_for_door(machine, port)
        outs = {**news, "made_with": olds["made_with"], "serial": serial, "port": port}
        return dynamic.UpdateResult({**outs, "running": True})

    def read(self, id_: str, props: Props) -> dynamic.ReadResult:
        directory = Path(props["directory"])
        if not (directory / "root.qcow2").exists():
            return dynamic.ReadResult("", {})
        return dynamic.ReadResult(id_, {**props, "running": qemu.is_running(directory)})

    def delete(self, _id: str, props: Props) -> None:
        machine = _Machine(props)
        with machine.voice.busy("shutting down"):
            qemu.stop(machine.directory)
        shutil.rmtree(machine.directory, ignore_errors=True)
        machine.voice.status("shut down and removed")


@contextmanager
def _faults(machine: _Machine) -> Iterator[None]:
    """Faults of the parts, as faults of this machine."""
    try:
        yield
    except (qemu.MachineError, AgentError, OSError) as error:
        raise machine.fault(str(error), "then: pulumi up") from None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _fingerprint(props: Props) -> str:
    return _digest(json.dumps([props[name] for name in (*_MADE_OF, "user_data")]))


def _is_orphan(machine: _Machine) -> bool:
    """Whether a machine just like this one runs already, left by an `up` that was killed.

    One that does not run may have been cut off in the middle of its first boot: it is not kept.
    """
    made = machine.directory / "made"
    if not made.exists() or made.read_text() != _fingerprint(machine.props):
        return False
    return machine.is_running()


def _make(machine: _Machine) -> None:
    """Disks and seed of a new machine, in place of whatever was left there."""
    props, directory = machine.props, machine.directory
    machine.voice.status("making its disk")
    qemu.kill(directory)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700, parents=True)
    qemu.create_root_disk(directory, Path(props["disk"]), int(props["root_disk_gib"]))
    user_data = base64.b64decode(props["user_data"])
    qemu.create_seed(directory, user_data, f"{props['stack']}-{machine.name}", machine.name)
    (directory / "made").write_text(_fingerprint(props))


def _start(machine: _Machine, port: int) -> int:
    """Start the machine if it does not run, wait until a roster can be brought; its SSH port."""
    props = machine.props
    was_running = machine.is_running()
    if not was_running:
        machine.voice.status("starting")
    spec = qemu.start(
        qemu.MachineSpec(
            name=machine.name,
            directory=machine.directory,
            data_directory=Path(props["data_directory"]).resolve(),
            kernel=Path(props["kernel"]),
            initrd=Path(props["initrd"]),
            cpus=int(props["cpus"]),
            memory_mib=int(props["memory_gib"]) * 1024,
            ssh_port=port,
        )
    )
    if not _wait(machine, "booting", BOOT_SECONDS, machine.is_ready):
        pids = " ".join(map(str, qemu.processes(machine.directory)))
        if was_running:
            raise machine.fault("its guest agent does not answer", f"kill {pids}; pulumi up")
        qemu.kill(machine.directory)
        raise machine.fault(f"it did not boot within {BOOT_SECONDS:.0f} s", "try again: pulumi up")
    return spec.ssh_port


def _deliver(machine: _Machine, serial: int) -> int:
    """Bring the roster to the machine; the serial under which it was applied.

    Serials only grow: past the last one of this resource, and past the last one that the state
    disk has seen. That one is kept beside it; the machine is asked only where it was lost.
    """
    data = Path(machine.props["data_directory"])
    kept = data / "serial"
    known = int(kept.read_text()) if kept.exists() else _reported_serial(machine)
    serial = max(serial, known) + 1
    kept.write_text(f"{serial}\n")
    roster = json.loads(machine.props["roster"])
    message = {"serial": serial, "new_volumes": qemu.data_is_new(data), "roster": roster}
    code, out, _ = machine.agent.run(_SYNC, json.dumps(message).encode(), timeout=SYNC_SECONDS)
    try:
        answer = json.loads(out)
    except ValueError:
        answer = {"error": f"secondlock-sync ended with code {code}"}
    if not answer.get("applied"):
        raise qemu.MachineError(f"its roster was not applied: {answer.get('error')}")
    return serial


def _reported_serial(machine: _Machine) -> int:
    code, out, _ = machine.agent.run(_SERIAL)
    if code != 0 or not out.strip().isdigit():
        raise qemu.MachineError(f"secondlock-sync in the guest ended with code {code}")
    return int(out)


def _wait_for_door(machine: _Machine, port: int) -> None:
    """Wait until sshd answers on the port, and make sure that it is this machine's."""
    served: list[str] = []

    def answers() -> bool:
        served[:] = _host_key(port)
        return bool(served)

    if not _wait(machine, "waiting for sshd", DOOR_SECONDS, answers):
        what = f"no SSH server answers on {ADDRESS}:{port} after {DOOR_SECONDS:.0f} s"
        raise machine.fault(what, "try again: pulumi up")
    if served != machine.props["host_key"].split()[:2]:
        raise machine.fault(
            f"the SSH server on {ADDRESS}:{port} has another host key than the one derived for it",
            "do not log in; raise rebuild: in its request, then: pulumi up",
        )
    machine.voice.status(f"SSH on {ADDRESS}:{port}")


def _host_key(port: int) -> list[str]:
    """The type and the key that the server on `port` shows; empty when none answers.

    Each answer counts as one failure of fail2ban's, so it is asked once.
    """
    scan = ["ssh-keyscan", "-T", "10", "-t", "ed25519", "-p", str(port), ADDRESS]
    done = subprocess.run(
        scan, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    lines = [line.split() for line in done.stdout.splitlines() if not line.startswith("#")]
    return lines[0][1:3] if lines else []


def _wait(machine: _Machine, what: str, seconds: float, ready: Callable[[], bool]) -> bool:
    """Whether `ready` came true in time; shows the time and the console's last line meanwhile."""
    started = time.monotonic()
    shown = 0.0
    while not ready():
        waited = time.monotonic() - started
        if waited > seconds:
            return False
        if not machine.is_running():
            raise qemu.MachineError(f"it stopped while {what}")
        if waited >= shown:
            last = qemu.tail(machine.directory / "console.log", 1)[:60]
            machine.voice.status(f"{what} ({waited:.0f} s) {last}")
            shown = waited + PROGRESS_SECONDS
        time.sleep(1.0)
    return True


@dataclass(frozen=True)
class Image:
    """The golden image's files. Overlays are bound to one build: `identity` says which."""

    identity: str
    disk: Path
    kernel: Path
    initrd: Path


class _Process(dynamic.Resource, module="secondlock", name="Machine"):
    """The machine itself: its process and the folder it runs in."""

    port: pulumi.Output[int]
    running: pulumi.Output[bool]
    serial: pulumi.Output[int]


class LocalMachine(pulumi.ComponentResource):
    """A machine on this computer, and its data disks.

    Attributes: `address`, `port` and `host_key` (OpenSSH's public form) for SSH; `running`;
    `serial`, that of the roster it applied; `directory`, the absolute path of its folder.
    """

    def __init__(
        self,
        plan: MachinePlan,
        host: LocalHost,
        image: Image,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("secondlock:local:Machine", plan.name, None, opts)
        directory = machines_folder(host.path) / plan.name
        data = LocalData(
            plan.name,
            directory=data_folder(host.path) / plan.name,
            machine_directory=directory,
            home_disk_gib=plan.home_disk_gib,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[host]),
        )
        process = _Process(
            _MachineProvider(),
            plan.name,
            {
                "stack": pulumi.get_stack(),
                "name": plan.name,
                "urn": f"{_URN_HEAD.format(pulumi.get_stack(), pulumi.get_project())}{plan.name}",
                "directory": str(directory),
                "data_directory": str(data_folder(host.path) / plan.name),
                "data": data.id,
                "image": image.identity,
                "disk": str(image.disk),
                "kernel": str(image.kernel),
                "initrd": str(image.initrd),
                "cpus": plan.cpus,
                "memory_gib": plan.memory_gib,
                "root_disk_gib": plan.root_disk_gib,
                "rebuild": plan.rebuild,
                "user_data": base64.b64encode(plan.user_data).decode(),
                "host_key": plan.host_key,
                "roster": pulumi.Output.secret(plan.roster),
                "made_with": None,
                "serial": None,
                "port": None,
                "running": None,
            },
            pulumi.ResourceOptions(
                parent=self,
                depends_on=[host],
                additional_secret_outputs=["roster"],
                delete_before_replace=True,
            ),
        )
        self.address = ADDRESS
        self.host_key = plan.host_key
        self.directory = str(directory.resolve())
        self.port, self.running, self.serial = process.port, process.running, process.serial
        self.register_outputs({})
