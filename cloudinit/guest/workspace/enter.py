"""A login's way into the workspace, whatever its state: the script `enter` hands over to this.

Into one that runs and has room the script leads by itself; it does what this does, sooner.
"""

import json
import os
import pwd
import sys
from typing import NoReturn

from guest import paths
from guest.system import GuestError
from guest.workspace import containers, limits

# What a session may bring along; everything else is the container's own. No language: what a
# client sends (macOS: LC_CTYPE=UTF-8) is one that images rarely have, and their programs complain.
PASSED_ON = ("COLORTERM", "NO_COLOR", "SSH_CONNECTION", "SSH_CLIENT")
TERMINALS = f"{containers.TOOLS}/terminfo"
TERMINAL = f"{containers.TOOLS}/terminal"

# In place of a command: ends all that runs in the workspace, also where nothing more can start.
STOP = "secondlock-stop"
# In place of a command too: a certificate that stands for the next codes (guest/remember/).
REMEMBER = "secondlock-remember"


def _environment(account: pwd.struct_passwd, terminal: bool) -> dict[str, str]:
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    if terminal:
        passed |= {"TERM": os.environ.get("TERM", ""), "TERMINFO_DIRS": TERMINALS}
    return {
        **passed,
        "LANG": "C.UTF-8",
        "HOME": account.pw_dir,
        "USER": account.pw_name,
        "LOGNAME": account.pw_name,
        "SHELL": "/bin/bash",
        "PATH": containers.search_path(account),
    }


def _command(terminal: bool) -> list[str]:
    """As sshd(8) does it: a login shell, or the whole command as one opaque word for the shell."""
    asked = os.environ.get("SSH_ORIGINAL_COMMAND")
    shell = ["/bin/bash", "-l"] if asked is None else ["/bin/bash", "-c", _as_utf8(asked)]
    return ["/bin/sh", TERMINAL, *shell] if terminal else shell


def _as_utf8(command: str) -> str:
    """What hands on arguments as JSON (runc) spoils other bytes: bash is to spell those."""
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


def _stop(account: pwd.struct_passwd) -> NoReturn:
    containers.stop(account.pw_name)
    print("secondlock: all that ran in your workspace has ended.", file=sys.stderr)
    sys.exit(0)


def _remember(account: pwd.struct_passwd) -> NoReturn:
    from guest.remember import certify  # nobody else's login waits for it

    try:
        certify.certify(account)
    except GuestError as error:
        print(f"secondlock: not remembered: {error}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


def _refuse_full(container: str) -> None:
    """Say what is used up, and how to come in again."""
    if lack := limits.used_up(container):
        print(f"secondlock: your workspace cannot be entered: {lack}.", file=sys.stderr)
        print(f"secondlock: To end all that runs in it: ssh ... {STOP}", file=sys.stderr)
        sys.exit(70)


def main() -> NoReturn:
    """Replace this process by `crun exec`; exit code 70 (EX_SOFTWARE) where that cannot be."""
    try:
        account = _researcher()
        if os.environ.get("SSH_ORIGINAL_COMMAND") == STOP:
            _stop(account)
        if os.environ.get("SSH_ORIGINAL_COMMAND") == REMEMBER:
            _remember(account)
        terminal = os.isatty(0) and os.isatty(1)
        if terminal and containers.running(account.pw_name) is None:
            print("Starting your workspace ...", file=sys.stderr)
        container = containers.ensure(account)
        _refuse_full(container)
        if note := containers.complaint(account.pw_name):
            print(f"secondlock: {note}", file=sys.stderr)
        argv = containers.enter_command(
            account, container, _command(terminal), _environment(account, terminal), terminal
        )
        # A client's SIGKILL ends sudo and no more: the command is not to outlive it.
        argv = ["/usr/bin/setpriv", "--pdeathsig", "TERM", *argv]
        os.execv(argv[0], argv)  # noqa: S606 (no shell: that is the point)
    except KeyboardInterrupt:
        sys.exit(130)
    except (GuestError, KeyError, ValueError, OSError, json.JSONDecodeError) as error:
        print(f"secondlock: your workspace cannot be entered: {error}", file=sys.stderr)
        print("secondlock: tell your admin; `secondlock status` shows more.", file=sys.stderr)
        sys.exit(70)
