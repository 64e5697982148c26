"""The few calls of Docker's Engine API that a workspace needs, over its local socket."""

import http.client
import json
import socket
from typing import Any

from guest.system import GuestError

SOCKET = "/run/docker.sock"
BAD_REQUEST, NOT_FOUND = 400, 404


class _Connection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(SOCKET)


def call(method: str, path: str, body: Any = None, missing_ok: bool = False) -> Any:
    """One request; the parsed answer, or None where there is none.

    Raises GuestError with Docker's own message, or where it does not answer within two minutes.
    """
    status, text = _request(method, path, body)
    if status == NOT_FOUND and missing_ok:
        return None
    _check(status, text)
    return json.loads(text) if text else None


def _check(status: int, text: bytes) -> None:
    if status >= BAD_REQUEST:
        raise GuestError(f"Docker refused: {text.decode(errors='replace').strip()[:300]}")


def _request(method: str, path: str, body: Any) -> tuple[int, bytes]:
    connection = _Connection("localhost", timeout=120)
    try:
        payload = None if body is None else json.dumps(body)
        connection.request(method, path, payload, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
    except OSError as error:
        raise GuestError(f"Docker does not answer: {error}") from error
    finally:
        connection.close()
    return answer.status, text
