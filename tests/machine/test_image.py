"""An image that a request names by its digest: fetched from a real registry, entered like ours.

The stock image in that registry has a shell and little else: what a login needs comes from the
machine.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pexpect
import pytest

from cloudinit.boot import render_user_data
from infra.enrollment import fingerprint
from tests.support.client import PATIENCE
from tests.support.machine import STACK
from tests.support.plans import make_plan
from tests.support.registry import Registry, running_registry, stock_layer
from tests.support.user_data import read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.client import Client, Result, Session
    from tests.support.machine import Machine
    from tests.support.people import Person

# Where the registry is for the machine: Docker speaks plain HTTP only with a loopback address.
PORT = 5000
FIRST = 300  # seconds for a first login, which fetches and unpacks the image
SERVICE = "secondlock-image.service"
CANNOT = 70  # sysexits.h, EX_SOFTWARE


@pytest.fixture(scope="module")
def registry(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry on this computer, which the machine finds on a port of its own loopback."""
    with running_registry(tmp_path_factory.mktemp("registry")) as registry:
        machine.succeed(
            f"systemd-run --quiet --unit=registry --socket-property=ListenStream=127.0.0.1:{PORT} "
            f"/usr/lib/systemd/systemd-socket-proxyd 10.0.2.2:{registry.port}"
        )
        try:
            yield registry
        finally:
            machine.succeed("systemctl stop registry.socket")
            machine.run("systemctl stop registry.service")  # there is none before the first use


@pytest.fixture(scope="module")
def stock(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The stock image, by its digest."""
    layer = tmp_path_factory.mktemp("stock") / "layer.tar"
    stock_layer(layer)
    return f"127.0.0.1:{PORT}/lab/stock@{registry.push('lab/stock', layer)}"


@contextmanager
def asked_for(machine: Machine, image: str, place: Path) -> Iterator[Person]:
    """Someone whose request names `image`, on the machine as it would have been made for them."""
    person = machine.researcher()
    values = "/etc/secondlock/machine.json"
    before = machine.succeed(f"cat {values}")
    machine.succeed(f"cat >{values}", stdin=_machine_values(person, image, place).encode())
    try:
        yield person
    finally:
        machine.succeed(f"cat >{values} && rm -f /run/secondlock/image", stdin=before.encode())


def _machine_values(person: Person, image: str, place: Path) -> str:
    """The file that tells the machine of its image, from the plan of a stack with that request."""
    request = person.request.model_copy(update={"tensorflow_image": image})
    place.joinpath(f"{person.name}.yaml").write_text(request.model_dump_json(exclude_none=True))
    seed = secrets.token_hex(32)
    plan = make_plan(STACK, place, {"seedFingerprint": fingerprint(seed)}, seed)
    return json.dumps(read(render_user_data(plan.machines[0].values)).known)


# A stock image


@pytest.fixture(scope="module")
def person(
    machine: Machine, stock: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Person]:
    """Whoever asked for the stock image; it is not on the machine yet."""
    with asked_for(machine, stock, tmp_path_factory.mktemp("requests")) as person:
        yield person


@pytest.fixture(scope="module")
def first(machine: Machine, person: Person) -> Result:
    """Their first login, which has to wait for the image."""
    return machine.client.login(person, "echo data; id -un", timeout=FIRST)


@pytest.fixture(scope="module")
def inside(machine: Machine, first: Result, person: Person) -> Iterator[Session]:
    """Another login of theirs, with many commands in it."""
    with machine.client.session(person, code=person.emergency_codes[0]) as session:
        yield session


def test_the_first_login_says_that_it_fetches_the_image_and_then_works(
    first: Result, person: Person, stock: str
) -> None:
    assert (first.exit, first.output.split()) == (0, ["data", person.name]), first
    assert f"fetching your workspace's image, once: {stock}" in first.errors


def test_it_is_that_image_and_has_none_of_what_logins_need(
    machine: Machine, first: Result, person: Person, stock: str
) -> None:
    used = machine.succeed(f"docker inspect -f '{{{{.Config.Image}}}}' workspace-{person.name}")
    assert used.strip() == stock
    programs = (
        "/usr/bin/rsync /usr/bin/scp /usr/lib/openssh/ssh-keysign /usr/bin/tmux /usr/bin/python3"
    )
    machine.fail(f"docker exec workspace-{person.name} ls {programs} 2>/dev/null | grep .")


def test_files_come_and_go_by_scp_sftp_and_rsync(
    client: Client, inside: Session, person: Person, tmp_path: Path
) -> None:
    ours, host = tmp_path / "ours", f"{person.name}@{client.address}"
    ours.write_bytes(os.urandom(100_000))
    options = ["-o", f"ControlPath={inside.control}", *client.options(person.key)]
    shell = " ".join(["ssh", *options])
    for argv in (
        ["scp", *options, str(ours), f"{host}:by-scp"],
        # As clients before OpenSSH 9 do it.
        ["scp", "-O", *options, f"{host}:by-scp", str(tmp_path / "by-old-scp")],
        ["rsync", "-e", shell, f"{host}:by-scp", str(tmp_path / "by-rsync")],
        ["rsync", "-e", shell, str(ours), f"{host}:by-rsync"],
        ["sftp", *options, f"{host}:by-rsync", str(tmp_path / "by-sftp")],
    ):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, (argv, done.stderr)
    for name in ("by-old-scp", "by-rsync", "by-sftp"):
        assert (tmp_path / name).read_bytes() == ours.read_bytes(), name


def test_a_terminal_has_a_login_shell_and_tmux(
    machine: Machine, client: Client, first: Result, person: Person
) -> None:
    with client.terminal(person, code=person.emergency_codes[1], size=(24, 80)) as terminal:
        terminal.sendline("shopt -q login_shell && echo a login sh''ell")
        terminal.expect("a login shell")
        terminal.sendline("tmux new-session -d 'sleep 4004' && tmux list-sessions; exit 5")
        terminal.expect("1 windows")
        terminal.expect(pexpect.EOF)
        terminal.close()
        assert terminal.exitstatus == 5
    machine.succeed(f"pgrep -x -u {person.name} -f 'sleep 4004'")


def test_jupyter_says_that_the_image_has_none(inside: Session) -> None:
    result = inside.run("secondlock-jupyter")
    assert result.exit == 1
    assert "has no Jupyter" in result.errors
    assert "pip install --user jupyterlab" in result.errors


def test_pip_leaves_what_the_images_tensorflow_needs(machine: Machine, inside: Session) -> None:
    """Its stand-in for Python says what it was asked; what one answers is for tests/unit."""
    settings = inside.succeed("cat /usr/pip.conf")
    assert inside.succeed("cat /usr/local/pip.conf") == settings
    (place,) = re.findall("constraint = (.*)", settings)
    tools = "/usr/local/share/secondlock/workspace"
    assert inside.succeed(f"cat {place}") == f"-I {tools}/constraints.py"


def test_the_tools_are_roots_and_nothing_in_them_is_setuid(
    machine: Machine, inside: Session
) -> None:
    tools = "/usr/local/share/secondlock/workspace"
    wrong = "! -type l \\( -perm /7022 -o ! -uid 0 \\) -print"
    assert machine.succeed(f"find {tools} {wrong}; getcap -r {tools}") == ""
    assert "Read-only file system" in inside.run(f"echo x >{tools}/x").errors


# How the image comes


@pytest.mark.long
def test_it_comes_before_anybody_logs_in(
    machine: Machine, registry: Registry, stock: str, tmp_path: Path
) -> None:
    with asked_for(machine, stock, tmp_path):
        machine.run(f"docker rm -f $(docker ps -aq --filter ancestor={stock}); docker rmi {stock}")
        machine.fail(f"docker image inspect {stock}")
        machine.succeed(f"systemctl start {SERVICE}")  # as at every boot
        machine.wait_for(f"docker image inspect {stock}", timeout=FIRST)
        machine.wait_for(f"! systemctl is-active {SERVICE}")
        machine.fail("test -e /run/secondlock/image")


@pytest.mark.long
def test_a_terminal_shows_how_far_it_is(
    machine: Machine, client: Client, registry: Registry, stock: str, tmp_path: Path
) -> None:
    with asked_for(machine, stock, tmp_path) as person:
        machine.run(f"docker rm -f $(docker ps -aq --filter ancestor={stock}); docker rmi {stock}")
        with client.terminal(person, size=(24, 120)) as terminal:
            terminal.expect("fetching your workspace's image")
            terminal.expect("Pull complete", timeout=FIRST)
            terminal.sendline("exit 5")
            terminal.expect(pexpect.EOF, timeout=PATIENCE)
            terminal.close()
            assert terminal.exitstatus == 5


# What goes wrong


def test_an_unreachable_registry_is_told_at_the_login_and_by_the_status(
    machine: Machine, client: Client, tmp_path: Path
) -> None:
    nowhere = f"127.0.0.1:9/lab/stock@sha256:{'0' * 64}"
    with asked_for(machine, nowhere, tmp_path) as person:
        result = client.login(person, "true", timeout=FIRST)
        status = machine.person_status(person)["workspace"]
    assert (result.exit, result.data) == (CANNOT, b"")
    for words in (f"{nowhere} cannot be fetched", "connection refused", "To mend it:"):
        assert words in result.errors
    assert "Traceback" not in result.errors
    assert status.startswith("none: ")
    assert "connection refused" in status


def test_an_image_that_the_registry_does_not_have_is_told_too(
    machine: Machine, client: Client, registry: Registry, tmp_path: Path
) -> None:
    unknown = f"127.0.0.1:{PORT}/lab/stock@sha256:{'0' * 64}"
    with asked_for(machine, unknown, tmp_path) as person:
        result = client.login(person, "true", timeout=FIRST)
    assert (result.exit, result.data) == (CANNOT, b"")
    assert f"{unknown} cannot be fetched" in result.errors
    assert "not found" in result.errors or "manifest unknown" in result.errors


def test_someone_who_does_not_wait_for_the_image_sees_no_traceback(
    machine: Machine, client: Client, tmp_path: Path
) -> None:
    hung = f"10.0.2.200:5000/lab/stock@sha256:{'0' * 64}"  # nobody answers there
    with (
        asked_for(machine, hung, tmp_path) as person,
        client.terminal(person, size=(24, 120)) as terminal,
    ):
        terminal.expect("fetching your workspace's image")
        terminal.sendintr()
        terminal.expect(pexpect.EOF, timeout=PATIENCE)
        assert "Traceback" not in terminal.before
