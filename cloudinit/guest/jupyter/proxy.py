"""Port 8888 of the machine: on to its researcher's Jupyter, or the reason why there is none.

Runs as the researcher, and with nothing in sight but the folder of that one socket: whatever they
put in its place, a link included, leads to nothing of the machine's.
"""

import contextlib
import os
import socket

FOLDER = "/jupyter"  # as the unit shows it
SOCKET, LOG = f"{FOLDER}/jupyter.sock", f"{FOLDER}/jupyter.log"
PROXY = "/usr/lib/systemd/systemd-socket-proxyd"
LISTENING = 3  # the descriptor of the port (sd_listen_fds(3))
LAST_WORDS = 2000  # bytes
PATIENCE = 1.0  # seconds
REASON = """\
secondlock: Jupyter did not start in your workspace.
Log in by ssh: that says whether the workspace itself can be entered. Load this page again to have
it tried again.
"""


def _listens() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as jupyter:
        jupyter.connect(SOCKET)
        return True
    return False


def _answer() -> bytes:
    """RFC 9110, 15.6.4: it is not there now."""
    said = REASON.encode()
    with contextlib.suppress(OSError), open(LOG, "rb") as log:  # noqa: PTH123 (imports take time)
        log.seek(max(os.fstat(log.fileno()).st_size - LAST_WORDS, 0))
        said += b"\nIts last words (/run/secondlock/jupyter.log in your workspace):\n"
        words = log.read(LAST_WORDS).splitlines(keepends=True)
        said += b"".join(line for line in words if b"token=" not in line)
    head = (
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"X-Content-Type-Options: nosniff\r\nContent-Length: {len(said)}\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + said


def _tell_all_who_wait() -> None:
    with socket.socket(fileno=LISTENING) as port:
        port.settimeout(PATIENCE)
        with contextlib.suppress(TimeoutError):
            while True:
                connection, _ = port.accept()
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(PATIENCE)
                    connection.recv(65536)  # unread, its question would cut the answer off
                    connection.sendall(_answer())


def main() -> int:
    """Become the proxy where Jupyter listens; else say why not, to everyone who waits."""
    if _listens():
        os.execv(PROXY, [PROXY, SOCKET])  # noqa: S606 (no shell: that is the point)
    _tell_all_who_wait()
    return 0
