"""A login as programs do it that use libssh or libssh2: see test_libraries.py."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path


def by_libssh() -> bytes:
    """libssh (ssh-python)."""
    from ssh import options
    from ssh.exceptions import AuthenticationPartial
    from ssh.key import import_privkey_file
    from ssh.session import SSH_AUTH_INFO, SSH_AUTH_SUCCESS, Session

    session = Session()
    session.options_set(options.HOST, os.environ["HOST"])
    session.options_set_port(int(os.environ["PORT"]))
    session.options_set(options.USER, os.environ["LOGIN"])
    session.connect()
    with suppress(AuthenticationPartial):  # the first of two factors is told as a fault
        session.userauth_publickey(import_privkey_file(os.environ["KEY"]))
    state = session.userauth_kbdint(os.environ["LOGIN"], "")
    while state == SSH_AUTH_INFO:
        for number in range(session.userauth_kbdint_getnprompts()):
            session.userauth_kbdint_setanswer(number, os.environ["CODE"].encode())
        state = session.userauth_kbdint(os.environ["LOGIN"], "")
    if state != SSH_AUTH_SUCCESS:
        sys.exit(f"not let in: {state}")
    channel = session.channel_new()
    channel.open_session()
    channel.request_exec("id -un")
    _, output = channel.read()
    return bytes(output)


def by_libssh2() -> bytes:
    """libssh2 (ssh2-python)."""
    from ssh2.session import Session

    connection = socket.create_connection((os.environ["HOST"], int(os.environ["PORT"])))
    session = Session()
    session.handshake(connection)
    login, key = os.environ["LOGIN"], os.environ["KEY"]
    public = os.environ.get("CERTIFICATE", f"{key}.pub")
    try:
        session.userauth_publickey_fromfile(login, key, publickey=public)
    except Exception:
        if not os.environ["CODE"]:
            raise
    if not session.userauth_authenticated():
        session.userauth_keyboardinteractive(login, os.environ["CODE"])
    channel = session.open_session()
    channel.execute("id -un")
    _, output = channel.read()
    return bytes(output)


if __name__ == "__main__":
    Path("/dev/stdout").write_bytes({"libssh": by_libssh, "libssh2": by_libssh2}[sys.argv[1]]())
