"""What is ours on a machine, brought up to date while people work there."""

from __future__ import annotations

import io
import os
import random
import secrets
import tarfile
import time
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import pytest

from cloudinit.bundle import bundle
from tests.support.bundles import LIBRARY, SSHD, VERIFY, changed, sha256
from tests.support.client import free_port
from tests.support.project import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.client import Client, Session
    from tests.support.machine import Machine

UNIT = "etc/systemd/system/ssh.service.d/secondlock.conf"
CURRENT = f"basename $(readlink /{LIBRARY}/current)"
KILLS = int(os.environ.get("SECONDLOCK_KILLS", "4"))
"""`make proofs` kills more often."""
TRAINING = """
import itertools, time
for step in itertools.count():
    open("steps", "w").write(str(step))
    time.sleep(0.1)
"""


def version(machine: Machine) -> str:
    return machine.succeed(CURRENT).strip()


@pytest.fixture
def day_before(machine: Machine) -> Iterator[str]:
    """The bundle that the machine runs, and will run again."""
    before = version(machine)
    assert before == bundle("local").digest
    yield before
    assert machine.upgrade(bundle("local").data, "--back")["error"] is None
    assert version(machine) == before
    assert machine.succeed("systemctl --failed --plain --no-legend") == ""
    machine.lift_bans()


@contextmanager
def _jupyter(session: Session) -> Iterator[Callable[[], str]]:
    """What Jupyter says by one connection that stays open: where it ends, nothing."""
    near = free_port()
    assert session.forward("-L", f"127.0.0.1:{near}:127.0.0.1:8888").exit == 0
    with closing(HTTPConnection("127.0.0.1", near, timeout=300)) as connection:
        connection.connect()
        connection.auto_open = 0

        def says() -> str:
            connection.request("GET", "/api")
            with connection.getresponse() as answer:
                assert answer.status == 200
                return answer.read().decode()

        yield says


@pytest.mark.usefixtures("day_before")
def test_it_ends_no_session_no_training_and_no_ban(machine: Machine, client: Client) -> None:
    person = machine.researcher()
    machine.succeed("fail2ban-client set sshd banip 192.0.2.7")
    machine.succeed(f"systemctl start secondlock-jupyter-proxy@{person.name}.socket")
    with client.session(person) as session, _jupyter(session) as jupyter:
        session.succeed("cat >train.py", stdin=TRAINING.encode())
        session.succeed("nohup python3 train.py >/dev/null 2>&1 & echo $!")
        wait_until(lambda: session.run("cat steps").exit == 0, "the training ran")
        container = session.succeed("hostname")
        first = jupyter()
        later = changed(SSHD, "MaxAuthTries 4", f"# {secrets.token_hex()}\nMaxAuthTries 3")
        later = changed(VERIFY, "Any fault", f"{secrets.token_hex()} Any fault", of=later)
        # sshd's unit too: it starts again, and in a machine's first boot more with it.
        later = changed(UNIT, "# No host key", f"# {secrets.token_hex()} No host key", of=later)
        assert machine.upgrade(later)["error"] is None
        assert jupyter() == first
        steps = int(session.succeed("cat steps"))
        wait_until(lambda: int(session.succeed("cat steps") or 0) > steps, "the training went on")
        assert session.succeed("hostname") == container
    machine.succeed(f"systemctl stop secondlock-jupyter-proxy@{person.name}.socket")
    assert "maxauthtries 3" in machine.succeed("sshd -T")
    assert "192.0.2.7" in machine.succeed("fail2ban-client get sshd banip")
    assert client.login(person, code=person.emergency_codes[0]).entered
    assert machine.status()["bundle"] == {"version": sha256(later), "error": None, "next_boot": []}


@pytest.mark.usefixtures("day_before")
def test_kills_leave_one_whole_version_and_the_upgrade_ends(
    machine: Machine, client: Client
) -> None:
    later = changed(VERIFY, "Any fault", f"{secrets.token_hex()} Any fault")
    machine.begin_upgrade(later)
    kill = 'pkill -KILL -f "^/usr/bin/python3 -I [^ ]*/upgrade run"'
    for _ in range(KILLS):
        machine.succeed(f"timeout 60 sh -c 'until {kill}; do sleep 0.05; done'")
        # Whatever it was at: what a login runs is of one version.
        whole = version(machine)
        for file in ("verify", "guest/totp/verify.py", "guest/totp/codes.py"):
            assert f"/{whole}/" in machine.succeed(f"realpath /{LIBRARY}/{file}")
        time.sleep(random.uniform(0, 4))  # noqa: S311
    machine.wait_for("test -e /run/secondlock/upgraded.json", timeout=300)
    assert machine.status()["bundle"] == {"version": sha256(later), "error": None, "next_boot": []}
    assert version(machine) == sha256(later)
    assert client.login(machine.researcher()).entered


@pytest.mark.parametrize(
    "faults",
    [
        (
            (SSHD, "MaxAuthTries 4", "MaxAuthTriesToday 4", "Bad configuration option"),
            ("etc/nftables.conf", "policy drop", "policy perhaps", "nft failed"),
            ("etc/sudoers.d/secondlock", "NOPASSWD", "NOWORD", "visudo failed"),
            ("etc/pam.d/sshd", "pam_loginuid.so", "pam_nobody_has.so", "has no pam_nobody_has.so"),
            (f"{LIBRARY}/guest/workspace/enter.py", "import json", "import jsonn", "do not load"),
            (f"{LIBRARY}/bundle.json", "local", "aws", "another target's"),
        ),
        # What no look at the files tells: after the switch no code would open the door, or it
        # would be another one.
        (
            (VERIFY, "syslog.openlog(", "sys.exit(7); syslog.openlog(", "could not be judged"),
            (SSHD, "MaxAuthTries 4", "MaxAuthTries 4\nPort 2222", "sshd did not answer"),
        ),
    ],
    ids=["seen before the switch", "seen after it"],
)
def test_one_that_would_shut_people_out_leaves_the_one_before(
    machine: Machine, client: Client, faults: tuple[tuple[str, str, str, str], ...]
) -> None:
    before, kept = version(machine), machine.succeed(f"ls /{LIBRARY}/versions")
    for path, old, new, said in faults:
        assert said in machine.upgrade(changed(path, old, new))["error"]
        assert version(machine) == before
    assert said in machine.status()["bundle"]["error"]
    assert machine.succeed(f"ls /{LIBRARY}/versions") == kept
    assert client.login(machine.researcher()).entered


@pytest.mark.usefixtures("day_before")
def test_one_that_is_damaged_foreign_or_of_before_is_refused(machine: Machine) -> None:
    today, later = bundle("local").data, changed(SSHD, "# Two", f"# {secrets.token_hex()} Two")
    assert "damaged" in machine.upgrade(later[:-9], digest=sha256(later))["error"]
    foreign = io.BytesIO()
    with tarfile.open(fileobj=foreign, mode="w:xz") as tar:
        tar.addfile(tarfile.TarInfo("etc/motd"), io.BytesIO())
    assert "no bundle of ours" in machine.upgrade(foreign.getvalue())["error"]
    assert version(machine) == sha256(today)
    assert machine.upgrade(later)["error"] is None
    assert "replaced here by a newer one" in machine.upgrade(today)["error"]
    assert version(machine) == sha256(later)
