"""One code a day: a certificate that stands in for it, here, for a while, and for nothing else."""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pexpect
import pytest

from cli.engine import Machine as Output
from cli.project import Stack
from cli.ssh_config import ssh_files
from tests.support.client import PROMPT, Client, Result, drive
from tests.support.people import make_key

if TYPE_CHECKING:
    from tests.support.client import Session
    from tests.support.machine import Machine
    from tests.support.people import Person

WORD = "secondlock-remember"
GRANTS = "/run/secondlock/grants"


@pytest.fixture
def person(machine: Machine) -> Person:
    """Someone whose code may stand for the next ones for an hour."""
    return _allowed(machine, machine.researcher())


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A key of today's."""
    make_key(tmp_path / "day")
    return tmp_path / "day"


def _allowed(machine: Machine, person: Person, hours: int = 1) -> Person:
    return machine.change(person, {"remember_hours": hours})


def _ask(client: Client, person: Person, key: Path, *options: str, **how: Any) -> Result:
    """Ask for a certificate for this key, by a login of its own, and keep what comes."""
    argv = [*client.argv(person, *options, key=how.pop("login_key", None)), WORD]
    answers = how.pop("answers", [person.code])
    result = drive(argv, answers, stdin=key.with_suffix(".pub"))
    key.with_name("day-cert.pub").write_bytes(result.data)
    return result


def _remembered(client: Client, person: Person, key: Path, name: str | None = None) -> bool:
    """Whether that lets them in without a question, also where none could be answered."""
    argv = client.argv(person, "-l", name or f"{person.name}.day", "-o", "BatchMode=yes", key=key)
    result = drive([argv[0], "-W", "127.0.0.1:22", *argv[1:]])
    assert result.prompts == ()
    assert result.entered != result.denied
    return result.entered


def _certificate(key: Path) -> str:
    """What stands in it."""
    argv = ["ssh-keygen", "-L", "-f", str(key.with_name("day-cert.pub"))]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def test_after_one_code_nothing_is_asked_while_the_certificate_lasts(
    machine: Machine, client: Client, person: Person, key: Path
) -> None:
    assert not _remembered(client, person, key)
    asked = _ask(client, person, key)
    assert len(asked.prompts) == 1
    assert "Remembered until" in asked.errors
    for _ in range(2):
        assert _remembered(client, person, key)
    argv = client.argv(person, "-l", f"{person.name}.day", "-o", "BatchMode=yes", key=key)
    # It is the same person, in their own workspace.
    assert drive([*argv, "id -un; pwd"]).output.split() == [person.name, f"/home/{person.name}"]
    shown = _certificate(key)
    assert f'Key ID: "{person.name} on ' in shown
    assert "source-address 127.0.0.0/8,10.0.2.2/32" in shown
    assert "permit-agent-forwarding" not in shown
    status = machine.person_status(person)
    assert status["remembered_until"] > time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    assert status["last_login"] is not None


def test_it_opens_nothing_else_and_nothing_else_opens_it(
    machine: Machine, client: Client, person: Person, key: Path, tmp_path: Path
) -> None:
    other = _allowed(machine, machine.researcher())
    _ask(client, person, key)
    # Not somebody else's account, nor the everyday one.
    assert not _remembered(client, other, key)
    assert not _remembered(client, person, key, name=person.name)
    # Nor the everyday key, nor what another machine has signed.
    assert not _remembered(client, person, person.key)
    make_key(tmp_path / "ca")
    certificate = _certificate(key)
    principal = certificate.split("Principals:")[1].split()[0]
    stolen = tmp_path / "elsewhere"
    stolen.mkdir()
    make_key(stolen / "day")
    argv = ["ssh-keygen", "-q", "-s", str(tmp_path / "ca"), "-I", "x", "-n", principal, "-V", "+1h"]
    subprocess.run([*argv, str(stolen / "day.pub")], check=True)
    assert not _remembered(client, person, stolen / "day")
    # A certificate renews none, and none is given for an everyday key.
    renewed = _ask(client, person, key, "-l", f"{person.name}.day", answers=[], login_key=key)
    assert renewed.exit != 0
    assert renewed.data == b""


def test_only_a_code_of_this_connection_counts_and_its_time_is_the_codes(
    machine: Machine, client: Client, key: Path
) -> None:
    plain = machine.researcher()
    public = key.with_suffix(".pub").read_bytes()

    def refused(session: Session, why: str, what: bytes = public) -> None:
        result = session.run(WORD, stdin=what)
        assert (result.exit, result.output) == (1, "")
        assert why in result.errors

    with client.session(plain) as session:
        refused(session, "nobody may be remembered here")
        person = _allowed(machine, plain)
        refused(session, "opened without a code")
    with client.session(person, code=person.emergency_codes[0]) as session:
        refused(session, "no ssh-ed25519 public key", b"")
        refused(session, "no ssh-ed25519 public key", b"ssh-rsa AAAA")
        refused(session, "that is an everyday key", person.key.with_suffix(".pub").read_bytes())
        # As if the code had been typed an hour ago, less some seconds.
        (grant,) = [
            each
            for each in machine.succeed(f"grep -ls {person.name} {GRANTS}/*; true").split()
            if json.loads(machine.succeed(f"cat {each}"))["name"] == person.name
        ]
        at = int(machine.succeed("date +%s")) - 3600 + 12
        machine.succeed(f'sed -i \'s/"at": [0-9.]*/"at": {at}/\' {grant}')
        result = session.run(WORD, stdin=public)
        key.with_name("day-cert.pub").write_bytes(result.data)
        assert _remembered(client, person, key)
        time.sleep(14)
        assert not _remembered(client, person, key)
        refused(session, "too old")
    assert machine.person_status(person)["remembered_until"] is None
    assert machine.status()["bans"] == []


def test_it_ends_with_what_it_rests_on(machine: Machine, client: Client, tmp_path: Path) -> None:
    ends: dict[str, dict[str, Any]] = {
        "rotated": {"enrollment": secrets.token_hex(16)},
        "not allowed any more": {"remember_hours": 0},
        "the phone is lost": {"authenticators": {"tablet": secrets.token_hex(16)}},
        "the emergency codes were seen": {"emergency_codes": secrets.token_hex(16)},
        "the key is replaced": {},
        "less of the network": {"allowed_from": ("127.0.0.0/16",)},
        "revoked": {},
    }
    requests = machine.lab.requests
    people = {why: machine.researcher() for why in ends}
    for person in people.values():
        allowed = person.request.model_copy(update={"remember_hours": 1})
        requests[person.name] = allowed
    machine.apply()
    keys = {why: tmp_path / why.replace(" ", "-") / "day" for why in ends}
    for why, person in people.items():
        keys[why].parent.mkdir()
        make_key(keys[why])
        _ask(client, person, keys[why])
        assert _remembered(client, person, keys[why])
    ends["the key is replaced"] = {"ssh_keys": (_another(people["the key is replaced"]),)}
    for why, update in ends.items():
        name = people[why].name
        requests[name] = requests[name].model_copy(update=update)
    machine.revoke(people["revoked"])
    still = [why for why, person in people.items() if _remembered(client, person, keys[why])]
    assert still == []


def _another(person: Person) -> str:
    return make_key(person.key.with_name(f"{person.name}-another"))


def test_more_of_what_it_rests_on_ends_nothing(
    machine: Machine, client: Client, person: Person, key: Path
) -> None:
    _ask(client, person, key)
    phone = {"phone": person.request.enrollment, "tablet": secrets.token_hex(16)}
    keys = (*person.request.ssh_keys, _another(person))
    machine.change(person, {"remember_hours": 2, "authenticators": phone, "ssh_keys": keys})
    assert _remembered(client, person, key)


def test_a_freeze_ends_it(machine: Machine, client: Client, person: Person, key: Path) -> None:
    _ask(client, person, key)
    spent = f"/var/lib/secondlock/spent/{person.name}.json"
    slate = json.loads(machine.succeed(f"cat {spent}"))
    slate["wrong"] = [time.time()] * 29
    machine.succeed(f"cat >{spent}", stdin=json.dumps(slate).encode())
    assert client.login(person, code=person.wrong_code()).denied
    assert machine.person_status(person)["frozen"]
    assert not _remembered(client, person, key)
    machine.apply()
    assert not _remembered(client, person, key)


def test_ending_sessions_ends_those_of_a_certificate_too(
    machine: Machine, client: Client, person: Person, key: Path
) -> None:
    _ask(client, person, key)
    argv = client.argv(person, "-l", f"{person.name}.day", "-o", "BatchMode=yes", key=key)
    with subprocess.Popen([*argv, "echo in; sleep 1000"], stdout=subprocess.PIPE) as session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"in\n"
        machine.rotate(person, end_sessions=True)
        assert session.wait(60) != 0
    machine.fail(f"pgrep -u {person.name}")
    assert not _remembered(client, person, key)


def test_one_command_of_stock_ssh_does_it(
    machine: Machine, client: Client, person: Person, tmp_path: Path
) -> None:
    stack = Stack("lab", tmp_path / "a project")
    (stack.state / "day").mkdir(parents=True, mode=0o700)
    output = Output(
        address=client.address,
        port=client.port,
        host_key=client.known_hosts.read_text().split(" ", 1)[1].strip(),
        running=True,
        serial=1,
        researchers=(person.name,),
        target="local",
        remember={person.name: 1},
    )
    for path, text in ssh_files(stack, {person.name: output}).items():
        path.write_text(text)
    host = f"{person.name}.lab"
    own = ["-o", f"IdentityFile={person.key}", "-o", "IdentityAgent=none"]
    config = stack.state / "ssh_config"
    # The key is the demo's on a person's own computer: here it is named in the file.
    config.write_text(config.read_text().replace("  ForwardAgent no\n", f"{_identity(person)}"))
    argv = ["ssh", "-F", str(config)]
    with pexpect.spawn(argv[0], [*argv[1:], f"{host}.remember"], timeout=90) as child:
        child.expect(PROMPT.encode())
        child.sendline(person.code())
        child.expect(b"Remembered until")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0
    quiet = [*argv, "-o", "BatchMode=yes", "-o", "ControlPath=none", host, "id -un"]
    assert drive(quiet).output == person.name
    # A wrong code leaves nothing of before, and the next login is asked as ever.
    wrong = drive([*argv, f"{host}.remember"], [person.wrong_code()] * 3)
    assert (wrong.exit, len(wrong.prompts)) == (255, 3)
    asked = drive([*argv, *own, "-o", "ControlPath=none", host, "id -un"], [lambda: person.code(1)])
    assert (asked.output, len(asked.prompts)) == (person.name, 1)


def _identity(person: Person) -> str:
    return f"  ForwardAgent no\n  IdentityFile {person.key}\n  IdentityAgent none\n"
