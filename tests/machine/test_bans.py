"""Addresses: who is banned, for how long, and who may knock at all.

QEMU's user-mode network shows the machine one address for all clients, so this one has a tap
device, in a network namespace of its own where clients have several.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.machine import Machine, Network
from tests.support.people import make_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.client import Result
    from tests.support.people import Person

GUEST = "10.77.0.100"
HOME, CAFE, INN, ABROAD = "10.77.0.2", "10.77.0.3", "10.77.0.4", "10.77.0.200"
ALLOWED = "10.77.0.0/25"
BAN = 30  # seconds, in place of the product's ten minutes
SHUT = ("Connection refused", "Connection timed out", "Operation timed out")


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    """A network namespace with a tap device and the clients' addresses on it."""
    if os.geteuid() != 0 or not Path("/dev/net/tun").exists():
        pytest.skip("a tap device in a network namespace needs root and /dev/net/tun")
    name = f"secondlock-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=30)
    try:
        steps = [["link", "set", "lo", "up"], ["tuntap", "add", "tap0", "mode", "tap"]]
        steps += [
            ["addr", "add", f"{each}/24", "dev", "tap0"] for each in (HOME, CAFE, INN, ABROAD)
        ]
        for step in [*steps, ["link", "set", "tap0", "up"]]:
            subprocess.run(["ip", "-n", name, *step], check=True, timeout=30)
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True, timeout=30)


@pytest.fixture(scope="module")
def tapped(
    image: None, namespace: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    """A machine on that tap device."""
    interface = {"addresses": [f"{GUEST}/24"], "dhcp4": False}
    network = Network(
        netdev="tap,id=net0,ifname=tap0,script=no,downscript=no",
        launcher=("ip", "netns", "exec", namespace),
        config={"version": 2, "ethernets": {"eth0": interface}},
        address=GUEST,
        allowed_from=(ALLOWED,),
    )
    machine = Machine(tmp_path_factory.mktemp("tapped"), network)
    try:
        machine.boot()
        machine.enlist("key+totp", 9)
        machine.enlist("password+totp", 1)
        machine.apply()
        machine.lift_bans(5)
        machine.succeed(f"fail2ban-client set sshd bantime {BAN}")
        yield machine
    finally:
        machine.end()


def _login(machine: Machine, person: Person, source: str, *options: str, **how: Any) -> Result:
    # The first value of an option counts (ssh_config(5)).
    own = [*options, "-o", f"BindAddress={source}"]
    return machine.client.login(person, options=own, **how)


def _is_shut(machine: Machine, person: Person, source: str) -> bool:
    """Whether no connection is made; what is dropped without an answer is not waited for long."""
    result = _login(machine, person, source, "-o", "ConnectTimeout=15")
    return result.exit != 0 and any(word in result.errors for word in SHUT)


def _wait_banned(machine: Machine, source: str) -> None:
    machine.wait_for(f"fail2ban-client get sshd banip | grep -wF {source}", timeout=30)
    # Its first ban makes its firewall table first.
    machine.wait_for(f"nft list table inet f2b-table | grep -wF {source}", timeout=30)


def _is_banned(machine: Machine, source: str) -> bool:
    return machine.run(f"fail2ban-client get sshd banip | grep -wF {source}")[0] == 0


def _wait_forgiven(machine: Machine, source: str) -> None:
    machine.wait_for(f"! fail2ban-client get sshd banip | grep -wF {source}", timeout=120)


def test_an_address_without_a_key_is_banned_for_a_while_and_no_other(tapped: Machine) -> None:
    person, colleague, inside = (tapped.researcher() for _ in range(3))
    with tapped.client.session(inside, "-o", f"BindAddress={CAFE}") as session:
        for _ in range(5):
            assert _login(tapped, person, CAFE, "-o", "PubkeyAuthentication=no").denied
        _wait_banned(tapped, CAFE)
        assert _is_shut(tapped, person, CAFE)
        assert tapped.status()["bans"] == [CAFE]
        assert _login(tapped, colleague, HOME).entered
        # Who was inside before, behind the same address, works on.
        assert session.is_open()
        assert session.run("true", timeout=300).exit == 0
    _wait_forgiven(tapped, CAFE)
    assert _login(tapped, person, CAFE).entered


def test_a_browser_at_the_port_bans_nobody(tapped: Machine) -> None:
    person = tapped.researcher()
    script = (
        f"for n in 1 2 3 4 5 6; do printf 'GET / HTTP/1.1\\r\\n\\r\\n' >/dev/tcp/{GUEST}/22; done"
    )
    subprocess.run([*tapped.client.prefix, "bash", "-c", script], check=True, timeout=120)
    counted = "grep -qE 'Total failed:[[:space:]]+([6-9]|[1-9][0-9])'"
    tapped.wait_for(f"fail2ban-client status sshd-flood | {counted}")
    assert HOME not in tapped.status()["bans"]
    assert _login(tapped, person, HOME).entered


def test_who_says_nothing_shuts_nobody_out_and_is_banned_for_it(tapped: Machine) -> None:
    person = tapped.researcher()
    # A third of the product's number: an emulated machine takes a second or two for each greeting.
    tapped.succeed("fail2ban-client set sshd-flood maxretry 13")
    try:
        with _silent(tapped, CAFE, 15), _silent(tapped, INN, 15):
            assert _login(tapped, person, HOME, "-o", "ConnectTimeout=90").entered
            for source in (CAFE, INN):
                banned = f"fail2ban-client get sshd-flood banip | grep -wF {source}"
                tapped.wait_for(banned, timeout=180)
        assert HOME not in tapped.status()["bans"]
        assert _login(tapped, person, HOME, code=lambda: person.code(1)).entered
    finally:
        tapped.lift_bans(5)


@contextmanager
def _silent(machine: Machine, source: str, count: int) -> Iterator[None]:
    """So many connections from an address, on which nothing is ever said."""
    script = (
        "import socket, sys\n"
        f"there = ('{GUEST}', 22)\n"
        f"held = [socket.create_connection(there, 30, ('{source}', 0)) for _ in range({count})]\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    argv = [*machine.client.prefix, sys.executable, "-c", script]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as held:
        assert held.stdout is not None
        assert held.stdout.readline() == "held\n"
        yield
        held.communicate("")


def test_guessing_passwords_is_banned_whatever_comes_between(tapped: Machine) -> None:
    person, accomplice = tapped.researcher("password+totp"), tapped.researcher()
    with tapped.client.session(accomplice, "-o", f"BindAddress={CAFE}"):
        for wrong in range(5):
            assert _login(tapped, person, CAFE, answers=["not-the-password"]).denied
            # Nor does what is no guess make up for one, or somebody's own login.
            assert _login(tapped, person, CAFE, "-o", "BatchMode=yes").denied or wrong == 4
    _wait_banned(tapped, CAFE)
    assert _is_shut(tapped, person, CAFE)
    _wait_forgiven(tapped, CAFE)
    assert _login(tapped, person, CAFE).entered


def test_to_name_a_right_key_hides_no_wrong_one(tapped: Machine, tmp_path: Path) -> None:
    """Public halves are no secret: they stand in the requests."""
    person = tapped.researcher()
    make_key(tmp_path / "wrong")
    half = tmp_path / "half.pub"
    half.write_text(person.key.with_suffix(".pub").read_text())
    named = _login(tapped, person, INN, "-o", "BatchMode=yes", key=half)
    assert named.denied
    for order in ([tmp_path / "wrong", half], [half, tmp_path / "wrong"]) * 2:
        options = ["-i", str(order[0]), "-o", "BatchMode=yes"]
        assert _login(tapped, person, INN, *options, key=order[1]).denied
    # Four and one that was no guess; the fifth is one too many.
    assert not _is_banned(tapped, INN)
    assert _login(tapped, person, INN, "-o", "BatchMode=yes", key=tmp_path / "wrong").denied
    _wait_banned(tapped, INN)


def test_an_address_outside_allowed_from_reaches_nothing(tapped: Machine) -> None:
    person = tapped.researcher()
    assert _is_shut(tapped, person, ABROAD)
    assert _login(tapped, person, HOME).entered


def test_a_changed_allowed_from_holds_at_once(tapped: Machine) -> None:
    person = tapped.researcher()
    for name, request in tapped.lab.requests.items():
        update = {"allowed_from": (f"{ABROAD}/32",)}
        tapped.lab.requests[name] = request.model_copy(update=update)
    tapped.apply()
    assert _is_shut(tapped, person, HOME)
    assert _login(tapped, person, ABROAD).entered
