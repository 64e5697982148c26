"""Researchers as the machine's accounts: made, changed, and ended."""

import grp
import os
import pwd

from guest import door, paths, workspace
from guest.roster import Researcher
from guest.system import GuestError, folder, run, write

GROUPS = {"key+totp": "secondlock-key", "password+totp": "secondlock-password"}
ALL = "secondlock"


def make_groups() -> None:
    """Make sure of the groups that sshd and sudo look at."""
    for group in (ALL, *GROUPS.values()):
        run("groupadd", "--system", "--force", group)


def _entry(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def groups_of(name: str) -> set[str]:
    """The names of the groups that the account is in; none where there is no account."""
    entry = _entry(name)
    if entry is None:
        return set()
    return {grp.getgrgid(gid).gr_name for gid in os.getgrouplist(name, entry.pw_gid)}


def _account(researcher: Researcher, uid: int) -> bool:
    name, groups = researcher.name, f"{ALL},{GROUPS[researcher.factors]}"
    entry = _entry(name)
    if entry is not None and entry.pw_uid != uid:
        raise GuestError(f"the account {name} has uid {entry.pw_uid}, not its allotted {uid}")
    if entry is None:
        run("groupadd", "--gid", str(uid), name)
        run(
            "useradd", "--uid", str(uid), "--gid", str(uid), "--groups", groups,
            "--home-dir", str(paths.HOME / name), "--no-create-home", "--shell", "/bin/sh",
            "--password", "*", name,
        )  # fmt: skip
        return True
    if groups_of(name) - {name} == set(groups.split(",")):
        return False
    run("usermod", "--expiredate", "", "--groups", groups, name)
    return True


def _code_file(researcher: Researcher) -> str:
    """The file of pam_google_authenticator(8): one step either side, a code is good once."""
    lines = [
        researcher.totp_secret,
        '" RATE_LIMIT 3 30',
        '" WINDOW_SIZE 3',
        '" DISALLOW_REUSE',
        '" TOTP_AUTH',
        *researcher.emergency_codes,
    ]
    return "\n".join(lines) + "\n"


def enroll(researcher: Researcher) -> None:
    """Bind a new phone: code file, password, and a clean slate for wrong codes."""
    write(paths.TOTP / researcher.name, _code_file(researcher), 0o400)
    (paths.FAILLOCK / researcher.name).unlink(missing_ok=True)


def apply(researcher: Researcher, uid: int, newly_enrolled: bool) -> list[str]:
    """Make the account as the roster says; returns what changed, in words."""
    name = researcher.name
    changed = []
    if _account(researcher, uid):
        changed.append(f"{name}: account")
    keys = "".join(f"{key}\n" for key in researcher.ssh_keys)
    if write(paths.AUTHORIZED_KEYS / name, keys if researcher.password is None else "", 0o644):
        changed.append(f"{name}: keys")
    if newly_enrolled:
        enroll(researcher)
        changed.append(f"{name}: enrollment")
    # The state volume may remember an enrollment whose account went with the old root disk.
    if changed and researcher.password is not None:
        run("chpasswd", stdin=f"{name}:{researcher.password}\n")
    _home(name, uid)
    if changed and researcher.end_sessions:
        end_sessions(name)
        changed.append(f"{name}: sessions ended")
    return changed


def _home(name: str, uid: int) -> None:
    home = paths.HOME / name
    if not home.is_dir():
        folder(home, 0o700, uid, uid)
        folder(home / "notebooks", 0o700, uid, uid)
    folder(paths.HOME / ".tmp", 0o711)
    folder(paths.HOME / ".tmp" / name, 0o700, uid, uid)
    place = paths.WORKSPACES / name
    folder(place, 0o755)
    users = f"root:x:0:0:root:/root:/bin/bash\n{name}:x:{uid}:{uid}:{name}:{home}:/bin/bash\n"
    write(place / "passwd", users, 0o644)
    write(place / "group", f"root:x:0:\n{name}:x:{uid}:\n", 0o644)


def end_sessions(name: str) -> None:
    """End the researcher's sessions and everything that runs in their name."""
    workspace.remove(name)
    uid = str(pwd.getpwnam(name).pw_uid)
    run("pkill", "-KILL", "-u", uid, check=False)
    run("loginctl", "terminate-user", name, check=False)


def is_active(name: str) -> bool:
    """Whether `remove` has still to be done, or done again, for this account."""
    return ALL in groups_of(name)


def remove(name: str) -> None:
    """Shut the researcher out: no login first, then no session. The home stays on its volume.

    The groups go last: after an interruption `is_active` says that this has to be done again.
    """
    for place in (paths.AUTHORIZED_KEYS, paths.TOTP, paths.FAILLOCK):
        (place / name).unlink(missing_ok=True)
    run("usermod", "--expiredate", "1", "--password", "*", name)
    door.withdraw_jupyter(name)
    run("crontab", "-r", "-u", name, check=False)
    end_sessions(name)
    run("usermod", "--groups", "", name)
