"""What is fuzzed: all that reads what people write, and what other programs answer (`answers`)."""

from __future__ import annotations

import importlib
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cli import audit, authenticators, edit, engine, ssh_config
from cli.keys import read_keys
from cli.project import Stack
from cli.trails import Trail
from cloudinit.guest.audit import chain
from infra.model.folder import load_folder
from infra.model.images import check_image
from infra.model.networks import check_cidr, collapse, is_world_open
from infra.model.problems import ProblemsError, RefusedError
from infra.model.retired import load_retired
from infra.model.settings import load_settings
from infra.model.ssh_keys import check_ssh_key
from infra.model.text import first_hidden
from infra.record import Record
from tests.fuzz import answers
from tests.fuzz.target import Target, encoded, told
from tests.support.documents import envelope, outputs
from tests.support.request_files import (
    ECDSA,
    IDS,
    KEY,
    PRIVATE_KEY,
    request_text,
    rfc4716,
    rsa_key,
    security_key,
)

sys.path.insert(0, str(Path(__file__).parents[2] / "cloudinit"))
_roster: Any = importlib.import_module("guest.roster.document")
_key: Any = importlib.import_module("guest.key.factor")
_events: Any = importlib.import_module("guest.audit.events")
_recorder: Any = importlib.import_module("guest.audit.recorder")
_GuestError: Any = importlib.import_module("guest.system").GuestError

_CASES = Path(__file__).parents[1] / "unit"


def _trail(data: bytes, _: Path) -> None:
    """What a machine in other hands sends as its record."""
    trail = Trail("lab", data.split(b"\n"))
    for record in audit._merged([trail]):
        for text in (audit._line(record), *map(audit._cell, record.values())):
            assert first_hidden(text) is None, "something unseen"
    for found in audit._breaks(trail)[1]:
        assert 0 < found.first <= found.last


def _auditd(data: bytes, _: Path) -> None:
    """Lines of auditd and of the door, on the machine."""
    reader, recorder = _events.Reader(), _recorder.Recorder({20001: "alice"}.get)
    for line in data.decode(errors="backslashreplace").split("\n"):
        reader.take(line)
        list(recorder.heard(1.0, 700, line))
    for event in reader.finished(set()):
        for record in recorder.seen(event):
            assert record["person"] == "alice"
            json.dumps(record)


def _request(data: bytes, place: Path) -> None:
    (place / "alice.yaml").write_bytes(data)
    try:
        (request,) = load_folder(place).people
    except ProblemsError as error:
        told(error)
        return
    for key in request.ssh_keys:
        assert _key.read({"ssh_keys": [key]}, "alice") == (key,)
    for network in collapse(request.allowed_from):
        assert _roster._networks([network]) == (network,)
    assert request.open_to_world or not is_world_open(request.allowed_from)


def _rotate(data: bytes, place: Path) -> None:
    file = place / "alice.yaml"
    file.write_bytes(data)
    try:
        request = edit.read(file)
        named = {**authenticators.named(request), "tablet": "cd" * 16}
        changes = {"enrollment": "ab" * 16, "end_sessions": True, "authenticators": named}
        text = edit.changed(request, changes)
    except ProblemsError as error:
        told(error)
        return
    assert edit.data(file, text) == {**request.data, **changes}


def _retired(data: bytes, place: Path) -> None:
    (place / "retired.yaml").write_bytes(data)
    try:
        load_retired(place)
    except ProblemsError as error:
        told(error)


def _settings(data: bytes, place: Path) -> None:
    (place / "stacks").mkdir(exist_ok=True)
    (place / "stacks" / "Pulumi.lab.yaml").write_bytes(data)
    try:
        values = Stack("lab", place).values()
        load_settings("lab", {key.removeprefix("secondlock:"): values[key] for key in values})
    except ProblemsError as error:
        told(error)


def _env(data: bytes, place: Path) -> None:
    stack = Stack("lab", place)
    stack.state.mkdir(parents=True, exist_ok=True)
    file = stack.state / "env"
    file.write_bytes(data)
    file.chmod(0o600)
    try:
        merged = engine.environment(stack, {"PATH": "/bin"})
    except ProblemsError as error:
        told(error)
        return
    assert all("\0" not in name + value for name, value in merged.items())


def _keys(data: bytes, place: Path) -> None:
    (place / "alice.pub").write_bytes(data)
    try:
        keys = read_keys(place / "alice.pub")
    except ProblemsError as error:
        told(error)
        return
    assert all(check_ssh_key(key) == key for key in keys)


def _texts(data: bytes, place: Path) -> None:
    """A key, a network, an image: each as text."""
    for check in (check_ssh_key, check_cidr, check_image):
        for text in (data.decode("utf-8", "surrogateescape"), data.decode("latin-1")):
            try:
                good = check(text)
            except RefusedError as error:
                told(error)
                continue
            assert first_hidden(good) is None


def _guest_roster(data: bytes, place: Path) -> None:
    try:
        found = _roster.parse(data)
    except _GuestError as error:
        told(error)
        return
    assert all(set(network) <= set("0123456789abcdef.:/") for network in found.allowed_from)
    for person in found.researchers.values():
        assert all("\n" not in key for key in person.parts.get("key", ()))


def _outputs(data: bytes, place: Path) -> None:
    """Whatever the state says, an entry of ssh_config has the lines that we wrote."""
    stack = Stack("lab", place)
    with patch.object(engine, "_run", lambda *_: data.decode("utf-8", "replace")):
        try:
            machines = engine.machines(stack)
        except ProblemsError as error:
            told(error)
        else:
            with suppress(ProblemsError):
                config = ssh_config._config(stack, machines, place / "known_hosts")
                people = sum(len(one.researchers) for one in machines.values())
                assert config.count("\nHost ") == 2 * people
                assert all(first_hidden(line) is None for line in config.split("\n"))
            assert ssh_config._known_hosts(stack, machines).count("\n") == len(machines)
        try:
            engine.enrollments(stack)
        except ProblemsError as error:
            told(error)


def _record(data: bytes, place: Path) -> None:
    try:
        found = Record.parse(data.decode("utf-8", "replace"))
    except ProblemsError as error:
        told(error)
        return
    assert Record.parse(str(found)) == found


def _files(folder: str, pattern: str) -> list[bytes]:
    return [file.read_bytes() for file in sorted((_CASES / folder).glob(pattern))]


_REQUESTS = [
    *encoded(
        request_text(),
        request_text(
            ssh_keys=f'\n  - "{KEY} büro"\n  - {ECDSA} work: laptop\n  - {security_key()}',
            allowed_from="[203.0.113.0/24, '2001:db8::/32', 2002:a00::/24]",
            factors="password+totp",
            machine="{cpus: 8, home_disk_gib: 100}",
            rebuild="3",
            end_sessions="false",
            until="2027-01-31",
            cost_centre="'4711'",
        ),
        request_text(machine="\n  instance_type: g5.xlarge\n  spot: true\n  zone: eu-west-1a"),
    ),
    *_files("requests_that_failed", "*/alice.yaml"),
]
_RETIRED = (
    "# kept\nretired:\n"
    f'  - {{enrollment: "{IDS[0]}", researcher: alice, reason: rotated, date: 2026-11-22}}\n'
    f'  - enrollment: "{IDS[1]}"\n    researcher: bob\n    reason: revoked\n    date: 2026-11-22\n'
)
_CONFIG = (
    "encryptionsalt: v1:abc\nconfig:\n  aws:region: eu-west-1\n  secondlock:target: aws\n"
    "  secondlock:zones: eu-west-1a,eu-west-1b\n  secondlock:onDestroy: delete\n"
    "  secondlock:baseImage: ami-0123456789abcdef0\n"
    "  secondlock:enrollmentSeed:\n    secure: v1:x\n"
    "  secondlock:costCentre: '4711'\n  secondlock:alertEmail: a@b.c\n  secondlock:bake: true\n"
    "  secondlock:vpcCidr: 10.1.0.0/16\n  secondlock:logRetentionDays: 90\n"
)
_ENV = "# of the demo\nexport PATH='/a b/bin':\"$PATH\"\nexport A=1\nexport B='2 3' # c\n"
_MACHINES = {
    "alice": outputs(Path("/nowhere"))["alice"],
    "bob": {
        **outputs(Path("/nowhere"))["alice"],
        "researchers": ["bob", "carol"],
        "target": "aws",
        "instance_id": "i-0123456789abcdef0",
        "region": "eu-west-1",
        "zone": "eu-west-1a",
        "log_group": "/secondlock/lab",
        "public": False,
        "directory": "",
    },
}
_ENROLLMENTS = {
    "alice": {
        "machine": "alice",
        "enrollment": IDS[0],
        "factors": "key+totp",
        "uri": "otpauth://totp/x?secret=AAAA",
        "emergency_codes": ["12345678"],
        "password": None,
    }
}

_RECORD = {
    "people": {"alice": [IDS[0], "alice"], "bob": [IDS[1], "lab"]},
    "data": {"alice": "local"},
    "retired": {IDS[2]: "carol"},
}

_AUDITD = """\
type=LOGIN msg=audit(1764258896.000:6): pid=700 uid=0 old-auid=4294967295 auid=20001 ses=7 res=1
type=SYSCALL msg=audit(1764258896.123:7): arch=c000003e syscall=59 success=yes exit=0 ppid=1 pid=2 \
auid=20001 uid=20001 ses=7 comm="curl" exe="/usr/bin/curl" subj=docker-default (enforce) key=(null)
type=EXECVE msg=audit(1764258896.123:7): argc=4 a0="curl" a1="-u" a2=6D653A78 a3_len=4 a3[0]=7878
Accepted publickey for alice from 192.0.2.7 port 5 ssh2: ED25519 SHA256:abc
code of alice from 192.0.2.7: wrong (30 wrong in a day, frozen)
Accepted passphrase+totp for alice from 192.0.2.7 by HTTPS
"""


def _sealed() -> list[bytes]:
    """A record of three, and one of them as JSON with blanks."""
    said = {"time": "2026-11-27T12:00:00.000Z", "kind": "login", "person": "alice", "what": "login"}
    head, lines = chain.Head(), []
    for number in range(3):
        line, head = chain.seal(head, {**said, "result": f"{number}", "address": "192.0.2.7"})
        lines.append(line)
    return encoded("\n".join(lines), json.dumps(json.loads(lines[0])))


TARGETS: dict[str, Target] = {
    "request": Target(_REQUESTS, _request),
    "rotate": Target(_REQUESTS, _rotate),
    "retired": Target(
        [*encoded(_RETIRED), *_files("requests_that_failed", "*/retired.yaml")], _retired
    ),
    "settings": Target(encoded(_CONFIG), _settings),
    "env": Target(encoded(_ENV), _env),
    "keys": Target(
        [
            *encoded(f"{KEY} alice\n{ECDSA}\n", PRIVATE_KEY),
            *encoded(rfc4716(rsa_key(3072)) + security_key()),
            *(f"{KEY} büro\r\n".encode(coding) for coding in ("utf-16", "utf-16-be", "utf-8-sig")),
        ],
        _keys,
    ),
    "texts": Target(
        encoded(KEY, rsa_key(3072), ECDSA, security_key(), "10.0.0.0/8", "2001:db8::/32", "::1/128",
               "registry.example:5000/a/b@sha256:" + "0a" * 32),
        _texts,
    ),
    "roster": Target(
        [*encoded(json.dumps(envelope()), json.dumps(envelope(), indent=1)),
         *_files("rosters_that_failed", "*.json")],
        _guest_roster,
    ),
    "outputs": Target(
        encoded(json.dumps({"machines": _MACHINES, "enrollments": _ENROLLMENTS}, indent=1)),
        _outputs,
    ),
    "trail": Target(_sealed(), _trail),
    "auditd": Target(encoded(_AUDITD), _auditd),
    "record": Target(encoded(json.dumps(_RECORD)), _record),
    **answers.TARGETS,
}  # fmt: skip
