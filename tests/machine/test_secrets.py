"""The roster's secrets, looked for by their bytes wherever a machine might have left them."""

from __future__ import annotations

import base64
import json
import lzma
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cloudinit.bundle import bundle
from infra.local import qemu

if TYPE_CHECKING:
    from tests.support.machine import Machine
    from tests.support.people import Person

CHUNK, OVERLAP = 2**26, 2**10

# Runs on the machine; what it looks for comes by standard input, so that it never finds itself.
# The state volume is another file system, and the only place where secrets may be. What lies
# elsewhere on the root disk is found by looking at that disk from outside.
SEARCH = """
import json, os, re, stat, sys
wanted = [(bytes.fromhex(w), re.compile(bytes.fromhex(e))) for w, e in json.load(sys.stdin)]

def walk(top):
    device = os.stat(top).st_dev
    for folder, folders, names in os.walk(top):
        folders[:] = [f for f in folders if os.lstat(os.path.join(folder, f)).st_dev == device]
        yield from (os.path.join(folder, name) for name in names)

def changed_since_boot():
    since = os.stat("/proc/1").st_ctime - 300
    for top in ("/etc", "/root", "/run", "/dev/shm", "/tmp", "/home", "/var/lib/cloud",
                "/var/log", "/var/cache", "/var/spool", "/var/tmp", "/usr/local"):
        for path in walk(top):
            try:
                found = os.lstat(path)
            except OSError:
                continue
            if stat.S_ISREG(found.st_mode) and found.st_ctime >= since:
                yield path

def of_processes():
    for process in os.listdir("/proc"):
        if process.isdigit():
            yield f"/proc/{process}/cmdline"
            yield f"/proc/{process}/environ"

count = 0
for path in [*changed_since_boot(), *of_processes()]:
    try:
        with open(path, "rb") as file:
            text = file.read()
    except OSError:
        continue
    count += 1
    if any(word in text and expression.search(text) for word, expression in wanted):
        print(path)
print(count, file=sys.stderr)
"""


def _secrets(machine: Machine, people: list[Person]) -> list[bytes]:
    """Every secret of these people and of the machine, as it might be written down."""
    found = [line.encode() for line in machine.host_key.private_openssh.splitlines()[1:-1]]
    # The key's first line begins with what every key begins with, and the second holds the public
    # half too: the last ones are the private half alone.
    found = found[-3:]
    found.append(machine.lab.seed.encode())
    for person in people:
        secret = person.enrollment.entry["totp_secret"]
        found += [
            secret.encode(),
            base64.b32decode(secret),
            base64.b32decode(secret).hex().encode(),
        ]
        found += [code.encode() for code in person.emergency_codes]
        if person.enrollment.entry.get("password"):
            found.append(person.password.encode())
    return found


@pytest.fixture(scope="module")
def people(machine: Machine) -> list[Person]:
    """Someone of each mode who has logged in, so that every program has seen their secrets."""
    people = [machine.researcher(), machine.researcher("password+totp")]
    for person in people:
        assert machine.client.login(person, code=person.emergency_codes[0]).entered
    return people


@pytest.fixture(scope="module")
def secrets(machine: Machine, people: list[Person]) -> list[bytes]:
    """What is looked for."""
    return _secrets(machine, people)


def _found(words: list[bytes], text: bytes) -> bool:
    return any(word in text and re.search(_expression(word), text) for word in words)


def _expression(word: bytes) -> bytes:
    """Eight digits count as a code only when they stand alone: logs are full of longer numbers."""
    if re.fullmatch(rb"[0-9]{8}", word):
        return rb"(?<![0-9.])" + word + rb"(?![0-9.])"
    return re.escape(word)


def _search_guest(machine: Machine, words: list[bytes]) -> list[str]:
    document = json.dumps([(word.hex(), _expression(word).hex()) for word in words]).encode()
    code, out, err = machine.agent.run(
        ["/usr/bin/python3", "-c", SEARCH], stdin=document, timeout=500
    )
    assert code == 0, err.decode(errors="replace")
    assert int(err) > 100
    return out.decode().split()


def test_the_machines_files_and_processes_hold_no_secret(
    machine: Machine, secrets: list[bytes]
) -> None:
    assert _search_guest(machine, secrets) == []


def test_the_search_finds_what_is_there(machine: Machine, people: list[Person]) -> None:
    found = _search_guest(machine, [people[0].request.ssh_keys[0].split()[1].encode()])
    assert f"/etc/secondlock/authorized_keys/{people[0].name}" in found


def test_the_journal_holds_no_secret(machine: Machine, secrets: list[bytes]) -> None:
    journal = machine.succeed("journalctl --no-pager -o cat", timeout=300)
    assert "Accepted" in journal
    assert not _found(secrets, journal.encode())


def test_everything_the_machine_ever_wrote_to_its_root_disk_holds_no_secret(
    machine: Machine, people: list[Person], secrets: list[bytes]
) -> None:
    """The overlay on the golden image has deleted files too."""
    machine.succeed("sync")
    public = people[0].request.ssh_keys[0].encode()
    seen_public = False
    with machine.spec.disk.open("rb") as written:
        tail = b""
        while chunk := written.read(CHUNK):
            text = tail + chunk
            assert not _found(secrets, text), f"near byte {written.tell()}"
            seen_public |= public in text
            tail = chunk[-OVERLAP:]
    assert seen_public


def test_user_data_console_and_command_line_hold_no_secret(
    machine: Machine, secrets: list[bytes]
) -> None:
    seed = (machine.directory / "seed.iso").read_bytes()
    ours = bundle("local").data
    assert ours in seed
    places = {"seed.iso": seed, "bundle": lzma.decompress(ours)}
    seed = seed.replace(ours, b"")
    user_data = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(
        seed[seed.index(b"\x1f\x8b\x08") :]
    )
    assert user_data.startswith(b"MIME-Version: ")
    places["user-data"] = user_data
    for name in ("console.log", "qemu.log", "machine.json"):
        places[name] = (machine.directory / name).read_bytes()
    for process in qemu.processes(machine.directory):
        places["command line"] = Path(f"/proc/{process}/cmdline").read_bytes()
        places["environment"] = Path(f"/proc/{process}/environ").read_bytes()
    assert b"Linux version" in places["console.log"]
    assert [name for name, text in places.items() if _found(secrets, text)] == []
