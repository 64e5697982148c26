"""A researcher's TensorFlow container: made at the first login, entered by `crun exec`."""

import fcntl
import json
import os
import pwd
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from guest import paths
from guest.gpu import devices
from guest.network import addresses
from guest.system import GuestError, folder, kill_group, run
from guest.workspace import docker, limits, share
from guest.workspace.share import Share

# What enters a workspace: crun, or runc on a machine whose image is of before crun came into it.
# runc's copy of itself for every entry takes an emulated machine two seconds.
CRUN, RUNC = Path("/usr/bin/crun"), Path("/usr/sbin/runc")
# Where Docker has both keep what they run (dockerd(8), namespace "moby"), each by files of its own.
RUNNING = Path("/run/docker/runtime-runc/moby")
TOOLS = "/usr/local/share/secondlock/workspace"
# What the image has comes first; what it lacks is in the tools (image/toolbox.sh).
SEARCH_PATH = f"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:{TOOLS}"
# What pip must leave as it is for TensorFlow's sake: an image of one's own is asked for it, ours
# brings it (inside/constraints.py). The place is the one that inside/pip.conf names.
CONSTRAINTS = "/usr/local/share/secondlock/constraints.txt"
CONSTRAINTS_FILE = "constraints.txt"
CONSTRAINTS_SECONDS = 60
FETCH = "/usr/local/lib/secondlock/fetch-image"
# What it says of an image that is not here yet, or cannot be fetched.
NOTE = paths.RUN / "image"
MIB = 1024 * 1024
# What the machine keeps for itself: sshd must answer while a workspace eats all it may have.
RESERVED_MEMORY = 512 * MIB
STOPPED = 30  # seconds
# Of the processors' time, where services have 1024: all that they leave, and little more.
SHARES = 64
# Where the machine's name servers stand (systemd-resolved.service(8)): its own answers on the
# loopback are not those of a workspace with a network of its own.
RESOLVERS = "/run/systemd/resolve/resolv.conf"


def _whole_machine() -> Share:
    """What a workspace may take that has the machine for itself.

    Processes and threads: what libraries start grows with the processors, and what starts without
    end must not take the kernel's time from the machine.
    """
    memory = max(_total_memory() - RESERVED_MEMORY, RESERVED_MEMORY) // MIB
    return Share(gpus=(), memory=memory, pids=1024 + 256 * (os.cpu_count() or 1), home=0)


def container_name(user: str) -> str:
    """The workspace's container, by its researcher."""
    return f"workspace-{user}"


@contextmanager
def _alone(user: str) -> Iterator[None]:
    """Two logins at once must not make two containers."""
    folder(paths.RUN / "workspaces", 0o700)
    with (paths.RUN / "workspaces" / f"{user}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def search_path(account: pwd.struct_passwd) -> str:
    """The PATH of what runs there: what a researcher installed goes first, as pip expects it."""
    return f"{account.pw_dir}/.local/bin:{SEARCH_PATH}"


def _pip_binds(image: str, files: Path) -> list[str]:
    """pip's settings for an image of one's own, where the system's Python looks for them and no
    virtual environment does (`sys.prefix`; pip's user guide, "Configuration")."""
    if "@" not in image:
        return []
    places = [f"{TOOLS}/pip.conf:{prefix}/pip.conf:ro" for prefix in ("/usr", "/usr/local")]
    return [f"{files}/{CONSTRAINTS_FILE}:{CONSTRAINTS}:ro", *places]


def _constrain_pip(account: pwd.struct_passwd, container: str) -> None:
    """Ask the image's own Python for CONSTRAINTS; with none, or without an answer, pip is free.

    By Docker: it is no person's command, and who makes a workspace before anybody comes may not
    enter it (secondlock-settle.service).
    """
    own = ("--user", f"{account.pw_uid}:{account.pw_gid}", "--env", f"PATH={SEARCH_PATH}")
    argv = ["docker", "exec", *own, container, "python3", "-I", f"{TOOLS}/constraints.py"]
    with suppress(subprocess.TimeoutExpired):
        asked = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=CONSTRAINTS_SECONDS,
            check=False,
        )  # fmt: skip
        if asked.returncode == 0:
            # The same file: the container has this one.
            (paths.WORKSPACES / account.pw_name / CONSTRAINTS_FILE).write_bytes(asked.stdout)


def _total_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _definition(account: pwd.struct_passwd, image: str) -> dict[str, Any]:
    """The container as Docker's API takes it (Engine API, ContainerCreate)."""
    of_machine = share.of(account.pw_name)
    mine = of_machine or _whole_machine()
    files = paths.WORKSPACES / account.pw_name
    return {
        "Image": image,
        "User": f"{account.pw_uid}:{account.pw_gid}",
        "WorkingDir": account.pw_dir,
        "Entrypoint": ["sleep"],
        "Cmd": ["infinity"],
        "Env": [f"HOME={account.pw_dir}", f"USER={account.pw_name}", f"PATH={SEARCH_PATH}"],
        "HostConfig": {
            # A member's is joined once it runs (guest/network/).
            "NetworkMode": _network(of_machine),
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "ReadonlyRootfs": True,
            "Init": True,
            **_limits(mine),
            "ShmSize": mine.memory * MIB // 4,
            "IpcMode": "private",
            "Runtime": (CRUN if CRUN.exists() else RUNC).name,
            "RestartPolicy": {"Name": "unless-stopped"},
            # What runs in it can write as much as it likes to where its first process does.
            "LogConfig": {"Type": "none"},
            "DeviceRequests": devices.requests(_devices(account.pw_name)),
            "Binds": [
                f"{account.pw_dir}:{account.pw_dir}",
                f"{paths.HOME}/.tmp/{account.pw_name}:/tmp",
                f"{paths.HOME}/.tmp/{account.pw_name}:/var/tmp",
                f"{paths.SOCKETS}/{account.pw_name}:/run/secondlock",
                f"{files}/passwd:/etc/passwd:ro",
                f"{files}/group:/etc/group:ro",
                f"{TOOLS}:{TOOLS}:ro",
                f"{TOOLS}/profile.sh:/etc/profile.d/secondlock.sh:ro",
                f"{TOOLS}/tmux.conf:/etc/tmux.conf:ro",
                # Where sshd's and every client's Subsystem looks for it.
                f"{TOOLS}/sftp-server:/usr/lib/openssh/sftp-server:ro",
                *_pip_binds(image, files),
                *([f"{RESOLVERS}:/etc/resolv.conf:ro"] if of_machine else []),
            ],
        },
    }


def _network(of_machine: Share | None) -> str:
    return "host" if of_machine is None else "none"


def _limits(mine: Share) -> dict[str, int]:
    """As Docker takes them for a container that is made, and for one that runs."""
    memory = mine.memory * MIB
    return {
        "Memory": memory,
        "MemorySwap": memory,
        "CpuShares": SHARES,
        "NanoCpus": int((mine.cpus or os.cpu_count() or 1) * 10**9),
        "PidsLimit": mine.pids,
    }


def _gpus(user: str) -> tuple[int, ...] | None:
    """Which of the machine's are this person's, by number; None: all."""
    of_machine = share.of(user)
    return None if of_machine is None else of_machine.gpus


def _devices(user: str) -> list[str]:
    """The CDI names of what this person's workspace shall have."""
    return devices.offered(_gpus(user))


def _inspect(user: str) -> Any:
    return docker.call("GET", f"/containers/{container_name(user)}/json", missing_ok=True)


def states(users: Iterable[str]) -> dict[str, tuple[str, bool]]:
    """Of each workspace `running`, `stopped` or `none`, with what is the matter with its image; and
    whether it has the machine's GPU. Raises GuestError where Docker does not say."""
    # Most people of a large machine have none: Docker is asked of those alone that it has.
    there = having(users)
    return {user: _state(user, user in there) for user in users}


def having(users: Iterable[str]) -> set[str]:
    """Whose workspace is there, running or not. Raises GuestError where Docker does not say."""
    listed = docker.call("GET", "/containers/json?all=true")
    there = {name.lstrip("/") for each in listed for name in each["Names"]}
    return {user for user in users if container_name(user) in there}


def _state(user: str, there: bool) -> tuple[str, bool]:
    found = _inspect(user) if there else None
    if found is None:
        with suppress(OSError):
            return NOTE.read_text().strip(), False
        return "none", False
    has = bool(devices.held(found["HostConfig"]))
    return "running" if found["State"]["Running"] else "stopped", has


def _remembered(user: str) -> tuple[str, list[str]]:
    """The container's id and its devices, as `ensure` last saw them in this boot."""
    with suppress(OSError, ValueError):
        found, *given = (paths.RUN / "workspaces" / f"{user}.id").read_text().split()
        return found, given
    return "", []


def _remember(user: str, container: Any) -> None:
    words = [container["Id"], *devices.held(container["HostConfig"])]
    (paths.RUN / "workspaces" / f"{user}.id").write_text(" ".join(words))


def running(user: str) -> str | None:
    """The container's id, when what runs it says that it is there: spares Docker a question.

    None also where its devices are not those of the machine, or its limits not those of its share.
    """
    found, given = _remembered(user)
    there = bool(found) and _runtime(found) is not None and _is_joined(user)
    as_shall_be = there and given == _devices(user) and not _owed(user).exists()
    return found if as_shall_be else None


def _is_joined(user: str) -> bool:
    """Whether it has the network that it shall have: a link goes with what it was made for."""
    if share.of(user) is None:
        return True
    link = addresses.link(pwd.getpwnam(user).pw_uid)
    with suppress(OSError):
        return Path("/sys/class/net", link, "operstate").read_text().strip() == "up"
    return False


def _runtime(container: str) -> Path | None:
    """What runs the container; None where nothing does."""
    for program, mark in ((CRUN, "status"), (RUNC, "state.json")):
        if (RUNNING / container / mark).exists():
            return program
    return None


def complaint(user: str) -> str | None:
    """What the researcher has to know of the workspace that they enter."""
    return devices.complaint(_remembered(user)[1], _gpus(user))


def _is_outdated(user: str, container: Any) -> bool:
    """Whether to make it again: its devices are not those that it shall have, and nobody is in it.

    Without its list a container that names it does not start (Docker: "unresolvable CDI devices").
    """
    if devices.held(container["HostConfig"]) == _devices(user):
        return False
    return not container["State"]["Running"] or _is_empty(container["State"]["Pid"])


def _is_empty(first: int) -> bool:
    """Whether nothing runs but Docker's init and what it was told to run (cgroups(7))."""
    try:
        group = Path(f"/proc/{first}/cgroup").read_text().strip().rpartition("::/")[2]
        return len(Path("/sys/fs/cgroup", group, "cgroup.procs").read_text().split()) <= 2
    except OSError:
        return False


def _fetch(image: str) -> None:
    """Have an image that is not here fetched; the program shows the person how far it is.

    secondlock-image.service has run it before anybody asks, as far as it came.
    """
    if docker.call("GET", f"/images/{image}/json", missing_ok=True) is not None:
        return
    # Standard output is the session's data.
    if subprocess.run([FETCH], stdout=2, check=False).returncode != 0:
        raise GuestError("its image is not here")


def ensure(account: pwd.struct_passwd) -> str:
    """The id of the researcher's running container; made or started where it is not.

    One whose devices are not those of the machine is made again when nobody is in it. Raises
    GuestError in Docker's words.
    """
    user = account.pw_name
    if is_shut(user):
        raise GuestError("your sessions are being ended; connect again in a moment")
    if known := running(user):
        return known
    image = json.loads(paths.MACHINE.read_text())["image"]
    _fetch(image)
    devices.prepare()
    with _alone(user):
        if is_shut(user):  # since we looked
            raise GuestError("your sessions are being ended; connect again in a moment")
        found = _inspect(user)
        if found is not None and _is_outdated(user, found):
            docker.call("DELETE", f"/containers/{found['Id']}?force=true")
            found = None
        ask_for_pip = found is None and "@" in image
        if found is None:
            (paths.WORKSPACES / user / CONSTRAINTS_FILE).touch(0o644)
            path = f"/containers/create?name={container_name(user)}"
            docker.call("POST", path, _definition(account, image))
            found = _inspect(user)
        of_machine = share.of(user)
        if of_machine is not None and _owed(user).exists():
            _limit(user, found, of_machine)
        docker.call("POST", f"/containers/{found['Id']}/start")
        if not _is_joined(user):
            run("systemctl", "start", f"secondlock-network@{user}.service")
        if ask_for_pip:
            _constrain_pip(account, found["Id"])
        _remember(user, found)
    return str(found["Id"])


def shut(user: str) -> None:
    """From now on nobody enters this workspace, and none is made, until `open_again`.

    A mark in /run: whatever cuts off the one who set it, it stays, and at a restart nothing runs.
    """
    folder(paths.SHUT, 0o700)
    (paths.SHUT / user).touch()


def is_shut(user: str) -> bool:
    """Whether the workspace is shut."""
    return (paths.SHUT / user).exists()


def open_again(user: str) -> None:
    """Let the person in again."""
    (paths.SHUT / user).unlink(missing_ok=True)


def stop(user: str) -> None:
    """End all that runs in it, however full it is; it starts anew, with its home as it was.

    Raises GuestError where Docker has not noticed within `STOPPED` seconds.
    """
    with _alone(user):
        before = _inspect(user)
        if before is None or not before["State"]["Running"]:
            return
        kill_group(limits.group(before["Id"]))
        deadline = time.monotonic() + STOPPED
        while (found := _inspect(user)) and found["State"]["StartedAt"] == before["State"][
            "StartedAt"
        ]:
            if not found["State"]["Running"]:
                return
            if time.monotonic() > deadline:
                raise GuestError("what ran in it was ended, but Docker does not say so")
            time.sleep(0.2)


def remove(user: str) -> None:
    """End the container and all that runs in it.

    By its control group first: Docker cannot end what starts processes faster than it counts them.
    """
    with _alone(user):
        if found := _inspect(user):
            kill_group(limits.group(found["Id"]))
        (paths.RUN / "workspaces" / f"{user}.id").unlink(missing_ok=True)
        docker.call("DELETE", f"/containers/{container_name(user)}?force=true", missing_ok=True)


def take_share(user: str, of_machine: Share | None) -> bool:
    """Have a workspace get what its person's share is now, also while it runs; True for a change.

    Other devices it gets when it is empty (`ensure`). Memory that is in use it keeps, since the
    kernel would end who uses it: each login asks for that again.
    """
    if not share.keep(user, of_machine):
        return False
    with _alone(user):
        # The next login looks at everything again.
        (paths.RUN / "workspaces" / f"{user}.id").unlink(missing_ok=True)
        if of_machine is not None and (found := _inspect(user)) is not None:
            _limit(user, found, of_machine)
    return True


def _limit(user: str, container: Any, of_machine: Share) -> None:
    """Hold it to the share, as far as that ends nothing."""
    can_be = _can_be(of_machine, container)
    docker.call("POST", f"/containers/{container['Id']}/update", _limits(can_be))
    if can_be == of_machine:
        _owed(user).unlink(missing_ok=True)
    else:
        _owed(user).touch()


def _owed(user: str) -> Path:
    """Where a workspace has more memory than its share until it can be without."""
    return paths.WORKSPACES / user / "owed"


def _can_be(of_machine: Share, container: Any) -> Share:
    """The share, with the memory of before where what runs holds more than it has."""
    before = container["HostConfig"]["Memory"] // MIB
    if not container["State"]["Running"] or of_machine.memory >= before:
        return of_machine
    with suppress(OSError):  # it has just ended
        if limits.held(container["Id"]) + limits.MEMORY > of_machine.memory * MIB:
            return replace(of_machine, memory=before)
    return of_machine


def enter_command(
    account: pwd.struct_passwd,
    container: str,
    command: list[str],
    environment: Mapping[str, str],
    terminal: bool,
) -> list[str]:
    """The `crun exec` that runs a command in the workspace, as the researcher.

    Not `docker exec`: the process stays in the session's audit trail (loginuid) and ends with the
    connection.
    """
    program = _runtime(container) or CRUN
    argv = [str(program), "--root", str(RUNNING), "exec"]
    if program == CRUN:
        argv.append("--no-new-privs")  # runc does as the container's definition says
    if terminal:
        argv.append("--tty")
    argv += ["--user", f"{account.pw_uid}:{account.pw_gid}", "--cwd", account.pw_dir]
    for name, value in environment.items():
        argv += ["--env", f"{name}={value}"]
    return [*argv, container, *command]
