"""QEMU itself, with a kernel of a few bytes in place of a guest."""

from __future__ import annotations

import os
import shutil
import struct
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from infra.local import clock, qemu
from infra.local.accel import QEMU

# Multiboot Specification 0.6.96, "The layout of Multiboot header": loaded at 1 MiB, it halts.
_MAGIC, _ADDRESSES, _BASE, _CODE = 0x1BADB002, 0x10000, 0x100000, 32
_FIELDS = (_MAGIC, _ADDRESSES, -(_MAGIC + _ADDRESSES) & 0xFFFFFFFF, _BASE, _BASE, 0, 0)
_HALT = b"\xfa\xf4\xeb\xfd"  # cli; hlt; jmp to it
KERNEL = struct.pack("<8I", *_FIELDS, _BASE + _CODE) + _HALT + bytes(4096)


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> qemu.MachineSpec:
    """A machine that runs no guest."""
    if shutil.which(QEMU) is None:
        pytest.skip(f"no {QEMU}: make setup")
    monkeypatch.setenv("SECONDLOCK_ACCEL", "tcg")
    machine, kernel = tmp_path / "machine", tmp_path / "kernel"
    machine.mkdir()
    kernel.write_bytes(KERNEL)
    for name in ("base.raw", "initrd"):
        (tmp_path / name).write_bytes(bytes(4096))
    qemu.create_root_disk(machine, tmp_path / "base.raw", 1)
    (machine / "seed.iso").write_bytes(bytes(4096))
    qemu.create_data(tmp_path / "data", 1)
    return qemu.MachineSpec(
        "m", machine, tmp_path / "data", kernel, tmp_path / "initrd", cpus=1, memory_mib=64
    )


def test_a_machine_keeps_nothing_of_who_started_it(
    spec: qemu.MachineSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "of-the-admin-alone"
    for name in ("PULUMI_CONFIG_PASSPHRASE", "AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK", "EDITOR"):
        monkeypatch.setenv(name, secret)
    try:
        qemu.start(spec)
        (pid,) = qemu.processes(spec.directory)
        kept = Path(f"/proc/{pid}/environ").read_bytes()
    finally:
        qemu.kill(spec.directory)
    assert secret.encode() not in kept
    names = {pair.partition(b"=")[0] for pair in kept.split(b"\0") if pair}
    assert names <= {b"PATH", b"LANG"}


def test_a_port_leads_to_the_https_door_also_of_a_machine_that_runs(
    spec: qemu.MachineSpec,
) -> None:
    try:
        assert qemu.start(spec).web_port is None
        led = qemu.lead_web(spec.directory, 0)
        assert led.web_port is not None
        assert qemu.port_taken(led.web_port)
        assert qemu.lead_web(spec.directory, 0) == qemu.load_spec(spec.directory) == led
        qemu.kill(spec.directory)
        again = qemu.start(replace(spec, web_port=led.web_port))
        assert (again.web_port, qemu.port_taken(led.web_port)) == (led.web_port, True)
    finally:
        qemu.kill(spec.directory)


def test_how_late_the_real_time_clock_started_is_seen_from_here(spec: qemu.MachineSpec) -> None:
    try:
        qemu.start(spec)
        late = clock.rtc_behind(spec.directory)
        assert -0.05 < late < 1.05
        assert clock.rtc_behind(spec.directory) == pytest.approx(late, abs=0.05)
    finally:
        qemu.kill(spec.directory)


def test_what_a_machine_says_on_its_console_does_not_grow_for_ever(spec: qemu.MachineSpec) -> None:
    console = spec.directory / "console.log"
    console.write_bytes(b"older\n" * 10**6 + b"the last line\n")
    try:
        qemu.start(spec)
        assert console.stat().st_size < 2**20
        # Cut as well while the machine runs, and what it says then comes behind.
        with console.open("ab") as file:
            file.write(b"newer\n" * 10**6)
        qemu.shorten_console(spec.directory)
        assert console.stat().st_size < 2**20
    finally:
        qemu.kill(spec.directory)
    assert "newer" in qemu.tail(console, 3)


def test_a_record_is_added_to_and_its_folder_is_its_owners_alone(
    spec: qemu.MachineSpec, tmp_path: Path
) -> None:
    record = tmp_path / "audit, of all" / "m.jsonl"
    record.parent.mkdir(mode=0o700)
    record.write_bytes(b"before\n")
    spec = replace(spec, audit=record)
    try:
        qemu.start(spec)
        (pid,) = qemu.processes(spec.directory)
        opened = [entry for entry in Path(f"/proc/{pid}/fd").iterdir() if _leads_to(entry, record)]
        flags = Path(f"/proc/{pid}/fdinfo/{opened[0].name}").read_text()
        assert qemu.load_spec(spec.directory).audit == record
    finally:
        qemu.kill(spec.directory)
    (mode,) = (line.split()[1] for line in flags.splitlines() if line.startswith("flags:"))
    assert int(mode, 8) & os.O_APPEND
    assert record.read_bytes() == b"before\n"


def _leads_to(entry: Path, file: Path) -> bool:
    with suppress(OSError):
        return entry.readlink() == file
    return False
