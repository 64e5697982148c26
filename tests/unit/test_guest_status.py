"""What a machine's status line says, as far as it can be seen without one."""

from __future__ import annotations

import importlib
import socket
from typing import Any

import pytest

ssh: Any = importlib.import_module("guest.ssh.report")


@pytest.mark.parametrize(
    ("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_the_door_is_open_while_somebody_listens_there(
    family: socket.AddressFamily, address: str
) -> None:
    with socket.socket(family) as door:
        door.bind((address, 0))
        port = door.getsockname()[1]
        assert ssh.door(port) == "shut"
        door.listen()
        assert ssh.door(port) == "open"
        with socket.create_connection((address, port)):
            door.close()
            assert ssh.door(port) == "shut"  # a session that goes on is no open door
