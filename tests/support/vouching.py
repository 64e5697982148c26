"""A provider that vouches for one researcher of a booted machine."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from infra.web import host_of
from tests.support.machine import NAME, STACK
from tests.support.people import BY_WEB
from tests.support.provider import ALICE, CLIENT, SECRET, Provider

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.machine import Machine
    from tests.support.people import Person

HOST = "10.0.2.2"
"""This computer's loopback, to QEMU's guests."""


@contextmanager
def vouching(machine: Machine, place: Path) -> Iterator[tuple[Provider, Person]]:
    """It, and whom it vouches for; afterwards the machine knows of none."""
    person = machine.researcher()
    update = {**BY_WEB, "oidc": ALICE}
    machine.lab.requests[person.name] = person.request.model_copy(update=update)
    back = f"https://{host_of(STACK, NAME)}:{machine.spec.web_port}/hub/oidc/callback"
    made = Provider(place, back, HOST)
    try:
        machine.lab.settings = {
            "oidc_issuer": made.issuer,
            "oidc_client_id": CLIENT,
            "oidc_client_secret": SECRET,
            "oidc_authority": made.authority,
        }
        machine.apply()
        machine.wait_for_web()
        yield made, machine.person(person.name)
    finally:
        made.end()
        if now := machine.lab.requests.get(person.name):  # who may be rotated since
            update = {"access": ("ssh",), "web_allowed_from": (), "oidc": None}
            machine.lab.requests[person.name] = now.model_copy(update=update)
        machine.lab.settings = {}
        machine.apply()
