"""A QEMU virtual machine as a folder: start, stop, and look at it, without Pulumi.

The folder is the machine's identity. QEMU runs detached with that folder as its working
directory, so a process is known by /proc/PID/cwd and its command line, never by a name alone,
and its sockets have short relative names. `machine.json` in it is enough to start it again.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.files import write_whole
from infra.local.accel import QEMU, Acceleration, acceleration
from infra.local.agent import AgentError, GuestAgent
from infra.local.qmp import ChannelError, monitor
from infra.model.problems import FaultError
from infra.model.reading import from_json, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

STATE_DISK_MIB = 64
_LOG_BYTES = 512 * 1024
HTTPS = 8443
"""What the machine's HTTPS door listens on (cloudinit/guest/gateway/door.py)."""

_FIRST_PORT, _PORTS = 20000, 10000  # below Linux's default range for outgoing connections
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# Beside the disks: what it marks outlives the machine, as they do.
_IN_USE = "in-use"
_started: list[subprocess.Popen[bytes]] = []  # detached on purpose: held, so that Python is quiet


class MachineError(FaultError):
    """What went wrong with a machine."""


@dataclass(frozen=True)
class MachineSpec:
    """Everything needed to start a machine whose disks exist. Sizes in MiB."""

    name: str
    directory: Path
    data_directory: Path
    kernel: Path
    initrd: Path
    cpus: int = 2
    memory_mib: int = 4096
    ssh_port: int = 0
    web_port: int | None = None  # of the host's, to the machine's HTTPS; 0: any; None: none leads
    netdev: str | None = None  # in place of user-mode networking; must have id=net0
    launcher: tuple[str, ...] = ()  # e.g. ("ip", "netns", "exec", "lab")
    audit: Path | None = (
        None  # the file that its record is added to (cloudinit/guest/audit/port.py)
    )

    @property
    def disk(self) -> Path:
        """The machine's own root disk: it exists as long as the machine does."""
        return self.directory / "root.qcow2"


def create_root_disk(directory: Path, base: Path, size_gib: int) -> None:
    """Make `root.qcow2`, an overlay of `size_gib` GiB on the raw image `base`."""
    disk = directory / "root.qcow2"
    _tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(base.resolve()),
          str(disk), f"{size_gib}G")  # fmt: skip
    disk.chmod(0o600)


def has_disk(directory: Path) -> bool:
    """Whether the machine in `directory` still has its root disk."""
    return (directory / "root.qcow2").exists()


def create_seed(
    directory: Path,
    user_data: bytes,
    instance_id: str,
    hostname: str,
    network_config: Mapping[str, Any] | None = None,
    more: Mapping[str, bytes] | None = None,
) -> None:
    """Make `seed.iso`, cloud-init's NoCloud source (file system label `cidata`).

    Without `network_config` (cloud-init's "Networking config version 2") the machine uses DHCP.
    `more` files go beside what cloud-init reads.
    """
    maker = shutil.which("genisoimage") or shutil.which("xorrisofs")
    if maker is None:
        raise MachineError("genisoimage is not installed", "make setup")
    meta = {"instance-id": instance_id, "local-hostname": hostname}
    contents = {"user-data": user_data, "meta-data": json.dumps(meta).encode()}
    if network_config is not None:
        contents["network-config"] = json.dumps(network_config).encode()
    contents.update(more or {})
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        files = [Path(folder) / name for name in contents]
        for file in files:
            file.write_bytes(contents[file.name])
        _tool(maker, "-quiet", "-output", str(directory / "seed.iso"), "-volid", "cidata",
              "-joliet", "-rock", *map(str, files))  # fmt: skip


def create_data(directory: Path, home_gib: int) -> None:
    """Make the sparse `state.img` and `home.img`, or grow `home.img`; what is there stays."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _grow(directory / "state.img", STATE_DISK_MIB * 2**20)
    _grow(directory / "home.img", home_gib * 2**30)


def grow_home(machine: Path, data: Path, home_gib: int) -> None:
    """Grow `home.img`; a machine in the folder `machine` that runs sees it and uses it at once."""
    if not is_running(machine):
        create_data(data, home_gib)
        return
    try:
        monitor(machine, "block_resize", device="home", size=home_gib * 2**30)
        # Before its first roster the machine has no file system there yet: no fault.
        GuestAgent(machine).run(["/usr/sbin/resize2fs", "/dev/disk/by-id/virtio-sl-home"])
    except (ChannelError, AgentError) as error:
        raise MachineError(f"its home disk could not be grown: {error}") from None


def data_is_new(directory: Path) -> bool:
    """Whether a first roster has still to be applied: only then may the guest make file systems.

    A first time that was interrupted left a disk without its label: the guest sets it last.
    """
    if (directory / _IN_USE).exists():
        return False
    labels = {"state.img": b"sl-state", "home.img": b"sl-home"}
    return any(_label(directory / name) != label for name, label in labels.items())


def mark_data_in_use(directory: Path) -> None:
    """Note that a first roster was applied: whatever becomes of the disks, they are not new."""
    (directory / _IN_USE).touch()


def _label(disk: Path) -> bytes:
    """The volume name in ext4's superblock (16 bytes at 0x78; the superblock is at 1024)."""
    with disk.open("rb") as file:
        file.seek(1024 + 0x78)
        return file.read(16).rstrip(b"\0")


def lead_web(directory: Path, port: int) -> MachineSpec:
    """Have a port of the host's lead to the HTTPS door of a machine that runs; the spec with it.

    Where the wanted one is taken, or 0, another. Raises MachineError.
    """
    spec = load_spec(directory)
    if spec.web_port is not None or spec.netdev is not None:
        return spec
    if not port or port_taken(port):
        port = free_port(f"{directory} web")
    command: dict[str, Any] = {"command-line": f"hostfwd_add net0 {_forward(port, HTTPS)}"}
    try:
        monitor(directory, "human-monitor-command", **command)
    except ChannelError as error:
        raise MachineError(f"no port leads to its HTTPS door: {error}") from None
    spec = replace(spec, web_port=port)
    _write_spec(spec)
    return spec


def free_port(key: str) -> int:
    """A port of 127.0.0.1 that nobody listens on: the same for the same `key` if it is free."""
    first = zlib.crc32(key.encode())
    for step in range(_PORTS):
        port = _FIRST_PORT + (first + step) % _PORTS
        if not port_taken(port):
            return port
    raise MachineError(f"no port of 127.0.0.1 from {_FIRST_PORT} to {_FIRST_PORT + _PORTS} is free")


def port_taken(port: int) -> bool:
    """Whether something listens on 127.0.0.1:`port`."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def load_spec(directory: Path) -> MachineSpec:
    """The spec that `start` last wrote into `directory`. Raises MachineError."""
    try:
        values: dict[str, Any] = from_json(read_text(directory / "machine.json"))
        for name in ("data_directory", "kernel", "initrd"):
            values[name] = Path(values[name])
        values["launcher"] = tuple(values["launcher"])
        values["audit"] = Path(values["audit"]) if values.get("audit") else None
        return MachineSpec(directory=directory, **values)
    except (OSError, ValueError, KeyError, TypeError):
        raise MachineError(f"{directory / 'machine.json'} is missing or damaged") from None


def start(spec: MachineSpec, timeout: float = 30.0) -> MachineSpec:
    """Start the machine and wait until its monitor answers; it runs on when we end.

    Gives back the spec as it runs: with user-mode networking another port is chosen when the
    wanted one is taken. A machine that runs already is left alone. Raises MachineError.
    """
    if processes(spec.directory):
        _resume(spec.directory)
        return load_spec(spec.directory)
    if spec.netdev is None and (not spec.ssh_port or port_taken(spec.ssh_port)):
        spec = replace(spec, ssh_port=free_port(str(spec.directory)))
    if spec.web_port is not None and (not spec.web_port or port_taken(spec.web_port)):
        spec = replace(spec, web_port=free_port(f"{spec.directory} web"))
    for name in ("qmp.sock", "agent.sock"):
        (spec.directory / name).unlink(missing_ok=True)
    shorten_console(spec.directory)
    if spec.audit is not None:
        spec.audit.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write_spec(spec)
    process = _launch(spec, _arguments(spec, acceleration(spec.kernel)))
    deadline = time.monotonic() + timeout
    while not is_running(spec.directory):
        if process.poll() is not None:
            said = "; ".join(tail(spec.directory / "qemu.log", 5).splitlines())
            raise MachineError(f"QEMU did not start: {said}")
        if time.monotonic() > deadline:
            process.kill()
            raise MachineError(f"QEMU's monitor did not answer within {timeout:.0f} s")
        time.sleep(0.1)
    return spec


def shorten_console(directory: Path) -> None:
    """Keep the end of what a machine said on its console: QEMU only ever adds to it, also where
    the file was cut (open(2), O_APPEND)."""
    log = directory / "console.log"
    with suppress(FileNotFoundError):
        if log.stat().st_size > 2 * _LOG_BYTES:
            with log.open("rb+") as file:
                file.seek(-_LOG_BYTES, os.SEEK_END)
                kept = file.read()
                file.seek(0)
                file.write(kept)
                file.truncate()


def is_running(directory: Path) -> bool:
    """Whether the machine in `directory` has a living process whose monitor answers."""
    if not processes(directory):
        return False
    with suppress(ChannelError, ValueError):
        return bool(monitor(directory, "query-status")["running"])
    return False


def full_folder(directory: Path) -> Path | None:
    """The folder of disks whose file system is full, where QEMU halted the machine for that.

    QEMU's run state `io-error` is its answer to ENOSPC (`werror=enospc`, the default), and to
    nothing else.
    """
    if not processes(directory):
        return None
    with suppress(ChannelError, MachineError, OSError, ValueError):
        if monitor(directory, "query-status")["status"] == "io-error":
            folders = (directory, load_spec(directory).data_directory)
            return min(folders, key=lambda folder: shutil.disk_usage(folder).free)
    return None


def stop(directory: Path, timeout: float = 90.0) -> None:
    """End the machine: a clean shutdown within `timeout` seconds, else the power is cut.

    Everything that runs in `directory` is gone afterwards; its files are not touched.
    """
    if not processes(directory):
        return
    if GuestAgent(directory).shutdown() or _press_power_button(directory):
        _wait_gone(directory, timeout)
    with suppress(ChannelError, ValueError):
        monitor(directory, "quit")  # writes back what QEMU itself still holds
        _wait_gone(directory, 5.0)
    kill(directory)


def kill(folder: Path) -> None:
    """End at once every QEMU that runs in `folder` or in a folder under it."""
    for pid in processes(folder):
        _kill(pid, folder)


def processes(folder: Path) -> list[int]:
    """The process ids of every QEMU of ours that runs in `folder` or under it.

    Found even when the folder was deleted below it. A process is ours when its working directory
    is there and its command line is that of a machine; those of other users cannot be read.
    """
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _is_ours(int(entry.name), folder):
            found.append(int(entry.name))
    return sorted(found)


def tail(path: Path, lines: int) -> str:
    """The last `lines` lines of a log, printable characters only; empty when there is none."""
    with suppress(OSError):
        text = _COLOUR.sub("", path.read_text(errors="replace"))
        kept = [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]
        return "\n".join("".join(c for c in line if c.isprintable()) for line in kept)
    return ""


def _is_ours(pid: int, folder: Path) -> bool:
    try:
        cwd = str(Path(f"/proc/{pid}/cwd").readlink()).removesuffix(" (deleted)")
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    name = Path(os.fsdecode(arguments[0])).name
    return (
        name == QEMU
        and _machine_argument(Path(cwd).name).encode() in arguments
        and Path(cwd).is_relative_to(folder.resolve())
    )


def _machine_argument(name: str) -> str:
    return f"guest=secondlock-{name}"


def _kill(pid: int, folder: Path) -> None:
    """Kill by a descriptor of the process, checked after it was opened: ids are used again."""
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            if _is_ours(pid, folder):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                select.select([descriptor], [], [], 10.0)
        finally:
            os.close(descriptor)


def _resume(directory: Path) -> None:
    """Let a machine go on that QEMU halted, as it does when the disks' file system is full."""
    with suppress(ChannelError, ValueError):
        monitor(directory, "cont")
    if is_running(directory):
        return
    pids = " ".join(map(str, processes(directory)))
    raise MachineError("QEMU is there but its machine stands still", f"kill {pids}")


def _press_power_button(directory: Path) -> bool:
    with suppress(ChannelError, ValueError):
        monitor(directory, "system_powerdown")
        return True
    return False


def _wait_gone(directory: Path, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while processes(directory) and time.monotonic() < deadline:
        time.sleep(0.2)


def _grow(path: Path, size: int) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_size < size:
            os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)


def _tool(*argv: str) -> None:
    try:
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except FileNotFoundError:
        raise MachineError(f"{argv[0]} is not installed", "make setup") from None
    except subprocess.CalledProcessError as error:
        said = "; ".join(error.stderr.split("\n")).strip("; ")
        raise MachineError(f"{Path(argv[0]).name}: {said}") from None


def port_file(directory: Path) -> Path:
    """A line of ssh_config(5) with the machine's port, written at each start: it may be another."""
    return directory / "ssh_port"


def _write_spec(spec: MachineSpec) -> None:
    values = asdict(spec)
    del values["directory"]
    text = json.dumps(values, default=str, indent=1) + "\n"
    write_whole(spec.directory / "machine.json", text.encode())
    write_whole(port_file(spec.directory), f"Port {spec.ssh_port}\n".encode())


def _launch(spec: MachineSpec, arguments: Iterator[str]) -> subprocess.Popen[bytes]:
    program = shutil.which(QEMU)
    if program is None:
        raise MachineError(f"{QEMU} is not installed", "make setup")
    log = os.open(spec.directory / "qemu.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        process = subprocess.Popen(
            [*spec.launcher, program, *arguments],
            cwd=spec.directory,
            # It outlives the command: passphrase and cloud credentials are not for it to keep.
            env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            umask=0o077,
        )
    finally:
        os.close(log)
    _started.append(process)
    return process


def _arguments(spec: MachineSpec, accel: Acceleration) -> Iterator[str]:
    yield from ("-name", _machine_argument(spec.directory.name))
    yield from ("-nodefaults", "-no-user-config", "-display", "none")
    yield from ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny")
    # Without HPET: emulated it costs time, and fills the console with interrupts it lost.
    yield from ("-machine", "q35,hpet=off", "-cpu", accel.cpu, "-accel", accel.option)
    yield from ("-smp", str(spec.cpus), "-m", f"{spec.memory_mib}M")
    yield from ("-rtc", "base=utc,clock=host")
    yield from ("-object", "rng-random,id=rng0,filename=/dev/urandom")
    yield from ("-device", "virtio-rng-pci,rng=rng0")
    yield from ("-kernel", str(spec.kernel), "-initrd", str(spec.initrd))
    yield from ("-append", f"root=/dev/vda rw console=ttyS0 net.ifnames=0 {accel.kernel_options}")
    yield from _disk("root", "root.qcow2", "qcow2")
    yield from _disk("state", str(spec.data_directory / "state.img"), "raw")
    yield from _disk("home", str(spec.data_directory / "home.img"), "raw")
    yield from _disk("seed", "seed.iso", "raw", ",read-only=on")
    user_net = f"user,id=net0,hostfwd={_forward(spec.ssh_port, 22)}"
    if spec.web_port is not None:
        user_net += f",hostfwd={_forward(spec.web_port, HTTPS)}"
    yield from ("-netdev", spec.netdev or user_net)
    yield from ("-device", "virtio-net-pci,netdev=net0,romfile=")
    yield from ("-chardev", "file,id=console,path=console.log,append=on")
    yield from ("-serial", "chardev:console")
    yield from ("-chardev", "socket,id=qmp,path=qmp.sock,server=on,wait=off")
    yield from ("-mon", "chardev=qmp,mode=control")
    yield from ("-chardev", "socket,id=agent,path=agent.sock,server=on,wait=off")
    yield from ("-device", "virtio-serial-pci")
    yield from ("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0")
    if spec.audit is not None:
        # The guest can add to it, and neither read nor change what is there.
        yield from ("-chardev", f"file,id=audit,path={_quoted(spec.audit)},append=on")
        yield from ("-device", "virtserialport,chardev=audit,name=secondlock.audit")


def _forward(port: int, inside: int) -> str:
    return f"tcp:127.0.0.1:{port}-:{inside}"


def _disk(name: str, file: str, form: str, more: str = "") -> Iterator[str]:
    path = _quoted(file)
    yield from ("-drive", f"if=none,id={name},format={form},discard=unmap,file={path}{more}")
    yield from ("-device", f"virtio-blk-pci,drive={name},serial=sl-{name}")


def _quoted(path: Path | str) -> str:
    """A value with a comma in it, as QEMU reads it."""
    return str(path).replace(",", ",,")
