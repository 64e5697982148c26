"""secondlock-upgrade: from one bundle to another on a machine where people work.

`start DIGEST [--back]` has systemd do it and prints what became of it: a bundle that was unpacked
is looked at, switched to by one rename, and what runs is told of what has changed; sessions,
workspaces and bans live on. Where the door does not answer then, or anything does not start, the
bundle before runs again. `run` is the work itself; killed, it is begun again and ends with one or
the other.
"""

import contextlib
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from guest import door, paths, versions
from guest.system import GuestError, alone, run, write

UNIT = "secondlock-upgrade.service"
DIGEST = re.compile(r"[0-9a-f]{64}")
PATIENCE = 30  # seconds for the door to answer; emulated, sshd takes two to start
LEFT = Path(versions.tree("left"))
"""Digests that this machine has gone on from, a line each: to come back to one is to be said."""

_UNITS = "etc/systemd/system/"
# What is told of a changed file, by how its path begins. The first that fits counts.
_TELL: tuple[tuple[str, tuple[str, ...]], ...] = (
    (f"{_UNITS}ssh.service.d/", ("systemctl", "restart", "ssh.service")),
    ("etc/ssh/", ("systemctl", "reload", "ssh.service")),
    ("etc/nftables.conf", ("nft", "-f", "/etc/nftables.conf")),
    (f"{_UNITS}fail2ban.service.d/", ("systemctl", "try-restart", "fail2ban.service")),
    # It keeps the bans (fail2ban-client(1), reload).
    ("etc/fail2ban/", ("fail2ban-client", "reload")),
    (f"{_UNITS}chrony.service.d/", ("systemctl", "try-restart", "chrony.service")),
    ("etc/chrony/", ("systemctl", "try-restart", "chrony.service")),
    ("etc/systemd/resolved.conf.d/", ("systemctl", "try-restart", "systemd-resolved.service")),
    ("etc/sysctl.d/", ("systemctl", "restart", "systemd-sysctl.service")),
)
# Programs of ours that run all the time, and timers: a running Jupyter keeps what it began with.
_LIVING = ("clock.service", "doorkeeper.service", "spot.service")
_TIMERS = ("fetch.timer", "ship.timer", "status.timer")
# A restart of these would end people's work, or lose log lines: they follow at the next boot.
_LATER = (
    "etc/docker/",
    f"{_UNITS}docker.service.d/",
    f"{_UNITS}containerd.service.d/",
    "etc/systemd/journald.conf.d/",
    "etc/systemd/logind.conf.d/",
    "etc/modprobe.d/",
)


def start(digest: str, *flags: str) -> int:
    """Have systemd do the work, whose kill then ends nothing, and wait; print the report.

    Raises GuestError where there is none.
    """
    deadline = time.monotonic() + 10 * PATIENCE
    while _state(UNIT) not in {"inactive", "failed"} and time.monotonic() < deadline:
        time.sleep(0.2)
    program = f"{versions.tree(digest)}/{versions.LIBRARY}/upgrade"
    paths.UPGRADED.unlink(missing_ok=True)
    run(
        "systemd-run", "--quiet", "--collect", "--wait", f"--unit={UNIT}",
        "--property=Restart=on-abnormal", "--property=RestartSec=100ms",
        "--property=StartLimitIntervalSec=0", program, "run", digest, *flags,
    )  # fmt: skip
    if not paths.UPGRADED.exists():
        raise GuestError(f"the upgrade ended without a word; see `journalctl -u {UNIT}`")
    print(paths.UPGRADED.read_text(), end="")
    return 0


def work(digest: str, *flags: str) -> int:
    """Upgrade to the bundle, or stay; either is told in the report, with exit code 0."""
    with alone():
        error = None
        before = versions.current()
        try:
            if digest != before or paths.UPGRADE.exists():
                _upgrade(digest, "--back" in flags)
        except (GuestError, OSError, ValueError) as fault:
            error = str(fault)
            versions.keep({each for each in (versions.current(), before) if each})
        _report(digest, error)
    print(json.dumps({"bundle": versions.current(), "before": before, "error": error}))
    return 0


def recover() -> None:
    """At boot, before the door opens: what was under way when the power went is undone."""
    with contextlib.suppress(FileNotFoundError):
        under_way = json.loads(paths.UPGRADE.read_text())
        _go(under_way["to"], under_way["from"])
        run("systemctl", "daemon-reload")
        paths.UPGRADE.unlink()
        _report(under_way["to"], "the power went in the middle of the upgrade")


def wanted(digest: Any) -> bool:
    """Whether a bundle that AWS names is another than ours, and has not been refused before."""
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest) or digest == versions.current():
        return False
    with contextlib.suppress(OSError, ValueError):
        told = json.loads(paths.UPGRADED.read_text())
        return not (told["error"] and told["wanted"] == digest)
    return True


def fetch(machine: dict[str, str], digest: str) -> None:
    """Get the bundle from S3 and unpack it. Raises GuestError."""
    from guest import stub

    try:
        content = stub.aws({**machine, "bundle": digest})
    except (OSError, ValueError) as error:
        raise GuestError(f"the bundle does not come from S3: {error}") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise GuestError("the bundle arrived damaged")
    stub.unpack(content, digest)


def report() -> dict[str, Any]:
    """The bundle that runs, what became of the last upgrade, and what waits for the next boot."""
    told: dict[str, Any] = {"error": None, "next_boot": []}
    with contextlib.suppress(OSError, ValueError):
        told |= json.loads(paths.UPGRADED.read_text())
    return {
        "version": versions.current(),
        "error": told["error"],
        "next_boot": told["next_boot"],
    }


def _upgrade(digest: str, back: bool) -> None:
    before = _before(digest)
    if before == digest:
        return
    _refuse_older(digest, back)
    _look_at(digest)
    write(paths.UPGRADE, json.dumps({"from": before, "to": digest}), 0o600)
    try:
        _go(before, digest)
        _tell(before, digest)
        if paths.HOST_KEY.exists():  # else nobody was let in before
            _knock()
    except (GuestError, OSError) as fault:
        _go(digest, before)
        _tell(digest, before)
        paths.UPGRADE.unlink()
        raise GuestError(f"{fault}; the bundle before it runs again") from None
    _remember(before, digest)
    paths.UPGRADE.unlink()


def _before(digest: str) -> str:
    """The bundle to go back to; a machine from before there were links gets a folder for it."""
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
        return str(json.loads(paths.UPGRADE.read_text())["from"])
    before = versions.current()
    if before is None:
        before = str(json.loads(paths.MACHINE.read_text()).get("bundle", "0" * 64))
        versions.gather(before, versions.files(digest))
        versions.switch(before)
        versions.link(before)
    return before


def _refuse_older(digest: str, back: bool) -> None:
    if not back and LEFT.exists() and digest in LEFT.read_text().split():
        raise GuestError(
            "this bundle was replaced here by a newer one: pull the newest Secondlock, or say"
            " secondlock:olderBundle true"
        )


def _look_at(digest: str) -> None:
    """Refuse what would not work, before anything changes. Raises GuestError."""
    tree = Path(versions.tree(digest))
    library = tree / versions.LIBRARY
    about = library / "bundle.json"
    if not about.is_file():
        raise GuestError("what came is no bundle of ours")
    if json.loads(about.read_text())["target"] != json.loads(paths.MACHINE.read_text())["target"]:
        raise GuestError("the bundle is another target's")
    names = sorted(each.stem for each in (library / "guest").glob("*.py") if each.stem != "stub")
    modules = ", ".join(f"guest.{name}" for name in names if name != "__init__")
    # It compiles them too: logins cannot, for which /usr is read-only.
    imports = f"import sys; sys.path.insert(0, {str(library)!r}); import {modules}"
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", imports], capture_output=True, text=True, check=False
    )
    if done.returncode:
        words = done.stderr.strip().splitlines()
        raise GuestError(f"its programs do not load: {words[-1][:200] if words else ''}")
    if paths.HOST_KEY.exists():
        run("/usr/sbin/sshd", "-t", "-f", str(tree / "etc/ssh/sshd_config.d/00-secondlock.conf"))
    run("nft", "-c", "-f", str(tree / "etc/nftables.conf"))
    run("visudo", "-c", "-q", "-f", str(tree / "etc/sudoers.d/secondlock"))
    json.loads((tree / "etc/docker/daemon.json").read_text())
    for stack in ("sshd", "sshd-password"):
        _look_at_pam(tree / "etc/pam.d" / stack)


def _look_at_pam(stack: Path) -> None:
    """Each module is there: PAM takes a missing one for a refusal (pam.d(5))."""
    lines = [line.split("#")[0].split() for line in stack.read_text().splitlines()]
    for module in {word for line in lines for word in line[2:3] if word.endswith(".so")}:
        if not [*Path("/usr/lib").glob(f"*/security/{module}")]:
            raise GuestError(f"this machine has no {module}, which {stack.name} asks for")


def _go(before: str, digest: str) -> None:
    """The files of one bundle in place of another's."""
    versions.switch(digest)
    versions.link(digest)
    versions.unlink(versions.files(before) - versions.files(digest))


def _tell(before: str, digest: str) -> None:
    """Bring what runs up to the files that differ. Raises GuestError where something stays down."""
    changed = _differences(before, digest)
    if any(path.startswith(_UNITS) for path in changed):
        run("systemctl", "daemon-reload")
    if paths.PREPARED.exists():
        door.start_at_boot()
    commands = {
        next(command for start, command in _TELL if path.startswith(start)): None
        for path in sorted(changed)
        if any(path.startswith(start) for start, _ in _TELL)
    }
    if ("systemctl", "restart", "ssh.service") in commands:
        commands.pop(("systemctl", "reload", "ssh.service"), None)
    for command in commands:
        run(*command)
    ours = [name for name in _LIVING if _concerns(name, changed)]
    ours += [name for name in _TIMERS if f"{_UNITS}secondlock-{name}" in changed]
    for unit in (f"secondlock-{name}" for name in ours):
        if _state(unit) == "active":
            run("systemctl", "restart", unit)


def _concerns(service: str, changed: set[str]) -> bool:
    """Whether a service of ours runs what has changed: its unit, or any program."""
    return any(
        path.startswith(versions.LIBRARY) or path == f"{_UNITS}secondlock-{service}"
        for path in changed
    )


def _differences(before: str, digest: str) -> set[str]:
    one, other = versions.files(before), versions.files(digest)
    return (one ^ other) | {
        path
        for path in one & other
        if Path(versions.tree(before), path).read_bytes()
        != Path(versions.tree(digest), path).read_bytes()
    }


def _knock() -> None:
    """Make sure that people can come in. Raises GuestError."""
    deadline = time.monotonic() + PATIENCE
    while not _greets():
        if time.monotonic() > deadline:
            raise GuestError("after the switch sshd did not answer")
        time.sleep(0.1)
    # Nobody has this name: it is refused, and no program says anything else of it.
    try:
        asked = subprocess.run(
            [f"/{versions.LIBRARY}/verify", "key+totp"], input=b"000000", capture_output=True,
            env={"PAM_USER": "unknown", "PATH": os.defpath}, timeout=PATIENCE, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise GuestError("after the switch no code was judged in time") from None
    if (asked.returncode, asked.stdout, asked.stderr) != (1, b"", b""):
        raise GuestError("after the switch codes could not be judged")
    run("/usr/local/sbin/secondlock-sync", "serial")


def _greets() -> bool:
    """Whether sshd says its first words (RFC 4253, section 4.2)."""
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", 22), PATIENCE) as connection,
    ):
        return connection.recv(8) == b"SSH-2.0-"
    return False


def _remember(before: str, digest: str) -> None:
    left = LEFT.read_text().split() if LEFT.exists() else []
    kept = [each for each in dict.fromkeys([*left, before]) if each != digest]
    write(LEFT, "".join(f"{each}\n" for each in kept), 0o644)
    versions.keep({before, digest})


def _report(wanted: str, error: str | None) -> None:
    later: list[str] = []
    with contextlib.suppress(OSError, ValueError):
        later = json.loads(paths.UPGRADED.read_text())["next_boot"]
    before = LEFT.read_text().split()[-1:] if LEFT.exists() else []
    current = versions.current()
    if error is None and before and current and Path(versions.tree(before[0])).is_dir():
        changed = _differences(before[0], current)
        later += [path for path in sorted(changed) if path.startswith(_LATER)]
    told = {"wanted": wanted, "error": error, "next_boot": sorted(set(later))}
    paths.RUN.mkdir(mode=0o755, exist_ok=True)
    write(paths.UPGRADED, json.dumps(told) + "\n", 0o644)


def _state(unit: str) -> str:
    return run("systemctl", "is-active", unit, check=False).strip()


def main() -> int:
    """The command line: `upgrade start|run DIGEST [--back]`."""
    try:
        return {"start": start, "run": work}[sys.argv[1]](*sys.argv[2:])
    except GuestError as error:
        print(error, file=sys.stderr)
        return 1
