"""Port 8888 of each person: only those that are shut are opened."""

from __future__ import annotations

import importlib
import socket
from typing import Any

import pytest

port: Any = importlib.import_module("guest.jupyter.port")
addresses: Any = importlib.import_module("guest.network.addresses")


def test_what_is_open_is_asked_for_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[tuple[str, ...]]()
    monkeypatch.setattr(port, "_move", lambda *_: None)
    monkeypatch.setattr(port.services, "at_boot", lambda *_: None)
    monkeypatch.setattr(port, "run", lambda *argv: asked.append(argv))
    people = {"alice": 21001, "bob": 21002}
    with (
        socket.create_server((addresses.jupyter(21001), port.PORT)),
        socket.create_server((addresses.jupyter(21002), port.PORT + 1)),
    ):
        port.offer(people)
    assert asked == [("systemctl", "start", "secondlock-jupyter-proxy@bob.socket")]
    port.offer(people)
    assert len(asked[1]) == 4
    port.offer(people, at_once=False)
    assert len(asked) == 2
