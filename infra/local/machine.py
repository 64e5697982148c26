"""One virtual machine as a Pulumi resource.

`diff` looks at the real process, so that a plain `up` starts what has died. Roster and bundle are
brought to a living machine. What its user-data says is not followed: the plan says so and names the
number to raise.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pulumi
from pulumi import dynamic

from image.store import image_of, is_there
from infra.files import write_whole
from infra.local import accel, clock, qemu
from infra.local.agent import AgentError, AwayError, GuestAgent
from infra.local.data import LocalData
from infra.local.host import Place
from infra.local.qmp import ChannelError
from infra.local.upgrade import LackingError, upgrade
from infra.model.problems import FaultError, Problem, problem_of
from infra.model.reading import from_json
from infra.provider import PROGRESS_SECONDS, Props, ProviderError, QuietProvider, Voice, changed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from infra.local.host import LocalHost
    from infra.plan import MachinePlan

_T = TypeVar("_T")
BOOT_SECONDS = 900.0  # some 40 s alone; software emulation on a busy computer takes its time
DOOR_SECONDS = 180.0
SYNC_SECONDS = 300.0
ADDRESS = "127.0.0.1"
_READY = "/etc/secondlock/machine.json"
_SYNC = ["/usr/local/sbin/secondlock-sync", "apply"]
_SERIAL = ["/usr/local/sbin/secondlock-sync", "serial"]
_SERIAL_DIGITS = 20
# A change of any makes another machine, but a newer image alone does not. `made_of` (image, sizes,
# rebuild) is JSON, whose parts Pulumi shows: a thousand machines' parts cost the engine 30 MiB as
# properties, nested ones 60.
_REPLACING = ("directory", "data", "made_of")
# What is brought to it as it runs.
_FOLLOWED = ("roster", "host_key")
_BACK = " back"  # behind a bundle's SHA-256: it may be one of before
_TYPE = "secondlock:local:Machine$pulumi-python:dynamic/secondlock:Machine"


def _voice(place: Place) -> Voice:
    return Voice(f"urn:pulumi:{place.stack}::{pulumi.get_project()}::{_TYPE}::{place.name}")


class _Machine:
    """A machine's inputs, and the way to tell how far it is."""

    def __init__(self, props: Props) -> None:
        self.props = props
        self.place = Place.of(props["directory"])
        self.name = self.place.name
        self.directory = self.place.machine.resolve()
        self.data = self.place.data.resolve()
        self.audit = self.place.audit.resolve()
        self.agent = GuestAgent(self.directory)
        self.voice = _voice(self.place)

    @property
    def made_of(self) -> dict[str, Any]:
        made_of: dict[str, Any] = json.loads(self.props["made_of"])
        return made_of

    @property
    def has_web(self) -> bool:
        """Whether anybody comes by HTTPS."""
        return json.loads(self.props["roster"]).get("web") is not None

    def is_running(self) -> bool:
        return qemu.is_running(self.directory)

    def is_ready(self) -> bool:
        """Whether cloud-init has written everything that a roster needs."""
        try:
            return self.agent.ping() and self.agent.exists(_READY)
        except AgentError:
            return False

    def fault(self, what: str, mend: str) -> ProviderError:
        """What is wrong with it, what mends it, and its own last words."""
        console = self.directory / "console.log"
        words = qemu.tail(console, 12)
        said = f"The last lines of {console}:\n{words}" if words else ""
        return ProviderError(Problem(None, None, f"{self.name}: {what}", mend), said=said)


class _MachineProvider(QuietProvider):
    def create(self, props: Props) -> dynamic.CreateResult:
        machine = _Machine(props)
        with _faults(machine):
            if not _is_orphan(machine):
                _make(machine)
            spec = _start(machine, port=0)
            serial = _apply(machine, serial=0)
            _wait_for_door(machine, spec.ssh_port)
        return dynamic.CreateResult(machine.name, {**props, "now": _now(spec, serial)})

    def diff(self, _id: str, olds: Props, news: Props) -> dynamic.DiffResult:
        replaces = changed(olds, {**news, "made_of": _kept(olds, news)}, _REPLACING)
        directory = Path(olds["directory"])
        if olds.get("lost") and not qemu.has_disk(directory):
            replaces = replaces or ["directory"]
        qemu.shorten_console(directory)
        running = qemu.is_running(directory)
        older = [
            what
            for what, differs in (
                ("image", olds["made_of"] != news["made_of"]),
                ("set-up", _made_with(olds) != _made_with(news)),
            )
            if differs
        ]
        upgraded, lacks = _is_other_bundle(olds, news), _lacks(olds, news)
        if (upgraded or older or lacks) and not replaces:
            _tell_coming(_Machine(news), upgraded, older, lacks)
        return dynamic.DiffResult(
            changes=bool(replaces or upgraded or not running or changed(olds, news, _FOLLOWED)),
            replaces=replaces,
            delete_before_replace=True,
        )

    def update(self, _id: str, olds: Props, news: Props) -> dynamic.UpdateResult:
        # What it was made of and with stays what it was: `diff` tells by it that it is behind.
        news = {**news, "made_of": _kept(olds, news), "set_up": olds["set_up"]}
        if _lacks(olds, news):
            news = _without_upgrade(olds, news, olds["lacks"])
        machine = _Machine(news)
        was_running = machine.is_running()
        port, serial = int(olds["now"]["port"]), int(olds["now"]["serial"])
        web_port = olds["now"].get("web_port")
        with _faults(machine):
            spec = _start(machine, port, int(web_port or 0))
            port = spec.ssh_port
            other, refused = _is_other_bundle(olds, news), None
            machine.place.note_sent(_enrollments(olds))
            # First: who has left is to be out, whatever becomes of the bundle.
            if changed(olds, news, _FOLLOWED) or spec.web_port != web_port:
                try:
                    serial = _apply(machine, serial)
                except qemu.MachineError as fault:
                    if not other:
                        raise
                    refused = fault  # it may be what the other bundle understands
            kept = _upgrade(machine) if other else None
            if other and kept is None:
                # What the bundle before passed over counts from now on.
                serial = _apply(machine, serial)
            elif refused:
                raise kept or refused
            if not was_running or changed(olds, news, ("host_key",)):
                _wait_for_door(machine, port)
            _tell_moved(machine, int(olds["now"]["port"]), port)
            if isinstance(kept, LackingError):
                machine.voice.info(f"{machine.name}: {kept}")
                news = _without_upgrade(olds, news, f"{_sha256(news)} {kept}")
            elif kept:
                raise kept
        return dynamic.UpdateResult({**news, "now": _now(spec, serial)})

    def read(self, id_: str, props: Props) -> dynamic.ReadResult:
        directory = Path(props["directory"])
        now = {**props["now"], "running": qemu.is_running(directory)}
        found = {**{name: each for name, each in props.items() if name != "lost"}, "now": now}
        if not qemu.has_disk(directory):
            found["lost"] = True  # it stays in the state, which knows what was sent there
        return dynamic.ReadResult(id_, found)

    def delete(self, _id: str, props: Props) -> None:
        machine = _Machine(props)
        with machine.voice.busy("shutting down"):
            qemu.stop(machine.directory)
        # Its data may have been lost, and is new: this is the last to know what was used with it.
        if machine.data.is_dir():
            with _faults(machine):
                machine.place.note_sent(_enrollments(props))
        shutil.rmtree(machine.directory, ignore_errors=True)
        machine.voice.status("shut down and removed")


def _tell_coming(machine: _Machine, upgraded: bool, older: list[str], lacks: str | None) -> None:
    """What a preview says of a machine that lives on."""
    if lacks:
        machine.voice.info(f"{machine.name}: {lacks}")
    if upgraded:
        machine.voice.info(
            f"{machine.name}: what runs there will be brought up to this Secondlock; sessions "
            "and workspaces go on"
        )
    if older:
        machine.voice.info(
            f"{machine.name} is behind: it keeps the {' and '.join(older)} that it was made "
            f"with until `rebuild:` in its request is raised from {machine.made_of['rebuild']}"
        )


@contextmanager
def _faults(machine: _Machine) -> Iterator[None]:
    """Faults of the parts, as faults of this machine."""
    try:
        yield
    except (FaultError, OSError) as error:
        if full := qemu.full_folder(machine.directory):
            what = f"too little room is left on the file system of {full}: it stands still"
            raise machine.fault(what, "make room there, then: pulumi up") from None
        found = problem_of(error)
        raise machine.fault(found.place + found.what, _then_up(found.mend)) from None


def _then_up(mend: str | None) -> str:
    return f"{mend}, then: pulumi up" if mend else "to go on: pulumi up"


def _now(spec: qemu.MachineSpec, serial: int) -> dict[str, Any]:
    """What only a made machine knows: one output, as each costs a preview time."""
    web = {"web_port": spec.web_port} if spec.web_port is not None else {}
    return {"port": spec.ssh_port, "serial": serial, "running": True, **web}


def _fingerprint(props: Props) -> str:
    parts = [props[name] for name in (*_REPLACING, "set_up")]
    return _digest(json.dumps(parts).encode())


def _kept(olds: Props, news: Props) -> str:
    """What a machine is made of that keeps its image: a newer one is for the next machine.

    An image that is gone cannot be kept: the root disk rests on it.
    """
    old, new = json.loads(olds["made_of"]), json.loads(news["made_of"])
    kept = {**new, "image": old["image"]}
    return str(olds["made_of"] if kept == old and is_there(old["image"]) else news["made_of"])


def _made_with(props: Props) -> Any:
    """What its user-data says of it; the bundle is followed, and its stub is for the first boot."""
    return json.loads(props["set_up"]).get("values")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _user_data(props: Props) -> bytes:
    """What cloud-init reads, rendered as the plan did. Raises MachineError where it is another.

    No property of the machine: Pulumi looks for secrets in every character of every property, and
    these 20 KB took a seventh of a preview's time.
    """
    from cloudinit.boot import MachineValues, render_user_data  # previews do without

    values = MachineValues(**json.loads(props["set_up"])["values"])
    user_data = render_user_data(values)
    if _digest(user_data) != json.loads(props["set_up"])["digest"]:
        raise qemu.MachineError("Secondlock's files changed after the plan was made")
    return user_data


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
    from cloudinit.bundle import bundle

    made_of, directory = machine.made_of, machine.directory
    machine.voice.status("making its disk")
    qemu.kill(directory)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700, parents=True)
    disk = image_of(made_of["image"]).disk
    qemu.create_root_disk(directory, disk, made_of["root_disk_gib"])
    instance = f"{machine.place.stack}-{machine.name}"
    seed = {"bundle": bundle("local").data}
    qemu.create_seed(directory, _user_data(machine.props), instance, machine.name, more=seed)
    (directory / "made").write_text(_fingerprint(machine.props))


def _start(machine: _Machine, port: int, web_port: int = 0) -> qemu.MachineSpec:
    """Start the machine if it does not run, wait until a roster can be brought; as it runs."""
    made_of = machine.made_of
    image = image_of(made_of["image"])
    was_running = machine.is_running()
    if not was_running:
        machine.voice.status(_starting())
    spec = qemu.start(
        qemu.MachineSpec(
            name=machine.name,
            directory=machine.directory,
            data_directory=machine.data,
            kernel=image.kernel,
            initrd=image.initrd,
            cpus=made_of["cpus"],
            memory_mib=made_of["memory_gib"] * 1024,
            ssh_port=port,
            audit=machine.audit,
            web_port=web_port if machine.has_web else None,
        )
    )
    # It boots meanwhile.
    behind = None if was_running else _rtc_behind(machine)
    if not _wait(machine, "booting", BOOT_SECONDS, machine.is_ready):
        pids = " ".join(map(str, qemu.processes(machine.directory)))
        if was_running:
            raise machine.fault("its guest agent does not answer", f"kill {pids}; pulumi up")
        qemu.kill(machine.directory)
        raise machine.fault(f"it did not boot within {BOOT_SECONDS:.0f} s", "try again: pulumi up")
    if behind is not None:
        clock.tell(machine.agent, behind)
    return qemu.lead_web(machine.directory, web_port) if machine.has_web else spec


def _rtc_behind(machine: _Machine) -> float | None:
    """What its real-time clock lacks; None where QEMU does not tell: codes bear a second."""
    with suppress(ChannelError):
        return clock.rtc_behind(machine.directory)
    return None


def _starting() -> str:
    if accel.takes_a_try():
        return f"starting; KVM is tried first, once: up to {accel.PROBE_SECONDS:.0f} s"
    return "starting"


def _enrollments(props: Props) -> set[str]:
    """The ids of all that the machine's last roster carried."""
    from infra.factors import ids  # previews do without

    people: dict[str, dict[str, Any]] = json.loads(props["roster"]).get("researchers", {})
    return set().union(*map(ids, people.values()))


def _apply(machine: _Machine, serial: int) -> int:
    with machine.voice.busy("applying its roster"):
        return _deliver(machine, serial)


def _deliver(machine: _Machine, serial: int) -> int:
    """Bring the roster to the machine; the serial under which it was applied.

    With it goes which enrollments were brought there before: should its state disk know nothing of
    them, the disk was lost and with it which emergency codes were used.

    Serials only grow: past the last one of this resource, and past the last one that the state
    disk has seen. That one is kept beside it; the machine is asked only where it was lost.
    """
    new_volumes = qemu.data_is_new(machine.data)
    kept = machine.data / "serial"
    before = _number(kept.read_bytes()) if kept.exists() else None
    if before is None and not new_volumes:
        before = _reported_serial(machine)
    serial = max(serial, before or 0) + 1
    write_whole(kept, f"{serial}\n".encode())
    message = {
        "serial": serial,
        "new_volumes": new_volumes,
        "known": sorted(machine.place.sent()),
        "roster": json.loads(machine.props["roster"]),
    }
    if machine.has_web:
        message["web_port"] = qemu.load_spec(machine.directory).web_port
    code, out = _sync(machine, json.dumps(message).encode())
    try:
        answer = dict(from_json(out))
    except (ValueError, TypeError):
        answer = {"error": f"secondlock-sync ended with code {code}"}
    if answer.get("applied") is not True:
        raise qemu.MachineError(f"its roster was not applied: {answer.get('error')}")
    qemu.mark_data_in_use(machine.data)
    machine.place.note_sent(_enrollments(machine.props))
    return serial


def _sha256(props: Props) -> str:
    """Of the bundle that a machine shall run; empty in a state from before there were upgrades."""
    return str(props.get("bundle", "")).removesuffix(_BACK)


def _is_other_bundle(olds: Props, news: Props) -> bool:
    """Whether the machine is to run another bundle, and may."""
    return _sha256(olds) != _sha256(news) and _lacks(olds, news) is None


def _lacks(olds: Props, news: Props) -> str | None:
    """Why this bundle cannot run on this machine, as the machine has said before."""
    digest, _, why = str(olds.get("lacks", "")).partition(" ")
    return why if why and digest == _sha256(news) else None


def _without_upgrade(olds: Props, news: Props, lacks: str) -> Props:
    """`news` of a machine that keeps its bundle for good; what it `lacks` is for the next plan."""
    return {**news, "bundle": olds.get("bundle", ""), "lacks": lacks}


def _upgrade(machine: _Machine) -> FaultError | None:
    """Bring the bundle to the machine; why that did not happen, if so."""
    back = machine.props["bundle"].endswith(_BACK)

    def once() -> None:
        with machine.voice.busy("upgrading"):
            upgrade(machine.agent, _sha256(machine.props), back, machine.is_running)

    try:
        _in_spite_of_a_panic(machine, once)
    except (qemu.MachineError, AgentError) as error:
        return error
    return None


def _sync(machine: _Machine, message: bytes) -> tuple[int, bytes]:
    """Exit code and output of secondlock-sync."""
    return _in_spite_of_a_panic(
        machine,
        lambda: machine.agent.run(_SYNC, message, SYNC_SECONDS, machine.is_running)[:2],
    )


def _in_spite_of_a_panic(machine: _Machine, once: Callable[[], _T]) -> _T:
    """What `once` gives; asked again where the machine started again meanwhile (decision 14)."""
    try:
        return once()
    except AwayError:
        _wait(machine, "booting again", BOOT_SECONDS, machine.is_ready)
        return once()


def _reported_serial(machine: _Machine) -> int:
    code, out, _ = machine.agent.run(_SERIAL)
    serial = _number(out) if code == 0 else None
    if serial is None:
        raise qemu.MachineError(f"secondlock-sync in the guest ended with code {code}")
    return serial


def _number(text: bytes) -> int | None:
    """What a file or the guest says is a serial; None where that is damaged."""
    digits = text.strip()
    return int(digits) if digits.isdigit() and len(digits) < _SERIAL_DIGITS else None


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


def _tell_moved(machine: _Machine, before: int, port: int) -> None:
    if port != before:
        stack = machine.place.stack
        machine.voice.info(
            f"{machine.name} is on {ADDRESS}:{port} now, no longer on port {before}, which another "
            f"program has; for clients: ./secondlock ssh-config --stack {stack}"
        )


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
        time.sleep(0.2)
    return True


def _made_of(plan: MachinePlan, image: str) -> str:
    parts = {
        "image": image,
        "cpus": plan.size.cpus,
        "memory_gib": plan.size.memory_gib,
        "root_disk_gib": plan.size.root_disk_gib,
        "rebuild": plan.rebuild,
    }
    return json.dumps(parts)


def _set_up(plan: MachinePlan) -> str:
    from cloudinit.boot import render_user_data

    digest = _digest(render_user_data(plan.values))
    return json.dumps({"values": asdict(plan.values), "digest": digest})


def _bundle(back: bool) -> str:
    """What is ours on it, by its SHA-256, and whether it may be one of before: one property."""
    from cloudinit.bundle import bundle

    return bundle("local").digest + (_BACK if back else "")


class _Process(dynamic.Resource, module="secondlock", name="Machine"):
    """The machine itself: its process and the folder it runs in."""

    if TYPE_CHECKING:  # alone: Pulumi would read an annotation again for every machine
        now: pulumi.Output[dict[str, Any]]


class LocalMachine(pulumi.ComponentResource):
    """A machine on this computer, and its data disks.

    `known`, what the plan says of it: `address`, `host_key` (OpenSSH's public form), `directory`
    (absolute). `now`, what only the machine says: `port`, `running`, `serial` (of the roster that
    it applied).
    """

    def __init__(
        self,
        plan: MachinePlan,
        host: LocalHost,
        image: str,
        back: bool,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("secondlock:local:Machine", plan.name, None, opts)
        place = Place(host.path, plan.name)
        inside = pulumi.ResourceOptions(parent=self, depends_on=[host])
        data = LocalData(place, plan.size.home_disk_gib, inside)
        process = _Process(
            _MachineProvider(),
            plan.name,
            {
                "directory": str(place.machine),
                "data": data.id,
                "made_of": _made_of(plan, image),
                "set_up": _set_up(plan),
                "bundle": _bundle(back),
                "host_key": plan.host_key,
                "roster": pulumi.Output.secret(plan.roster),
                "now": None,
            },
            pulumi.ResourceOptions(
                parent=self,
                depends_on=[host],
                additional_secret_outputs=["roster"],
                delete_before_replace=True,
            ),
        )
        self.known = {
            "address": ADDRESS,
            "host_key": plan.host_key,
            "directory": str(place.machine.resolve()),
        }
        self.now = process.now
        # Without register_outputs: there are none, and the call takes a tenth of a preview's time.
