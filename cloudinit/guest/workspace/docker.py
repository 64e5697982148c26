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


def follow(path: str, body: Any) -> socket.socket:
    """POST, and leave the answer's body, which does not end soon, to be read from the connection.

    Raises GuestError as `call` does.
    """
    connection = _connect()
    try:
        _send(connection, "POST", path, body)
        answer = b""
        while b"\r\n\r\n" not in answer:
            if not (more := connection.recv(4096)):
                break
            answer += more
        head, _, text = answer.partition(b"\r\n\r\n")
        _check(int(head.split()[1]), text)
        connection.settimeout(None)
    except (OSError, ValueError, IndexError) as error:
        connection.close()
        raise GuestError(f"Docker does not answer: {error}") from error
    except GuestError:
        connection.close()
        raise
    return connection


def _check(status: int, text: bytes) -> None:
    if status >= BAD_REQUEST:
        raise GuestError(f"Docker refused: {text.decode(errors='replace').strip()[:300]}")


def _request(method: str, path: str, body: Any) -> tuple[int, bytes]:
    """HTTP/1.0 (RFC 1945): Docker ends its answer by hanging up.

    By hand: http.client takes longer to import than all else that a login or a status line does.
    """
    try:
        with _connect() as connection:
            _send(connection, method, path, body)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        head, _, text = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), text
    except (OSError, ValueError, IndexError) as error:
        raise GuestError(f"Docker does not answer: {error}") from error


def _connect() -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(PATIENCE)
        connection.connect(SOCKET)
    except OSError as error:
        connection.close()
        raise GuestError(f"Docker does not answer: {error}") from error
    return connection


def _send(connection: socket.socket, method: str, path: str, body: Any) -> None:
    payload = b"" if body is None else json.dumps(body).encode()
    lines = (
        f"{method} {path} HTTP/1.0",
        "Host: docker",
        "Content-Type: application/json",
        f"Content-Length: {len(payload)}",
    )
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + payload)
