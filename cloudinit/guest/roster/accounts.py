"""Researchers as the machine's accounts: made, changed, and ended."""

import grp
import os
import pwd
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from guest import factors, paths, services
from guest.factors import Now
from guest.gateway import door
from guest.jupyter import port
from guest.remember import person as remembered
from guest.roster.document import Researcher
from guest.ssh import doorkeeper
from guest.system import GuestError, folder, kill_group, run, write
from guest.workspace import containers

ALL = "secondlock"
# What a member of a shared machine has beside their workspace: sshd's processes of connections,
# and the ways in. On a machine of one's own it is a part of all (workspace/user-.slice.conf.j2).
BESIDE = "[Slice]\nTasksMax=200\nMemoryHigh=64M\nMemoryMax=96M\n"
ROUNDS = 50  # of ending what runs in someone's name; one or two do


def make_groups() -> None:
    """Make sure of the groups that sshd and sudo look at."""
    for group in (ALL, remembered.GROUP, *(each["group"] for each in services.methods().values())):
        if not _is_group(group):
            run("groupadd", "--system", "--force", group)


def _entry(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _is_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def everybody() -> set[str]:
    """Who may log in as the machine's accounts have it, whatever its memory says."""
    return set(grp.getgrnam(ALL).gr_mem) if _is_group(ALL) else set()


def groups_of(name: str) -> set[str]:
    """The names of the groups that the account is in; none where there is no account."""
    entry = _entry(name)
    if entry is None:
        return set()
    return {grp.getgrgid(gid).gr_name for gid in os.getgrouplist(name, entry.pw_gid)}


def make(people: Mapping[str, tuple[Researcher, int]]) -> set[str]:
    """Make the accounts that are missing, given each researcher and their uid; returns their names.

    In one run: programs for each take a second a person under emulation, and each writes all of
    /etc/passwd again. Raises GuestError.
    """
    missing = {name: each for name, each in people.items() if _entry(name) is None}
    for name, (_, uid) in missing.items():
        _check_free(name, uid)
    if missing:
        lines = "".join(_wanted(*each) for each in missing.values())
        run("systemd-sysusers", "-", stdin=lines)
    return set(missing)


def _wanted(researcher: Researcher, uid: int) -> str:
    """The account in sysusers.d(5); its group's id is the uid too."""
    name, home = researcher.name, paths.HOME / researcher.name
    lines = [f"g {name} {uid}", f"u {name} {uid}:{uid} - {home} {paths.SHELL}"]
    lines += [f"m {name} {group}" for group in _groups(researcher)]
    return "".join(f"{line}\n" for line in lines)


def _check_free(name: str, uid: int) -> None:
    """systemd-sysusers would take another uid where this one is somebody's. Raises GuestError."""
    with suppress(KeyError):
        raise GuestError(f"the uid {uid} of {name} is that of {pwd.getpwuid(uid).pw_name}")
    with suppress(KeyError):
        group = grp.getgrgid(uid).gr_name
        if group != name:  # one of this name was left when this was cut off
            raise GuestError(f"the gid {uid} of {name} is that of {group}")


def _groups(researcher: Researcher) -> tuple[str, ...]:
    """sshd lets nobody in who is in no group of a method's."""
    group = services.methods()[researcher.method]["group"]
    return (ALL, group) if researcher.access.ssh else (ALL,)


def memberships() -> dict[str, set[str]]:
    """Of everybody the groups that name them, read once: `groups_of` asks all of NSS for each."""
    found: dict[str, set[str]] = {}
    for group in grp.getgrall():
        for name in group.gr_mem:
            found.setdefault(name, set()).add(group.gr_name)
    return found


def _renew(researcher: Researcher, uid: int, there: set[str]) -> bool:
    """An account that is there, as the roster says; whether it was not. Raises GuestError.

    `there`: the groups that it is in (`memberships`).
    """
    name, shell = researcher.name, str(paths.SHELL)
    entry = pwd.getpwnam(name)
    if entry.pw_uid != uid:
        raise GuestError(f"the account {name} has uid {entry.pw_uid}, not its allotted {uid}")
    groups = _groups(researcher)
    if entry.pw_shell == shell and there == set(groups):
        return False
    run("usermod", "--expiredate", "", "--shell", shell, "--groups", ",".join(groups), name)
    return True


def apply(
    researcher: Researcher, uid: int, known: frozenset[str], groups: set[str] | None
) -> list[str]:
    """Make the account that is there as the roster says; returns what changed, in words.

    `known`: of the person's ids, those of an earlier roster; `groups`: those that the account is in
    (`memberships`), None where it is new (`make`). Raises GuestError.
    """
    name = researcher.name
    # Whoever asks for a workspace in the middle of a change that ends sessions gets none.
    differs = _differs(researcher)
    if researcher.end_sessions and differs:
        containers.shut(name)
    other = groups is None or _renew(researcher, uid, groups)
    changed = ["account"] if other else []
    # The state volume may remember an enrollment whose account went with the old root disk.
    now = Now(differs or other, known)
    bound = [module.bind(researcher, part, now) for module, part in _factors(researcher)]
    changed += [word for word in bound if word is not None]
    changed += door.bind(name, researcher.enrollment, researcher.access)
    _home(name, uid)
    changed += _share(researcher, uid)
    if containers.is_shut(name):
        end_sessions(name)
        containers.open_again(name)
        changed.append("sessions ended")
    return [f"{name}: {word}" for word in changed]


def _factors(researcher: Researcher) -> list[tuple[factors.Factor, Any]]:
    """All factors, each with its part, in the order in which they are bound.

    The last is the last of the person's own, which remembers the enrollment: what was cut off
    before differs still, and is done again.
    """
    every = factors.every()
    *own, last = researcher.parts
    absent = [name for name in every if name not in researcher.parts]
    return [(every[name], researcher.parts.get(name)) for name in (*own, *absent, last)]


def _differs(researcher: Researcher) -> bool:
    """Whether anything of what opens the door for this person is to change."""
    with suppress(OSError):
        return any(module.differs(researcher, part) for module, part in _factors(researcher))
    return True


def _home(name: str, uid: int) -> None:
    home = paths.HOME / name
    if not home.is_dir():
        folder(home, 0o700, uid, uid)
        folder(home / "notebooks", 0o700, uid, uid)
    folder(paths.HOME / ".tmp" / name, 0o700, uid, uid)
    folder(paths.SOCKETS / name, 0o700, uid, uid)
    place = paths.WORKSPACES / name
    folder(place, 0o755)
    users = f"root:x:0:0:root:/root:/bin/bash\n{name}:x:{uid}:{uid}:{name}:{home}:/bin/bash\n"
    write(place / "passwd", users, 0o644)
    write(place / "group", f"root:x:0:\n{name}:x:{uid}:\n", 0o644)


def _share(researcher: Researcher, uid: int) -> list[str]:
    """What they may take of a shared machine; what changed, in a word."""
    if researcher.share is not None:
        # Before systemd hears of it, with their first connection.
        place = paths.UNITS / f"user-{uid}.slice.d"
        folder(place, 0o755)
        write(place / "share.conf", BESIDE, 0o644)
    return ["share"] if containers.take_share(researcher.name, researcher.share) else []


def end_sessions(name: str) -> None:
    """End the researcher's sessions and everything that runs in their name.

    Their workspace has to be shut before (`containers.shut`): an open connection that goes on
    asking would get another. Connections go first, by control groups, which outrun a program that
    goes on starting others; then the workspace. Raises GuestError where something is left.
    """
    uid = pwd.getpwnam(name).pw_uid
    door.leave(name)
    port.stop(name)
    for _ in range(ROUNDS):
        kill_group(f"user.slice/user-{uid}.slice")
        doorkeeper.end_logins(name)
        run("pkill", "-KILL", "-u", str(uid), check=False)
        containers.remove(name)
        if not run("pgrep", "-u", str(uid), check=False).strip():
            return
        time.sleep(0.2)
    raise GuestError(f"something of {name} still runs")


def is_active(name: str) -> bool:
    """Whether `remove` has still to be done, or done again, for this account."""
    return ALL in groups_of(name)


def remove(name: str) -> None:
    """Shut the researcher out: no login first, then no session. The home stays on its volume.

    The groups go last: after an interruption `is_active` says that this has to be done again.
    """
    containers.shut(name)
    remembered.forget(name)
    door.forget(name)
    for factor in factors.every().values():
        factor.forget(name)
    run("usermod", "--expiredate", "1", name)
    port.withdraw(name)
    run("crontab", "-r", "-u", name, check=False)
    end_sessions(name)
    run("usermod", "--groups", "", name)
