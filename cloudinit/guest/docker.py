"""The few calls of Docker's Engine API that a workspace needs, over its local socket."""

import json
import socket
from typing import Any

from guest.system import GuestError

SOCKET = "/run/docker.sock"
BAD_REQUEST, NOT_FOUND = 400, 404
PATIENCE = 120  # seconds


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
    """HTTP/1.0 (RFC 1945): Docker ends its answer by hanging up.

    By hand: http.client takes longer to import than all else that a login or a status line does.
    """
    payload = b"" if body is None else json.dumps(body).encode()
    lines = (
        f"{method} {path} HTTP/1.0",
        "Host: docker",
        "Content-Type: application/json",
        f"Content-Length: {len(payload)}",
    )
    request = "\r\n".join([*lines, "", ""]).encode() + payload
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(SOCKET)
            connection.sendall(request)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        head, _, text = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), text
    except (OSError, ValueError, IndexError) as error:
        raise GuestError(f"Docker does not answer: {error}") from error
