"""What the HTTPS door's helper does for the hub, and for nobody else; what a roster says of it."""

from __future__ import annotations

import importlib
import json
import os
import socket
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import date
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from infra import web
from tests.support.documents import SEED, document, envelope
from tests.support.gateway import (
    Person,
    asked,
    codes,
    door,
    gates,
    helper,
    lay_out,
    oidc,
    passphrases,
    places,
)

if TYPE_CHECKING:
    from pathlib import Path

parse: Any = importlib.import_module("guest.roster.document").parse
GuestError: Any = importlib.import_module("guest.system").GuestError
login: Any = importlib.import_module("guest.gateway.login")
tickets: Any = importlib.import_module("guest.gateway.tickets")
sign: Any = importlib.import_module("guest.closing.sign")
TOLD = {"token": "t", "client": "c", "hub": "https://h", "callback": "https://a.h/user/alice/c"}


@pytest.fixture(autouse=True)
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """A machine's folders; what systemd was asked for."""
    lay_out(tmp_path, monkeypatch)
    found: list[tuple[str, ...]] = []

    def run(*argv: str, check: bool = True) -> str:
        found.append(argv)
        return ""

    monkeypatch.setattr(gates, "run", run)
    return found


@pytest.fixture
def alice() -> Person:
    person = Person("alice")
    person.bind()
    return person


def ask(what: str, user: object = "alice", **more: object) -> dict[str, Any]:
    found: dict[str, Any] = helper.answer(json.dumps({"ask": what, "user": user, **more}).encode())
    return found


def log_in(person: Person, **other: str) -> dict[str, Any]:
    said = {"passphrase": person.passphrase, "code": person.code(), "address": "192.0.2.1"}
    return ask("log in", person.name, **{**said, **other})


def test_a_hub_opens_nothing_of_who_is_not_in(alice: Person, ran: list[tuple[str, ...]]) -> None:
    Person("bob").bind()
    ticket = log_in(alice)["ticket"]
    for user, shown in (("bob", ticket), ("alice", "0" * 64), ("alice", "")):
        assert ask("open", user, ticket=shown, told=TOLD) == {
            "ok": False,
            "words": "Log in again.",
        }
        assert ask("holds", user, ticket=shown) == {"ok": False}
    assert ran == []
    assert ask("open", ticket=ticket, told=TOLD) == {"ok": True}
    assert ran == [("systemctl", "restart", "secondlock-gate@alice.service")]
    told = json.loads((places.GATES / "alice").read_text())
    assert told == {**TOLD, "networks": [*alice.networks]}


@pytest.mark.parametrize(
    "question",
    [
        {"ask": "open", "user": "../../etc/passwd", "ticket": "x", "told": TOLD},
        {"ask": "open", "user": "alice;reboot", "ticket": "x", "told": TOLD},
        {"ask": "shut", "user": "-H root@elsewhere"},
        {"ask": "shut", "user": ["alice"]},
        {"ask": "run", "user": "alice"},
        {"ask": "holds", "user": "alice", "ticket": 7},
        {"ask": "log in", "user": "alice"},
        {"user": "alice"},
        [],
        "x",
        None,
    ],
)
def test_what_is_no_question_does_nothing(question: object, ran: list[tuple[str, ...]]) -> None:
    assert helper.answer(json.dumps(question).encode())["ok"] is False
    assert helper.answer(b"\xff{")["ok"] is False
    assert ran == []


@pytest.mark.parametrize(
    "told",
    [
        {**TOLD, "PATH": "/tmp"},
        {"token": "t"},
        {**TOLD, "hub": 7},
        {**TOLD, "hub": "x" * 600},
        None,
        "x",
    ],
)
def test_a_gate_is_told_what_it_needs_and_nothing_else(
    alice: Person, told: object, ran: list[tuple[str, ...]]
) -> None:
    assert ask("open", ticket=log_in(alice)["ticket"], told=told)["ok"] is False
    assert ran == []


def test_nobody_but_the_hub_is_answered(tmp_path: Path, alice: Person) -> None:
    place = str(tmp_path / "helper.sock")
    for allowed, answers in ((os.getuid(), True), (os.getuid() + 1, False)):
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(place)
        listening.listen()
        serve = threading.Thread(target=_serve_one, args=(listening, allowed))
        serve.start()
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(place)
            try:
                asking.sendall(json.dumps({"ask": "is open", "user": "alice"}).encode() + b"\n")
                said = asking.recv(1000)
            except ConnectionError:
                said = b""
        assert bool(said) is answers
        serve.join()
        listening.close()
        (tmp_path / "helper.sock").unlink()


def _serve_one(listening: socket.socket, allowed: int) -> None:
    helper.serve(listening.accept()[0], allowed)


def test_a_code_is_looked_at_behind_a_right_passphrase_alone(alice: Person) -> None:
    code = alice.code()
    refused = {"ok": False, "ticket": None, "words": login.WRONG}
    for wrong in ({"passphrase": "x"}, {"passphrase": ""}, {"passphrase": "x", "code": "000000"}):
        assert log_in(alice, **{"code": code, **wrong}) == refused
    bob = Person("bob")
    assert log_in(bob, code=code, passphrase=alice.passphrase) == refused
    slate = codes.slate("alice", codes.issued("alice"))
    assert (slate["uses"], slate["wrong"]) == (0, [])
    assert log_in(alice, code=code)["ok"]
    assert "used already" in log_in(alice, code=code)["words"]
    assert log_in(alice, code=alice.wrong()) == refused
    assert len(codes.slate("alice", codes.issued("alice"))["wrong"]) == 1


def test_the_thirtieth_wrong_code_freezes_whichever_doors_they_came_by(alice: Person) -> None:
    ticket = log_in(alice)["ticket"]
    with codes.locked("alice"):  # by SSH
        slate = codes.slate("alice", codes.issued("alice"))
        codes.keep("alice", slate | {"wrong": [time.time()] * (codes.LIMIT - 1)})
    assert ask("holds", ticket=ticket)["ok"]
    assert log_in(alice, code=alice.wrong())["ok"] is False
    assert not ask("holds", ticket=ticket)["ok"]
    assert "Too many wrong codes" in log_in(alice, code=alice.issued["emergency"][0])["words"]


def test_a_closed_machine_lets_nobody_in_nor_stay(
    alice: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign, "NOLOGIN", tmp_path / "nologin")
    code = alice.code()
    ticket = log_in(alice, code=code)["ticket"]
    (tmp_path / "nologin").write_text("This machine is closed since noon.\n")
    said = log_in(alice, code=alice.issued["emergency"][0])
    assert (said["ok"], said["words"]) == (False, "This machine is closed since noon.")
    assert not ask("holds", ticket=ticket)["ok"]
    (tmp_path / "nologin").unlink()
    assert ask("holds", ticket=ticket)["ok"]


def test_an_old_passphrase_opens_nothing_with_a_new_phone(alice: Person) -> None:
    """Nor where a crash left the two of different enrollments."""
    ticket, new = log_in(alice)["ticket"], Person("alice")
    codes.enroll("alice", new.issued)
    assert log_in(alice, code=new.code())["words"] == login.WRONG
    assert not ask("holds", ticket=ticket)["ok"]


def test_a_ticket_is_over_with_what_it_stands_for(alice: Person) -> None:
    ticket = log_in(alice)["ticket"]
    assert ask("holds", ticket=ticket)["ok"]
    with codes.locked("alice"):
        slate = codes.slate("alice", codes.issued("alice"))
        codes.keep("alice", slate | {"frozen": True})
    assert not ask("holds", ticket=ticket)["ok"]
    with codes.locked("alice"):
        codes.keep("alice", slate)
    assert ask("holds", ticket=ticket)["ok"]
    passphrases.forget("alice")
    assert not ask("holds", ticket=ticket)["ok"]


def test_a_ticket_is_over_with_the_phone_that_gave_it(alice: Person) -> None:
    tickets_of = [
        log_in(alice)["ticket"],
        log_in(alice, code=alice.issued["emergency"][0])["ticket"],
    ]
    tablet = {"tablet": ["a" * 32, "b" * 40]}
    codes.enroll("alice", {**alice.issued, "others": tablet})
    assert all(ask("holds", ticket=each)["ok"] for each in tickets_of)
    alice.give_phone_back()
    # The hub asks with one of a person's tickets, whichever browser comes.
    assert not any(ask("holds", ticket=each)["ok"] for each in tickets_of)
    new = log_in(alice, code=alice.issued["emergency"][1])["ticket"]
    assert [ask("holds", ticket=each)["ok"] for each in (*tickets_of, new)] == [False, False, True]


def test_who_may_come_from_other_networks_is_out_until_they_log_in(alice: Person) -> None:
    ticket = log_in(alice)["ticket"]
    alice.bind()
    assert ask("holds", ticket=ticket)["ok"]
    alice.networks = ("198.51.100.0/24",)
    alice.bind()
    assert not ask("holds", ticket=ticket)["ok"]
    code = alice.issued["emergency"][0]
    for address in ("192.0.2.1", "none", ""):
        refused = log_in(alice, code=code, address=address)
        assert (refused["ok"], refused["words"]) == (False, login.ELSEWHERE)
    assert log_in(alice, code=code, address="198.51.100.7")["ok"]


def test_on_the_target_local_everybody_comes_by_qemus_gateway(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    door.paths.MACHINE.write_text(json.dumps({"target": "local"}))
    alice.bind()
    assert log_in(alice, address="10.0.2.2")["ok"]


def test_who_leaves_has_no_ticket_any_more(alice: Person, ran: list[tuple[str, ...]]) -> None:
    first = log_in(alice)["ticket"]
    ask("open", ticket=first, told=TOLD)
    log_in(alice, code=alice.issued["emergency"][0])
    ask("leave")
    assert not ask("holds", ticket=first)["ok"]
    assert ("systemctl", "stop", "secondlock-gate@alice.service") in ran


def test_logins_at_the_same_moment_all_have_their_tickets(alice: Person) -> None:
    found: list[str | None] = []
    start = threading.Barrier(5)

    def one(code: str) -> None:
        start.wait()
        found.append(login.log_in("alice", alice.passphrase, code, "192.0.2.1")[0])

    threads = [threading.Thread(target=one, args=(code,)) for code in alice.issued["emergency"]]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert [ask("holds", ticket=each)["ok"] for each in found] == [True] * 5


def test_a_flood_of_logins_keeps_nobody_from_asking(alice: Person) -> None:
    ticket = log_in(alice)["ticket"]
    with ExitStack() as flood:
        for _ in range(helper.LOGINS_AT_ONCE):
            flood.enter_context(helper._room(helper._logins))
        for _ in range(helper.STARTS_AT_ONCE):
            flood.enter_context(helper._room(helper._starts))
        assert log_in(alice)["fault"]
        assert ask("open", ticket=ticket, told=TOLD)["fault"]
        assert ask("holds", ticket=ticket) == {"ok": True}
    assert log_in(alice, code=alice.issued["emergency"][0])["ok"]


def test_so_many_are_answered_at_once_and_the_others_after_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helper, "AT_ONCE", 3)
    place, before = str(tmp_path / "helper.sock"), threading.active_count()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(place)
    listening.listen(100)
    threading.Thread(target=helper.listen, args=(listening, os.getuid()), daemon=True).start()
    asking = [socket.socket(socket.AF_UNIX) for _ in range(80)]
    for each in asking:
        each.connect(place)
    deep = [asking.pop() for _ in range(5)]
    for each in deep:
        each.sendall(b"[" * 60_000 + b"\n")
    question = json.dumps({"ask": "is open", "user": "alice"}).encode() + b"\n"
    for each in asking:
        each.sendall(question)
    for each in asking:
        assert json.loads(each.recv(1000)) == {"ok": False}
        each.close()
    assert threading.active_count() - before == 3


def test_a_fault_is_no_word_on_who_is_in(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    ticket = log_in(alice)["ticket"]
    monkeypatch.setattr(places, "TICKETS", places.TICKETS / "alice")  # ENOTDIR
    assert ask("holds", ticket=ticket)["fault"]


def test_an_address_is_one_or_none_in_roots_log(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(login.syslog, "syslog", lambda _, line: said.append(line))
    log_in(alice, passphrase="x", address="::1\nAccepted publickey for bob from 192.0.2.1")
    log_in(alice, passphrase="x", address="2001:DB8::1")
    assert said == [f"Failed passphrase for alice from {each}" for each in ("-", "2001:db8::1")]


def test_a_ticket_lasts_for_hours(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    ticket, now = log_in(alice)["ticket"], time.time()
    monkeypatch.setattr(tickets.time, "time", lambda: now + tickets.HOURS * 3600 + 1)
    assert not ask("holds", ticket=ticket)["ok"]


def test_whose_ticket_is_over_loses_the_gate(alice: Person, ran: list[tuple[str, ...]]) -> None:
    ask("open", ticket=log_in(alice)["ticket"], told=TOLD)
    ran.clear()
    helper.look()
    assert ran == []
    Person("alice").bind()  # another enrollment
    helper.look()
    assert ("systemctl", "stop", "secondlock-gate@alice.service") in ran
    assert gates.opened() == []


def test_neither_passphrase_nor_code_nor_ticket_is_kept_in_clear(
    alice: Person, tmp_path: Path
) -> None:
    ticket = log_in(alice)["ticket"]
    kept = b"".join(each.read_bytes() for each in tmp_path.rglob("*") if each.is_file())
    for secret in (alice.passphrase, ticket):
        assert secret.encode() not in kept


def test_a_password_method_without_codes_has_no_web(alice: Person) -> None:
    issued = codes.issued("alice") | {"method": "fido2"}
    codes.save(codes.CODES, "alice", issued)
    assert log_in(alice)["ok"] is False


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What systemd is asked, on a machine whose image may have the hub's packages in `tmp_path`."""
    asked_for = list[tuple[str, ...]]()
    monkeypatch.setattr(door, "run", lambda *argv, **_: asked_for.append(argv))
    monkeypatch.setattr(places, "HUB", tmp_path)
    return asked_for


def test_who_comes_or_goes_ends_nobody_elses_connections(
    tmp_path: Path, found: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(GuestError, match="rebuild"):
        door.apply(_door(), "local", 20001)
    (tmp_path / "jupyterhub").mkdir()
    assert door.apply(_door(), "local", 20001) == ["web"]
    assert any(argv[1] == "restart" for argv in found)
    found.clear()
    assert door.apply(_door(), "local", 20001) == []
    assert [argv[1] for argv in found if argv[0] == "systemctl"] == ["start"]
    found.clear()
    door.apply(_door(), "local", 20002)
    (again,) = [argv for argv in found if argv[1] == "restart"]
    assert again[2:] == ("secondlock-hub.service", "secondlock-web.service")
    found.clear()
    with monkeypatch.context() as cut:  # in the middle
        cut.setattr(door, "leave", lambda _: 1 / 0)
        cut.setattr(gates, "opened", lambda: ["alice"])
        with pytest.raises(ZeroDivisionError):
            door.apply(None, "local", None)
    found.clear()
    assert door.apply(None, "local", None) == ["web"]
    assert [argv[1] for argv in found] == ["stop"]
    assert not places.KEY.exists()
    assert door.apply(None, "local", None) == []


def test_another_certificate_is_read_and_nobody_put_out(
    tmp_path: Path, found: list[tuple[str, ...]]
) -> None:
    """nginx goes on, and so do the hub and whoever is in."""
    (tmp_path / "jupyterhub").mkdir()
    door.apply(_door(), "local", 20001)
    assert door.days_left() is None
    copy()
    found.clear()
    made = web.certificate(SEED, stack="demo", machine="lab", today=date(2026, 1, 1))
    ends = int(time.time()) + 86400 * 12 + 60
    new = replace(_door(), certificate=made.certificate, key=made.key, ends=ends)
    assert door.apply(new, "local", 20001) == ["web"]
    asked_for = [argv[1:3] for argv in found if argv[0] == "systemctl" and argv[1] != "start"]
    assert asked_for == [("reload-or-restart", "secondlock-web.service")]
    assert door.days_left() == 12
    found.clear()
    door.apply(new, "local", 20001)  # as after one that was cut off before nginx heard of it
    assert ("systemctl", "reload-or-restart", "secondlock-web.service") in found
    copy()
    assert places.KEY.stat().st_mode & 0o777 == 0o600
    found.clear()
    assert door.apply(replace(new, ends=ends - 86400 * 20), "local", 20001) == []
    assert door.days_left() == -8
    assert not any(argv[1] == "reload-or-restart" for argv in found)


def copy() -> None:
    """As nginx's unit does it."""
    places.TLS.mkdir(exist_ok=True)
    for each in (places.CERTIFICATE, places.KEY):
        (places.TLS / each.name).write_text(each.read_text())


def test_who_speaks_to_the_provider_is_there_as_long_as_there_is_one(
    tmp_path: Path, found: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jupyterhub").mkdir()
    provider = asked.Provider("https://id.example.org:8443", "gpu", "s3cret")
    vouched = replace(_door(), provider=provider, form=False)
    with pytest.raises(GuestError, match="rebuild"):
        door.apply(vouched, "local", 20001)  # the image is of before
    (tmp_path / "joserfc").mkdir()
    door.apply(vouched, "local", 20001)
    assert "secondlock-oidc.service" in found[-1]
    told = json.loads(oidc.PROVIDER.read_text())
    assert told["redirect"] == "https://lab.demo.localhost:20001/hub/oidc/callback"
    assert "s3cret" not in oidc.PROVIDER.read_text()
    assert oidc.SECRET.stat().st_mode & 0o777 == 0o600
    assert json.loads(places.HUB_CONFIG.read_text()) | {"port": 0} == {
        "host": "lab.demo.localhost",
        "port": 0,
        "provider": "id.example.org",
        "form": False,
    }
    found.clear()
    door.apply(replace(vouched, provider=replace(provider, secret="another")), "local", 20001)
    assert ("systemctl", "restart", "secondlock-oidc.service") in found
    found.clear()
    door.apply(_door(), "local", 20001)
    assert ("systemctl", "stop", *door.OF_PROVIDER) in found
    assert not oidc.PROVIDER.exists()
    assert not oidc.SECRET.exists()
    monkeypatch.setattr(door.pwd, "getpwnam", lambda _: SimpleNamespace(pw_uid=977))
    assert (door.asker(_door()), door.asker(vouched)) == (None, (977, 8443))


def _door() -> Any:
    return importlib.import_module("guest.gateway.asked").read_door(_roster()["web"])


def _roster(**of_alice: object) -> dict[str, Any]:
    made = web.certificate(SEED, stack="demo", machine="lab", today=date(2026, 11, 27))
    door = {
        "host": made.host,
        "certificate": made.certificate,
        "key": made.key,
        "allowed_from": ["127.0.0.0/8"],
    }
    people = document()["researchers"]
    people["alice"] |= {"access": ["ssh", "web"], "web_passphrase": "a" * 20}
    people["alice"] |= {"web_from": ["192.0.2.0/24"], **of_alice}
    return {"researchers": people, "web": door}


def test_a_roster_says_who_comes_by_https() -> None:
    found = parse(json.dumps({**envelope(**_roster()), "web_port": 20001}))
    assert (found.door.host, found.web_port) == ("lab.demo.localhost", 20001)
    alice, bob = (found.researchers[name].access for name in ("alice", "bob"))
    assert (alice.passphrase, alice.networks, alice.web) == ("a" * 20, ("192.0.2.0/24",), True)
    assert (bob.ssh, bob.web) == (True, False)
    alone = parse(json.dumps(envelope(**_roster(access=["web"], ssh_keys=[]))))
    assert (alone.researchers["alice"].access.ssh, list(alone.researchers["alice"].parts)) == (
        False,
        ["totp"],
    )


@pytest.mark.parametrize(
    "of_alice",
    [
        {"access": []},
        {"access": ["ssh", "ssh"]},
        {"access": ["root"]},
        {"access": "web"},
        {"access": ["ssh"]},  # with a passphrase
        {"access": ["ssh"], "web_passphrase": None},  # with networks
        {"web_from": []},
        {"web_from": None},
        {"web_from": ["192.0.2.1/24"]},
        {"web_passphrase": "short"},
        {"web_passphrase": None},
        {"access": ["web"], "remember": {"hours": 1, "allowed_from": ["10.0.0.0/8"]}},
    ],
)
def test_a_roster_that_contradicts_itself_is_refused(of_alice: dict[str, object]) -> None:
    with pytest.raises(GuestError):
        parse(json.dumps(envelope(**_roster(**of_alice))))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("host", "x;\nserver_name evil"),
        ("host", "lab"),
        ("host", "lab..localhost"),
        ("key", "-----BEGIN PRIVATE KEY-----\n;\n-----END PRIVATE KEY-----\n"),
        ("certificate", ""),
        ("allowed_from", []),
        ("allowed_from", ["0.0.0.0/0; flush ruleset"]),
    ],
)
def test_what_goes_into_nginx_and_nft_is_read_strictly(field: str, value: object) -> None:
    roster = _roster()
    roster["web"][field] = value
    with pytest.raises(GuestError):
        parse(json.dumps(envelope(**roster)))


def test_web_for_nobody_and_nobody_without_web_are_refused() -> None:
    roster = _roster()
    for other in ({**roster, "web": None}, {**roster, "researchers": document()["researchers"]}):
        with pytest.raises(GuestError):
            parse(json.dumps(envelope(**other)))
