"""What a machine remembers: over a crash, and when it is replaced and keeps its data volumes."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from cloudinit.bundle import bundle
from tests.support.bundles import LIBRARY, SSHD, VERIFY, changed, sha256
from tests.support.client import free_port

if TYPE_CHECKING:
    from tests.support.machine import Machine
    from tests.support.people import Person

JUPYTER = 400  # seconds; an emulated machine loads Python slowly


@pytest.fixture(scope="session")
def veteran(machine: Machine) -> Person:
    """Someone who has just used their first emergency code when the machine crashes."""
    person = machine.researcher()
    home = f"/home/{person.name}"
    machine.succeed(f"cd {home} && echo work >thesis && chown {person.name}: thesis && sync -f .")
    assert machine.client.login(person, code=person.emergency_codes[0]).entered
    return person


@pytest.fixture(scope="session")
def restarted(machine: Machine, veteran: Person) -> Machine:
    """The shared machine after its kernel has panicked: no other restart keeps less.

    It was in the middle of an upgrade, past the switch, to what lets nobody in.
    """
    never = changed(VERIFY, "syslog.openlog(", "time.sleep(600); syslog.openlog(")
    machine.begin_upgrade(never)
    machine.wait_for(f"readlink /{LIBRARY}/current | grep {sha256(never)}")
    machine.panic()
    return machine


@pytest.fixture(scope="session")
def replaced(restarted: Machine, veteran: Person) -> Machine:
    """Another machine with the old one's data volumes; only the veteran is in its roster."""
    restarted.lab.requests = {veteran.name: veteran.request}
    restarted.lab.fresh = []
    restarted.replace()
    restarted.apply()
    restarted.lift_bans()
    return restarted


def test_a_machine_starts_again_after_a_panic_and_is_as_it_was(restarted: Machine) -> None:
    status = restarted.status()
    assert (status["error"], status["serial"]) == (None, restarted.lab.serial)
    assert restarted.succeed("systemctl --failed --plain --no-legend") == ""


def test_an_upgrade_that_a_crash_cut_off_is_undone_before_the_door_opens(
    restarted: Machine,
) -> None:
    told = restarted.status()["bundle"]
    assert told["version"] == bundle("local").digest
    assert "the power went" in told["error"]
    assert restarted.upgrade(changed(SSHD, "# Two", "# The two"))["error"] is None


def test_a_used_emergency_code_stays_used_after_a_crash(
    restarted: Machine, veteran: Person
) -> None:
    assert restarted.client.login(veteran, code=veteran.emergency_codes[0]).denied
    assert restarted.client.login(veteran).entered


def test_a_used_emergency_code_stays_used_on_a_replaced_machine(
    replaced: Machine, veteran: Person
) -> None:
    assert replaced.client.login(veteran, code=veteran.emergency_codes[0]).denied
    assert replaced.client.login(veteran, code=veteran.emergency_codes[1]).entered


def test_a_replaced_machine_keeps_homes_and_uids(replaced: Machine, veteran: Person) -> None:
    thesis = f"/home/{veteran.name}/thesis"
    assert replaced.succeed(f"cat {thesis}") == "work\n"
    assert replaced.succeed(f"stat -c %U {thesis}").strip() == veteran.name


@pytest.mark.timeout(900, method="signal")
def test_jupyter_answers_through_the_tunnel_and_only_with_its_token(
    replaced: Machine, veteran: Person
) -> None:
    with replaced.client.session(veteran, code=veteran.emergency_codes[2]) as session:
        near = free_port()
        assert session.forward("-L", f"127.0.0.1:{near}:127.0.0.1:8888").exit == 0
        shown = session.start(f"secondlock-jupyter {near}")
        try:
            assert shown.stdout is not None
            said, _, token = shown.stdout.readline().decode().strip().partition("?token=")
            assert said == f"Jupyter: http://127.0.0.1:{near}/"
            address = f"http://127.0.0.1:{near}/api/contents"
            assert len(token) == 64
            assert _get(address) == 403
            assert _get(f"{address}?token={'0' * 64}") == 403
            assert _get(f"{address}?token={token}") == 200
        finally:
            shown.kill()
            shown.wait(30)
    for place in ("cmdline", "environ"):
        code, out, _ = replaced.run(f"grep -lF -f - /proc/[0-9]*/{place}", token.encode())
        assert code != 0, f"the token is in {out}"
    replaced.succeed(f"test $(find /home/{veteran.name} -name '*.json' -perm /077 | wc -l) = 0")


def _get(address: str) -> int:
    """The HTTP status of a request that no proxy sees."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=JUPYTER) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
