"""A login's way into the workspace: sudo runs this as root, with no arguments."""

import json
import os
import pwd
import sys
from typing import NoReturn

from guest import paths, workspace
from guest.system import GuestError

# What a session may bring along; everything else is the container's own.
PASSED_ON = ("TERM", "LANG", "COLORTERM", "NO_COLOR", "SSH_CONNECTION", "SSH_CLIENT")


def _environment(account: pwd.struct_passwd) -> dict[str, str]:
    passed = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED_ON or name.startswith("LC_")
    }
    return {
        "LANG": "C.UTF-8",
        **passed,
        "HOME": account.pw_dir,
        "USER": account.pw_name,
        "LOGNAME": account.pw_name,
        "SHELL": "/bin/bash",
        "PATH": workspace.SEARCH_PATH,
    }


def _command() -> list[str]:
    """As sshd(8) does it: a login shell, or the whole command as one opaque word for the shell."""
    asked = os.environ.get("SSH_ORIGINAL_COMMAND")
    return ["/bin/bash", "-l"] if asked is None else ["/bin/bash", "-c", _as_utf8(asked)]


def _as_utf8(command: str) -> str:
    """runc hands on its arguments as JSON, which spoils other bytes: bash is to spell those."""
    try:
        command.encode()
    except UnicodeEncodeError:
        return "eval $'" + "".join(f"\\x{byte:02x}" for byte in os.fsencode(command)) + "'"
    return command


def _researcher() -> pwd.struct_passwd:
    """Whoever called sudo, and nobody else: sudo itself sets SUDO_UID (sudo(8))."""
    account = pwd.getpwuid(int(os.environ["SUDO_UID"]))
    if not (paths.WORKSPACES / account.pw_name).is_dir():
        raise GuestError(f"{account.pw_name} has no workspace on this machine")
    return account


def main() -> NoReturn:
    """Replace this process by `runc exec`; exit code 70 (EX_SOFTWARE) where that cannot be."""
    try:
        account = _researcher()
        terminal = os.isatty(0) and os.isatty(1)
        if terminal and workspace.running(account.pw_name) is None:
            print("Starting your workspace ...", file=sys.stderr)
        container = workspace.ensure(account)
        if note := workspace.complaint(account.pw_name):
            print(f"secondlock: {note}", file=sys.stderr)
        argv = workspace.enter_command(
            account, container, _command(), _environment(account), terminal
        )
        os.execv(workspace.RUNC, argv)  # noqa: S606 (no shell: that is the point)
    except KeyboardInterrupt:
        sys.exit(130)
    except (GuestError, KeyError, ValueError, OSError, json.JSONDecodeError) as error:
        print(f"secondlock: your workspace cannot be entered: {error}", file=sys.stderr)
        print("secondlock: tell your admin; `secondlock status` shows more.", file=sys.stderr)
        sys.exit(70)
