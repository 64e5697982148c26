"""A provider's word as a login on a booted machine: who speaks to it there, and what that may do.

What lets people in and what does not: tests/unit/test_oidc.py.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.provider import ALICE, SECRET
from tests.support.vouching import HOST, vouching

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.browser import Browser, Page
    from tests.support.machine import Machine
    from tests.support.people import Person
    from tests.support.provider import Provider

HELD = 6  # seconds after which nobody goes by the hub's last word
CONNECT = (
    "setpriv --reuid=secondlock-oidc --regid=secondlock-oidc --clear-groups"
    " timeout 20 python3 -Ic \"import socket; socket.create_connection(('{0}', {1}), 10)\""
)


@pytest.fixture(scope="module")
def vouched(
    machine: Machine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Provider, Person]]:
    """A provider that the machine reaches, and whom it vouches for; afterwards there is none."""
    with vouching(machine, tmp_path_factory.mktemp("provider")) as found:
        yield found
    machine.fail("systemctl is-active secondlock-oidc.socket")
    machine.fail("test -e /var/lib/secondlock/web/provider-secret")


@pytest.fixture
def provider(vouched: tuple[Provider, Person]) -> Provider:
    return vouched[0]


@pytest.fixture
def person(machine: Machine, vouched: tuple[Provider, Person]) -> Person:
    return machine.person(vouched[1].name)


def _enter(machine: Machine, provider: Provider) -> tuple[Browser, Page]:
    """A browser that the provider was asked for, and where that led; no Jupyter is started."""
    browser = machine.browser
    browser.trust(provider.authority)
    return browser, browser.log_in_by_provider("/hub/home")


def test_whom_the_provider_vouches_for_is_in_until_they_are_put_out(
    machine: Machine, provider: Provider, person: Person
) -> None:
    browser, page = _enter(machine, provider)
    assert (page.status, page.url) == (200, browser.url("/hub/home")), page.text
    refused = machine.browser.log_in(person.name, "x" * 20, person.code())
    assert refused.status == 403
    provider.says = {"amr": ["pwd"]}
    assert _enter(machine, provider)[1].status == 403
    provider.says = {"sub": f"{ALICE}0"}
    assert _enter(machine, provider)[1].status == 403
    provider.says = {}
    assert machine.person_status(person)["last_login"] is not None
    machine.rotate(person)
    time.sleep(HELD)
    assert "/hub/login" in browser.ask(browser.url("/hub/home")).url


def test_who_speaks_to_the_provider_reaches_nothing_else(
    machine: Machine, provider: Provider
) -> None:
    port = int(provider.issuer.rpartition(":")[2])
    machine.succeed(CONNECT.format(HOST, port))
    for host, other in ((HOST, port + 1), (HOST, 22), ("127.0.0.1", 22), ("127.0.0.1", 8443)):
        machine.fail(CONNECT.format(host, other))
    unit = "systemctl show -P User -P PrivateUsers secondlock-oidc"
    assert machine.succeed(unit).split() == ["secondlock-oidc", "yes"]
    assert machine.succeed("stat -c '%a %U' /run/secondlock-oidc.sock").strip() == "600 root"


def test_the_providers_secret_is_roots(machine: Machine, provider: Provider) -> None:
    place = "/var/lib/secondlock/web/provider-secret"
    assert machine.succeed(f"stat -c '%a %U' {place}").strip() == "600 root"
    # Not in the command itself, which the guest agent has logged.
    machine.succeed("cat >/run/needle", stdin=SECRET.encode())
    try:
        machine.fail("journalctl -b -o cat | grep -qF -f /run/needle")
        machine.fail("grep -rqsF -f /run/needle /etc /usr/local/lib/secondlock /run/secondlock-hub")
        machine.fail("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | grep -qaF -f /run/needle")
    finally:
        machine.succeed("rm /run/needle")
