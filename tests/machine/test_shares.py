"""A shared machine: what each member may take, and that nobody takes what is another's."""

from __future__ import annotations

import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from tests.support.gpu import APPEAR
from tests.support.shared import SEATS, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.model.retired import Home
    from tests.support.client import Client, Session
    from tests.support.people import Person
    from tests.support.shared import SharedMachine

MIB = 1024 * 1024

# Two GPUs as the PCI bus, the devices' folder and NVIDIA's list would show them, in all of NVIDIA's
# names: each device by its number, and all.
GPUS = f"""{APPEAR}
mkdir -p /run/cdi
for number in 0 1; do mknod -m 666 /dev/nvidia$number c 195 $number; done
cat >/run/cdi/nvidia.yaml <<'END'
cdiVersion: "0.6.0"
kind: nvidia.com/gpu
devices:
- name: "0"
  containerEdits:
    deviceNodes: [{{path: /dev/nvidia0}}]
- name: "1"
  containerEdits:
    deviceNodes: [{{path: /dev/nvidia1}}]
- name: all
  containerEdits:
    deviceNodes: [{{path: /dev/nvidia0}}, {{path: /dev/nvidia1}}]
END
"""
HOLD = """
import time
held = bytearray(b"1") * (150 << 20)
open("holds", "w")
time.sleep(600)
"""
HOLDS = "until test -e holds; do sleep 0.2; done"
SEEN = "cd /dev; ls -d nvidia* 2>/dev/null | paste -sd,"
# Whether any of them can be used whose node one finds: each that opens is printed. There is
# no such device (ENXIO): whoever may use it is told that, and not that they may not (EPERM).
USABLE = """
import errno, os
found = []
for number in (0, 1):
    try:
        os.open(f"/dev/nvidia{number}", os.O_RDWR)
        found.append(number)
    except OSError as error:
        if error.errno == errno.ENXIO:
            found.append(number)
print(found)
"""


@contextmanager
def gpus(shared: SharedMachine) -> Iterator[None]:
    """The machine seems to have two GPUs."""
    shared.succeed(GPUS)
    try:
        yield
    finally:
        shared.succeed("umount /sys/bus/pci/devices; rm -rf /run/cdi /run/pci /dev/nvidia[01]")


def test_twenty_come_in_at_the_same_instant(shared: SharedMachine) -> None:
    people = [shared.person(name) for name in shared.lab.requests][:SEATS]
    together = Barrier(len(people), timeout=300)

    def comes(person: Person) -> bool:
        # An emergency code: one of the app's may be over by the time that it is looked at.
        code = person.emergency_codes[-1]
        together.wait()
        return shared.client.login(person, code=code, timeout=600).entered

    with ThreadPoolExecutor(len(people)) as pool:
        assert list(pool.map(comes, people)) == [True] * SEATS


def test_who_comes_goes_or_is_frozen_disturbs_nobody(shared: SharedMachine) -> None:
    calm, changes = shared.researcher(), shared.researcher()
    with shared.client.session(calm) as work, shared.client.session(changes) as other:
        work.succeed("setsid -f sleep 3600 >/dev/null 2>&1 </dev/null", timeout=300)
        other.succeed("true", timeout=300)
        here = "hostname; hostname -I; pgrep -x sleep"
        was = work.succeed(here)

        changes = shared.rotate(changes, end_sessions=True)
        other.wait_closed()
        assert work.succeed(here) == was

        assert shared.client.login(changes).entered
        spent = f"/var/lib/secondlock/spent/{changes.name}.json"
        shared.succeed(f'sed -i \'s/"frozen": false/"frozen": true/\' {spent}')
        shared.apply()
        assert shared.person_status(changes)["frozen"]
        assert shared.client.login(changes, code=lambda: changes.code(1)).denied
        assert work.succeed(here) == was

        shared.leave({changes.name: "keep"})
        (newcomer,) = shared.add()
        shared.apply()
        assert shared.client.login(newcomer, "true", timeout=300).exit == 0
        assert work.succeed(here) == was


def test_each_has_their_own_gpu_and_no_other(shared: SharedMachine) -> None:
    one, other, none = (shared.researcher() for _ in range(3))
    shared.give(one, gpus=(1,))
    shared.give(other, gpus=(0,))
    shared.apply()
    client = shared.client
    with gpus(shared), client.session(one) as first, client.session(other) as second:
        assert first.succeed(SEEN, timeout=300) == "nvidia1"
        assert second.succeed(SEEN, timeout=300) == "nvidia0"
        with client.session(none) as third:
            result = third.run(SEEN, timeout=300)
            assert (result.output, result.errors) == ("", "")
        shared.succeed("systemctl daemon-reload", timeout=300)
        for session, own in ((first, 1), (second, 0)):
            assert session.succeed(f"python3 -c '{USABLE}'") == f"[{own}]"
            assert by_sftp(session) == [f"/dev/nvidia{own}"]
        # As Jupyter and its terminals are started.
        by_docker = f"docker exec --user $(id -u {one.name}) workspace-{one.name}"
        assert shared.succeed(f"{by_docker} python3 -c '{USABLE}'", timeout=120) == "[1]\n"
        # One comes, another goes: nobody's changes.
        shared.give(none, gpus=())
        shared.apply()
        shared.succeed(f"docker restart --time 0 workspace-{one.name}", timeout=180)
        assert first.succeed(SEEN, timeout=120) == "nvidia1"
        status = shared.status()["researchers"]
        assert [status[each.name]["gpu"] for each in (one, other, none)] == [True, True, False]
    for person in (one, other):
        shared.succeed(f"docker rm --force workspace-{person.name}")


def by_sftp(session: Session) -> list[str]:
    """The GPUs that sftp lists."""
    argv = ["sftp", "-q", "-F", "none", "-o", f"ControlPath={session.control}", "-b", "-", "there"]
    done = subprocess.run(
        argv, input="ls /dev/nvidia*\n", capture_output=True, text=True, timeout=90
    )
    return [line.strip() for line in done.stdout.splitlines() if line.startswith("/dev")]


def test_a_share_that_changes_holds_at_once_and_ends_nothing(shared: SharedMachine) -> None:
    person = shared.researcher()
    with shared.client.session(person) as session:
        session.succeed("setsid -f sleep 600 >/dev/null 2>&1 </dev/null", timeout=300)
        assert limits(shared, person) == (224 * MIB, 600, "max")
        beside = f"systemctl show --value --property=MemoryMax user-$(id -u {person.name}).slice"
        assert shared.succeed(beside).strip() == str(96 * MIB)
        shared.give(person, memory=300, pids=400, cpus=0.5)
        assert f"{person.name}: share" in shared.apply()
        memory, pids, cpu = limits(shared, person)
        assert (memory, pids) == (300 * MIB, 400)
        used, _, period = cpu.partition(" ")
        assert int(used) / int(period) == 0.5
        # Less than what runs there holds: it is not ended for that, and the rest is held to it.
        session.succeed(f"setsid -f python3 -c '{HOLD}' >/dev/null 2>&1 </dev/null; {HOLDS}")
        shared.give(person, memory=120, pids=300)
        shared.apply()
        assert limits(shared, person)[:2] == (300 * MIB, 300)
        session.succeed("pgrep -x sleep && pkill -x python3")

        def given_back() -> bool:
            """Each login asks for it again."""
            session.succeed("pgrep -x sleep")
            return limits(shared, person)[:2] == (120 * MIB, 300)

        until(given_back, "what is not in use any more is given back")


def limits(shared: SharedMachine, person: Person) -> tuple[int, int, str]:
    """What the kernel holds a workspace to: memory in bytes, processes, time of processors."""
    name = shared.succeed(f"docker inspect --format '{{{{.Id}}}}' workspace-{person.name}").strip()
    place = f"/sys/fs/cgroup/system.slice/docker-{name}.scope"
    memory, pids, cpu = shared.succeed(
        f"cd {place} && cat memory.max pids.max cpu.max"
    ).splitlines()
    return int(memory), int(pids), "max" if cpu == f"{os_cpus(shared)}00000 100000" else cpu


def os_cpus(shared: SharedMachine) -> int:
    """How many processors it has."""
    return int(shared.succeed("nproc"))


def test_a_full_home_is_its_owners_alone(shared: SharedMachine) -> None:
    one, other = shared.researcher(), shared.researcher()
    client = shared.client
    with client.session(one) as first, client.session(other) as second:
        for place in ("~", "/tmp"):
            full = first.run(f"head -c 200M /dev/zero >{place}/large", timeout=300)
            assert (full.exit, "quota" in full.errors) == (1, True), full.errors
        second.succeed("head -c 100M /dev/zero >large && rm large", timeout=300)
        # They still get in, see it, and can mend it.
        mend = "rm -f ~/large /tmp/large; echo mended"
        assert client.login(one, mend, code=one.emergency_codes[0]).output == "mended"
        first.succeed("echo >again")


def _again(client: Client, person: Person) -> AbstractContextManager[Session]:
    """Another login, by an emergency code: that of the app has been used."""
    return client.session(person, code=person.emergency_codes[0])


def test_leavers_homes_become_what_was_said(shared: SharedMachine) -> None:
    words: tuple[Home, ...] = ("keep", "archive", "delete")
    leavers, stays = {word: shared.researcher() for word in words}, shared.researcher()
    client = shared.client
    for person in leavers.values():
        client.login(person, "echo words >secret; echo words >/tmp/more", timeout=300)
    with client.session(stays) as session, _again(client, leavers["archive"]) as theirs:
        session.succeed("setsid -f sleep 600 >/dev/null 2>&1 </dev/null", timeout=300)
        changed = shared.leave({person.name: word for word, person in leavers.items()})
        theirs.wait_closed()
        said = [f"{leavers[word].name}: home {word}d" for word in ("archive", "delete")]
        assert [each for each in changed if ": home" in each] == said
        session.succeed("pgrep -x sleep")
    keep, archive, delete = (leavers[word].name for word in words)
    for home in (f"/home/{keep}", f"/home/.archive/{archive}-home"):
        assert shared.succeed(f"cat {home}/secret; stat -c %a {home}") == "words\n700\n"
    until(lambda: shared.run("ls /home/.leaving")[0], "what is deleted goes")
    for name in (archive, delete):
        shared.fail(f"ls -d /home/{name} /home/.tmp/{name}")
    # A second time there is nothing to do.
    assert [each for each in shared.apply() if "home" in each] == []


HOSTILE = {
    "processes without end": "while :; do (while :; do :; done) & done",
    "memory without end": "x=x; while :; do x=$x$x; done",
    "all processors": "for i in 1 2 3 4 5 6 7 8; do (while :; do :; done) & done; sleep 600",
    "much to write": "while :; do head -c 20M /dev/zero >~/filled; sync ~/filled; done",
    "words without end": "while :; do echo x; echo x >&2; done",
    "connections without end": (
        "python3 -c 'import socket\nheld = []\nwhile True:\n"
        '    s = socket.socket(); s.setblocking(False); s.connect_ex(("203.0.113.9", 80))\n'
        "    held.append(s)'"
    ),
}


@pytest.mark.long
@pytest.mark.timeout(1500, method="signal")
def test_what_one_does_slows_no_other_login_to_half(shared: SharedMachine) -> None:
    """Each login against the same one just before; nothing of the other's ends."""
    hostile, calm = shared.researcher(), shared.researcher()
    with shared.client.session(calm) as work, shared.client.session(hostile) as session:
        work.succeed("setsid -f sleep 3600 >/dev/null 2>&1 </dev/null", timeout=300)
        job = work.succeed("pgrep -x sleep")
        session.succeed("true", timeout=300)
        slower = {}
        for what, script in HOSTILE.items():
            before = seconds(work)
            with doing(session, script):
                slower[what] = seconds(work) / before
            assert work.succeed("pgrep -x sleep") == job, what
            shared.succeed("systemctl is-active ssh.service && /usr/local/sbin/secondlock-status")
            until(lambda: not session.run("true").exit, "they get in again themselves", 120)
        assert {what: round(each, 1) for what, each in slower.items() if each > 2} == {}


def seconds(session: Session) -> float:
    """What it takes to come into the workspace: the middle one of five times."""
    taken = []
    for _ in range(5):
        before = time.monotonic()
        session.succeed("true", timeout=120)
        taken.append(time.monotonic() - before)
    return statistics.median(taken)


@contextmanager
def doing(session: Session, script: str) -> Iterator[None]:
    """Something of somebody's runs meanwhile, for as long as they are let."""
    running = session.start(f"bash -c '{script}'" if "'" not in script else script)
    try:
        time.sleep(5)
        yield
    finally:
        session.run("secondlock-stop", timeout=180)
        running.kill()
        running.wait()
