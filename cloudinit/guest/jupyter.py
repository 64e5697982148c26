"""Jupyter in a researcher's workspace; systemd runs this as root when port 8888 is first used."""

import os
import pwd
import stat
import sys
import time
from pathlib import Path
from typing import NoReturn

from guest import workspace

SOCKET = ".local/share/secondlock/jupyter.sock"
PATIENCE = 240  # seconds; emulated machines load Python slowly


def _wait(account: pwd.struct_passwd) -> NoReturn:
    path = Path(account.pw_dir) / SOCKET
    for _ in range(PATIENCE * 2):
        try:
            found = path.lstat()
        except OSError:
            found = None
        if found is not None and stat.S_ISSOCK(found.st_mode):
            sys.exit(0)
        time.sleep(0.5)
    sys.exit(f"Jupyter did not start within {PATIENCE} s")


def main() -> NoReturn:
    """`jupyter USER` runs it, `jupyter --wait USER` waits until it listens."""
    account = pwd.getpwnam(sys.argv[-1])
    if sys.argv[1] == "--wait":
        _wait(account)
    environment = {
        "HOME": account.pw_dir,
        "USER": account.pw_name,
        "LANG": "C.UTF-8",
        "PATH": workspace.search_path(account),
    }
    command = [f"{workspace.TOOLS}/secondlock-jupyter", "serve"]
    container = workspace.ensure(account)
    argv = workspace.enter_command(account, container, command, environment, terminal=False)
    os.execv(workspace.RUNC, argv)  # noqa: S606 (no shell: that is the point)
