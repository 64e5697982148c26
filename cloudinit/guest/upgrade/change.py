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
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from guest import paths, services
from guest.audit import store as audit
from guest.system import GuestError, alone, run, write
from guest.upgrade import versions

UNIT = "secondlock-upgrade.service"
DIGEST = re.compile(r"[0-9a-f]{64}")
PATIENCE = 30  # seconds for the door to answer; emulated, sshd takes two to start
SETTLES = 1.0  # seconds after which a program that cannot run has ended
RETIRED = (Path("/etc/fail2ban/jail.d/secondlock.conf"),)
"""Files of ours that machines from before there were links have and no bundle has any more."""
LEFT = Path(versions.tree("left"))
"""Digests that this machine has gone on from, a line each: to come back to one is to be said."""

_UNITS = "etc/systemd/system/"


class RefusedError(GuestError):
    """A bundle that would be refused again."""


class LackingError(RefusedError):
    """This machine's image lacks what a bundle needs: only a machine made anew has it."""


def start(digest: str, *flags: str) -> int:
    """Have systemd do the work, whose kill then ends nothing, and wait; print the report.

    Raises GuestError where there is none.
    """
    # In the middle of a boot, what it restarts would wait for what waits for it.
    run("timeout", "120", "systemctl", "is-system-running", "--wait", check=False)
    deadline = time.monotonic() + 2 * PATIENCE
    while _state(UNIT) not in {"inactive", "failed"} and time.monotonic() < deadline:
        time.sleep(0.2)
    program = f"{versions.tree(digest)}/{versions.LIBRARY}/upgrade"
    paths.UPGRADED.unlink(missing_ok=True)
    run(
        "systemd-run", "--quiet", "--collect", "--wait", f"--unit={UNIT}",
        "--property=Restart=on-abnormal", "--property=RestartSec=100ms",
        "--property=StartLimitIntervalSec=1h", "--property=StartLimitBurst=20",
        "--property=RuntimeMaxSec=240", *_confinement(), program, "run", digest, *flags,
    )  # fmt: skip
    if not paths.UPGRADED.exists():
        raise GuestError(f"the upgrade ended without a word; see `journalctl -u {UNIT}`")
    print(paths.UPGRADED.read_text(), end="")
    return 0


def _confinement() -> list[str]:
    """What the unit may do, as the file beside this program has it."""
    lines = (paths.PROGRAMS.parent / "upgrade.conf").read_text().splitlines()
    return [f"--property={line}" for line in lines if re.match(r"\w+=", line)]


def work(digest: str, *flags: str) -> int:
    """Upgrade to the bundle, or stay; either is told in the report, with exit code 0."""
    back = "--back" in flags
    told: dict[str, Any] = {"wanted": digest, "back": back, "error": None}
    before = versions.current()
    with alone():
        try:
            _upgrade(digest, back)
            # What the bundle before passed over of the roster counts from now on.
            paths.APPLIED.unlink(missing_ok=True)
        except Exception as fault:  # noqa: BLE001 (whatever it is, it has been undone)
            told["error"] = str(fault) or type(fault).__name__
            told["refused"] = isinstance(fault, RefusedError)
            told["lacking"] = isinstance(fault, LackingError)
            _drop(digest)
        error = told["error"]
        if error or before != digest:
            what = f"bundle {digest}" + (f": {error}" if error else "")
            audit.note("change", what, "refused" if error else "done")
        write(paths.UPGRADED, json.dumps({**told, "next_boot": _next_boot()}) + "\n", 0o644)
    print(json.dumps({"bundle": versions.current(), **told}))
    return 0


def recover() -> None:
    """At boot, before the door opens: what was under way when the power went is undone.

    Not what is under way now: where it restarts sshd, and this boot was the machine's first, the
    unit that calls this starts only then.
    """
    if digest := versions.current():
        versions.copy(digest)
    under_way = _under_way()
    if under_way is None or under_way.get("boot") == _boot():
        return
    _go(under_way["to"], under_way["from"])
    paths.UPGRADE.unlink()
    run("systemctl", "daemon-reload")
    # The unit that calls this may not do it itself.
    run("systemctl", "reload", "--no-block", "nftables.service", check=False)
    told = {"wanted": under_way["to"], "error": "the power went in the middle of the upgrade"}
    paths.RUN.mkdir(mode=0o755, exist_ok=True)
    write(paths.UPGRADED, json.dumps({**told, "next_boot": []}) + "\n", 0o644)


def wanted(digest: Any, back: bool) -> bool:
    """Whether a bundle that AWS names is another than ours, and was not refused just so before."""
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        return False
    if digest == versions.current():
        return paths.UPGRADE.exists()
    told = _told()
    same = (told.get("wanted"), told.get("back")) == (digest, back)
    return not (same and told.get("refused"))


def fetch(machine: dict[str, str], digest: str) -> None:
    """Get the bundle from S3 and unpack it. Raises GuestError."""
    from guest import stub

    try:
        content = stub.aws({**machine, "bundle": digest})
    except Exception as error:  # noqa: BLE001 (what a network can bring is long)
        raise GuestError(f"the bundle does not come from S3: {error}") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise GuestError("the bundle arrived damaged")
    try:
        stub.unpack(content, digest)
    except OSError as error:
        raise GuestError(f"the bundle cannot be unpacked: {error}") from None


def report() -> dict[str, Any]:
    """The bundle that runs, what became of the last upgrade, and what waits for the next boot."""
    return {
        "version": versions.current(),
        "error": _told().get("error"),
        "next_boot": _next_boot(),
    }


def _told() -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        return dict(json.loads(paths.UPGRADED.read_text()))
    return {}


def _next_boot() -> list[str]:
    with contextlib.suppress(OSError):
        return paths.NEXT_BOOT.read_text().split()
    return []


def _boot() -> str:
    """Which boot of the machine this is (random(4))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _under_way() -> dict[str, str] | None:
    """What the journal says: `from`, `to`, and in which boot of the machine."""
    try:
        return dict(json.loads(paths.UPGRADE.read_text()))
    except FileNotFoundError:
        return None


def _upgrade(digest: str, back: bool) -> None:
    under_way = _under_way()
    if under_way and under_way["to"] != digest:  # another one, that nobody begins again
        _undo(under_way["from"], under_way["to"])
        under_way = None
    before = under_way["from"] if under_way else _before(digest)
    if before == digest:
        return
    if not under_way:
        _refuse_older(digest, back)
        _look_at(digest)
        versions.gather(before, versions.covered(before, digest))
    journal = {"from": before, "to": digest, "boot": _boot()}
    write(paths.UPGRADE, json.dumps(journal), 0o600)
    try:
        _go(before, digest)
        _tell(before, digest)
        if paths.HOST_KEY.exists():  # else nobody was let in before
            _knock()
    except Exception as fault:  # noqa: BLE001 (whatever it is)
        _undo(before, digest)
        raise GuestError(f"{fault}; the bundle before it runs again") from None
    _remember(before, digest, back)
    paths.UPGRADE.unlink()
    os.sync()


def _undo(before: str, digest: str) -> None:
    """The bundle before, and what runs told of it, as far as that goes."""
    _go(digest, before)
    paths.UPGRADE.unlink()
    with contextlib.suppress(GuestError):
        _tell(digest, before)
    with contextlib.suppress(GuestError):
        run("systemctl", "start", "ssh.service")


def _drop(digest: str) -> None:
    """Remove a bundle that is refused; never one that runs, or to go back to."""
    under_way = _under_way() or {}
    if digest not in {versions.current(), *under_way.values()}:
        shutil.rmtree(versions.tree(digest), ignore_errors=True)


def _before(digest: str) -> str:
    """The bundle to go back to; a machine from before there were links gets a folder for it."""
    before = versions.current()
    if before is None:
        before = str(json.loads(paths.MACHINE.read_text()).get("bundle", "0" * 64))
        versions.gather(before, versions.files(digest))
        versions.switch(before)
        versions.link(before)
        for path in RETIRED:
            path.unlink(missing_ok=True)
    return before


def _refuse_older(digest: str, back: bool) -> None:
    if not back and LEFT.exists() and digest in LEFT.read_text().split():
        raise RefusedError(
            "this bundle was replaced here by a newer one: pull the newest Secondlock, or say"
            " secondlock:olderBundle true"
        )


def _look_at(digest: str) -> None:
    """Refuse what would not work, before anything changes. Raises RefusedError."""
    try:
        _look(Path(versions.tree(digest)))
    except LackingError:
        raise
    except (GuestError, OSError, ValueError, KeyError) as fault:
        raise RefusedError(str(fault)) from None


def _look(tree: Path) -> None:
    library = tree / versions.LIBRARY
    if not (library / "bundle.json").is_file():
        raise GuestError("what came is no bundle of ours")
    about = json.loads((library / "bundle.json").read_text())
    if about["target"] != json.loads(paths.MACHINE.read_text())["target"]:
        raise GuestError("the bundle is another target's")
    missing = [path for path in about["files"] if not (tree / path).is_file()]
    if missing:
        raise GuestError(f"the bundle was unpacked without {missing[0]}")
    _load(library)
    run(str(tree / "usr/local/sbin/secondlock-sync"), "serial")
    run("sh", "-n", str(library / "shell"))
    if paths.HOST_KEY.exists():
        run("/usr/sbin/sshd", "-t", "-f", str(tree / "etc/ssh/sshd_config.d/00-secondlock.conf"))
    run("nft", "-c", "-f", str(tree / "etc/nftables.conf"))
    run("visudo", "-c", "-q", "-f", str(tree / "etc/sudoers.d/secondlock"))
    json.loads((tree / "etc/docker/daemon.json").read_text())
    for method in about["methods"].values():
        _look_at_pam(tree / "etc/pam.d" / method["service"])


def _load(library: Path) -> None:
    """Import every program, which compiles them: logins cannot, for which /usr is read-only."""
    files = sorted((library / "guest").rglob("*.py"))
    names = [".".join(each.relative_to(library).with_suffix("").parts) for each in files]
    modules = ", ".join(name.removesuffix(".__init__") for name in names if name != "guest.stub")
    imports = f"import sys; sys.path.insert(0, {str(library)!r}); import {modules}"
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", imports], capture_output=True, text=True, check=False
    )
    if done.returncode:
        words = done.stderr.strip().splitlines()
        raise GuestError(f"its programs do not load: {words[-1][:200] if words else ''}")


def _look_at_pam(stack: Path) -> None:
    """Each module is there: PAM takes a missing one for a refusal (pam.d(5))."""
    lines = [line.split("#")[0].split() for line in stack.read_text().splitlines()]
    for module in {word for line in lines for word in line[2:3] if word.endswith(".so")}:
        if not [*Path("/usr/lib").glob(f"*/security/{module}")]:
            raise LackingError(
                f"this machine's image has no {module}, which {stack.name} asks for: raise"
                " `rebuild:` in its request"
            )


def _go(before: str, digest: str) -> None:
    """The files of one bundle in place of another's. Raises GuestError where it is not whole."""
    new = versions.files(digest)
    if "usr/local/sbin/secondlock-sync" not in new:
        raise GuestError(f"the bundle {digest} is not whole on this machine")
    versions.switch(digest)
    versions.link(digest)
    versions.unlink(versions.files(before) - new)


def _tell(before: str, digest: str) -> None:
    """Bring what runs up to the files that differ: all of it, whatever becomes of a part.

    Raises GuestError where something stays down.
    """
    changed = _differences(before, digest)
    faults = []
    for command in _commands(changed):
        try:
            run(*command)
        except GuestError as fault:
            faults.append(str(fault))
    if paths.PREPARED.exists():
        services.start_at_boot()
        faults += services.start()
    time.sleep(SETTLES)
    for unit in _ours(changed):
        if _state(unit) not in {"active", "inactive"}:
            faults.append(f"{unit} does not run")
    later = [path for path in changed if path.startswith(tuple(services.about()["later"]))]
    if later:
        write(paths.NEXT_BOOT, "\n".join(sorted({*_next_boot(), *later})) + "\n", 0o644)
    if faults:
        raise GuestError(faults[0])


def _commands(changed: set[str]) -> list[tuple[str, ...]]:
    """What to run for these files, each command once."""
    told: dict[str, str] = services.about()["changed"]
    commands: dict[tuple[str, ...], None] = {}
    if any(path.startswith(_UNITS) for path in changed):
        commands[("systemctl", "daemon-reload")] = None
    for path in sorted(changed):
        starts = [start for start in told if path.startswith(start)]
        if starts:
            commands[tuple(told[max(starts, key=len)].split())] = None
    for unit in {command[2] for command in commands if command[1] == "restart"}:
        commands.pop(("systemctl", "reload-or-restart", unit), None)
    for unit in _ours(changed):
        commands["systemctl", "try-restart", unit] = None
    return list(commands)


def _ours(changed: set[str]) -> list[str]:
    """Services and timers of ours that the change concerns, as far as the machine has them."""
    about = services.about()
    units = [unit for unit in about["restarts"] if _concerns(unit, changed)]
    units += [unit for unit in about["timers"] if f"{_UNITS}{unit}" in changed]
    return [unit for unit in units if (paths.UNITS / unit).exists()]


def _concerns(unit: str, changed: set[str]) -> bool:
    """Whether a service of ours runs what has changed: its unit, or any program."""
    return any(path.startswith(versions.LIBRARY) or path == f"{_UNITS}{unit}" for path in changed)


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


def _remember(before: str, digest: str, back: bool) -> None:
    """What was left is not come back to unasked; with `back`, it was the newer one that was left.

    The upgrade is done: where there is no room for this, it stands all the same.
    """
    with contextlib.suppress(OSError, GuestError):
        left = LEFT.read_text().split() if LEFT.exists() else []
        kept = dict.fromkeys([*left, *([] if back else [before])])
        write(LEFT, "".join(f"{each}\n" for each in kept if each != digest), 0o644)
        versions.keep({before, digest})


def _state(unit: str) -> str:
    return run("systemctl", "is-active", unit, check=False).strip()


def main() -> int:
    """The command line: `upgrade start|run DIGEST [--back]`."""
    try:
        return {"start": start, "run": work}[sys.argv[1]](*sys.argv[2:])
    except GuestError as error:
        print(error, file=sys.stderr)
        return 1
