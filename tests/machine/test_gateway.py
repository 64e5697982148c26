"""Jupyter in a browser: the HTTPS door of a booted machine, its second factor, and who is put out.

What needs no machine of it: tests/unit/test_gateway.py.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import secrets
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.people import BY_WEB
from tests.support.records import arrived, records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.browser import Browser, WebSocket
    from tests.support.client import Client
    from tests.support.machine import Machine
    from tests.support.people import Person

_OURS = ('"nginx"', '"hub"', '"gate"', '"helper"')
SECONDS = 60  # in which whoever is out is out: some five, and more on a slow emulated machine
HELD = 6  # seconds after which nobody goes by the hub's last word
LONG = 240  # for a kernel to start there


@pytest.fixture(scope="module")
def people(machine: Machine) -> Iterator[list[Person]]:
    """Some who come by HTTPS too; afterwards nobody does."""
    found = [change(machine, machine.researcher(), BY_WEB) for _ in range(3)]
    machine.apply()
    machine.wait_for_web()
    names = [each.name for each in found]
    yield found  # tests take theirs out of it
    for name in [each for each in names if each in machine.lab.requests]:
        change(machine, machine.person(name), {"access": ("ssh",), "web_allowed_from": ()})
    machine.apply()
    with pytest.raises(OSError):  # noqa: PT011 (refused, reset or in vain)
        socket.create_connection(("127.0.0.1", machine.spec.web_port or 0), 5).recv(1)
    assert _listening(machine) == set()


@pytest.fixture
def person(people: list[Person]) -> Person:
    """One of them whom no test has used."""
    return people.pop()


@pytest.fixture(scope="module")
def worker(people: list[Person]) -> str:
    """The one of them whose Jupyter runs, once a test has started it: that takes its time."""
    return people.pop().name


def change(machine: Machine, person: Person, update: dict[str, Any]) -> Person:
    """Edit a request; `apply` brings it to the machine."""
    request = person.request.model_copy(update=update)
    machine.lab.requests[person.name] = request
    return machine.person(person.name)


def _listening(machine: Machine) -> set[str]:
    """What of the door's listens, and where, for the network."""
    said = machine.succeed("ss -Hltnp")
    # What a workspace's kernels listen on is theirs.
    ours = [line for line in said.splitlines() if any(each in line for each in _OURS)]
    return {line.split()[3] for line in ours}


def _enter(machine: Machine, person: Person, code: str) -> Browser:
    browser = machine.browser
    answer = browser.log_in(person.name, person.passphrase, code)
    assert (answer.status, answer.said) == (302, ""), answer.text
    assert browser.enter(person.name).status == 200
    page = browser.ask(browser.url("/api/status", person.name))
    assert (page.status, "kernels" in page.text) == (200, True), page.text
    return browser


def _post(browser: Browser, person: Person, path: str, body: object) -> Any:
    headers = {"Origin": browser.url("", person.name), "Content-Type": "application/json"}
    url, data = browser.url(path, person.name), json.dumps(body).encode()
    page = browser.ask(url, data=data, headers=headers, method="POST")
    assert page.status in (200, 201), page.text
    return json.loads(page.text)


def _run(websocket: WebSocket, code: str) -> str:
    """What a cell prints (Jupyter's "Messaging", execute_request)."""
    header = {
        "msg_id": secrets.token_hex(8),
        "username": "",
        "session": secrets.token_hex(8),
        "msg_type": "execute_request",
        "version": "5.3",
    }
    content = {"code": code, "silent": False, "store_history": True, "stop_on_error": True}
    request = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
    websocket.send({**request, "channel": "shell", "buffers": []})
    while said := websocket.receive(LONG):
        ours = said["parent_header"].get("msg_id") == header["msg_id"]
        if ours and said["msg_type"] == "stream":
            return str(said["content"]["text"]).strip()
    raise AssertionError("the kernel went away")


def _closes(websocket: WebSocket) -> bool:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            if websocket.receive(max(deadline - time.monotonic(), 0.1)) is None:
                return True
        except TimeoutError:
            break
    return False


def _terminal(browser: Browser, person: Person) -> WebSocket:
    name = _post(browser, person, "/api/terminals", {})["name"]
    return browser.websocket(person.name, f"/terminals/websocket/{name}")


def _says(terminal: WebSocket, command: str, wanted: str) -> bool:
    terminal.send(["stdin", f"{command}\r"])
    seen, deadline = "", time.monotonic() + LONG
    while time.monotonic() < deadline:
        said = terminal.receive(LONG)
        assert said is not None, seen
        seen += str(said[1]) if said[0] == "stdout" else ""
        if re.search(wanted, seen):
            return True
    return False


def _renew(machine: Machine) -> None:
    """Bring the machine another certificate, as `config set` and `up` do, then its own again."""
    shown = "/run/secondlock-tls"
    before = machine.succeed(f"sha256sum {shown}/certificate.pem")
    machine.issued = dt.date(2026, 1, 1)
    try:
        assert machine.apply() == ["web"]
        assert machine.succeed(f"sha256sum {shown}/certificate.pem") != before
        assert machine.status()["certificate_days"] < 800
        key = f"{shown}/key.pem /var/lib/secondlock/web/key.pem"
        owned = machine.succeed(f"stat -c '%a %U:%G' {key}").splitlines()
        assert owned == ["400 secondlock-web:root", "600 root:root"]
    finally:
        machine.issued = None
        assert machine.apply() == ["web"]


def test_a_person_works_in_a_browser(machine: Machine, worker: str, people: list[Person]) -> None:
    person = machine.person(worker)
    browser = _enter(machine, person, person.code())
    # nginx that was killed comes back, and gates that go on reach the hub by it as before.
    machine.succeed("systemctl kill --signal=KILL secondlock-web; sleep 6")
    machine.wait_for("systemctl is-active secondlock-web", timeout=60)
    assert browser.ask(browser.url("/api/status", person.name)).status == 200
    kernel = _post(browser, person, "/api/kernels", {})["id"]
    cells = browser.websocket(person.name, f"/api/kernels/{kernel}/channels")
    assert _run(cells, "print(6 * 7, __import__('os').getuid())").startswith("42 2")
    terminal = _terminal(browser, person)
    assert _says(terminal, "echo $((40+2))-$USER", f"42-{person.name}")
    own = {"Origin": browser.url("", person.name)}
    size = 2 << 20  # more than nginx lets through by itself
    file = {"type": "file", "format": "text", "content": "x" * size}
    url = browser.url("/api/contents/big.txt", person.name)
    saved = browser.ask(url, data=json.dumps(file).encode(), method="PUT", headers=own)
    assert (saved.status, json.loads(saved.text)["size"]) == (201, size)
    # What another site asks in their name; a name that is none of the machine's.
    for origin in ({"Origin": browser.url("", people[0].name)}, {}):
        assert browser.ask(url, data=b"{}", method="PUT", headers=origin).status == 403
    with pytest.raises(PermissionError):
        browser.websocket(person.name, "/api/events/subscribe", origin="https://evil.example")
    assert browser.ask(url, headers={"Host": "evil.example"}).status == 421
    for path in ("/hub/api/users", "/hub/token", "/hub/metrics"):
        assert browser.ask(browser.url(path)).status == 404
    # Another's place, though they are not in: neither woken nor seen.
    other = people[0].name
    page = browser.ask(browser.url("/api/status", other))
    assert (page.status, "kernels" in page.text) == (403, False)
    assert machine.run(f"systemctl is-active secondlock-jupyter@{other}")[1].strip() == "inactive"
    # What listens for the network: nginx and nothing else of the door's.
    assert _listening(machine) == {"0.0.0.0:8443", "[::]:8443"}
    assert machine.status()["web"] == "open"
    _renew(machine)
    assert _says(terminal, "echo $((40+3))", "43")  # whose connection is the one of before
    # A link in place of their Jupyter's socket leads nowhere, to the hub least of all.
    linked = "cd /run/secondlock && mv jupyter.sock kept && ln -s /hub/hub.sock jupyter.sock"
    assert _says(terminal, f"{linked} && echo done-$((40+3))", "done-43")
    assert browser.ask(browser.url("/hub/api/user", person.name)).status == 502
    assert _says(terminal, "mv kept jupyter.sock && echo done-$((40+4))", "done-44")
    browser.ask(browser.url("/hub/logout"))
    assert _closes(terminal)
    assert "/hub/login" in browser.ask(browser.url("/lab", person.name)).url


def test_a_code_is_good_once_whichever_door_it_came_by(
    machine: Machine, client: Client, person: Person
) -> None:
    code = person.code()
    assert client.login(person, code=code).entered
    refused = machine.browser.log_in(person.name, person.passphrase, code)
    assert (refused.status, "used already" in refused.said) == (403, True)
    later = person.emergency_codes[0]  # no waiting for the next code
    assert machine.browser.log_in(person.name, person.passphrase, later).status == 302
    again = client.login(person, code=later)
    assert again.denied
    assert "used already" in again.errors
    wrong = machine.browser.log_in(person.name, person.passphrase, person.wrong_code())
    assert (wrong.status, wrong.said) == (403, "The name, the passphrase or the code is wrong.")
    assert client.login(person, code=person.wrong_code()).denied
    assert machine.person_status(person)["wrong_codes"] == 2
    assert machine.person_status(person)["last_login"] is not None
    ours = {"kind": "login", "person": person.name}
    last = {**ours, "what": "code: wrong", "way": "ssh"}
    arrived(machine, lambda one: last.items() <= one.items())
    told = [one for one in records(machine) if ours.items() <= one.items()]
    assert [(one["way"], one["what"], one["result"]) for one in told] == [
        ("ssh", "login", "let in"),
        ("web", "code: used", "refused"),
        ("web", "login", "let in"),
        ("ssh", "code: emergency used", "refused"),
        ("web", "code: wrong", "refused"),
        ("ssh", "code: wrong", "refused"),
    ]


def test_who_is_put_out_loses_open_websockets_within_seconds(machine: Machine, worker: str) -> None:
    person = machine.rotate(machine.person(worker))
    for how in ("frozen", "rotated", "revoked"):
        browser = _enter(machine, person, person.code())
        terminal = _terminal(browser, person)
        assert _says(terminal, "echo $((40+2))", "42")
        if how == "frozen":
            machine.succeed(_FREEZE.format(name=person.name))
        elif how == "rotated":
            person = machine.rotate(person)
        else:
            machine.revoke(person)
        assert _closes(terminal), how
        time.sleep(HELD)
        assert "/hub/login" in browser.ask(browser.url("/lab", person.name)).url, how
        if how == "frozen":
            person = machine.rotate(person)
        elif how == "rotated":  # what runs there goes on
            machine.succeed(f"systemctl is-active secondlock-jupyter@{person.name}")


# As thirty wrong codes leave it.
_FREEZE = """\
python3 - <<'END'
import sys; sys.path.insert(0, "/usr/local/lib/secondlock")
from guest.totp import codes
with codes.locked("{name}"):
    codes.keep("{name}", codes.slate("{name}", codes.issued("{name}")) | {{"frozen": True}})
END
"""


def test_who_has_the_web_alone_has_no_ssh(
    machine: Machine, client: Client, people: list[Person]
) -> None:
    person = change(machine, machine.researcher(), {**BY_WEB, "access": ("web",)})
    machine.apply()
    assert client.login(person, code=person.code()).denied
    assert machine.browser.log_in(person.name, person.passphrase, person.code()).status == 302
    change(machine, person, {"access": ("ssh",), "web_allowed_from": ()})
    machine.apply()
    assert (
        machine.browser.log_in(person.name, person.passphrase, person.emergency_codes[0]).status
        == 403
    )
    assert client.login(person, code=person.emergency_codes[1]).entered


def test_no_passphrase_lies_on_the_machine(machine: Machine, people: list[Person]) -> None:
    named = [name for name, one in machine.lab.requests.items() if "web" in one.access]
    assert named
    wanted = "\n".join(machine.person(name).passphrase for name in named).encode()
    place = "/var/lib/secondlock /etc /run /var/log /usr/local/lib/secondlock"
    assert machine.run(f"grep -rlsF -f - -D skip {place}", stdin=wanted)[1] == ""
    assert machine.succeed("stat -c %a /var/lib/secondlock/web").strip() == "700"
