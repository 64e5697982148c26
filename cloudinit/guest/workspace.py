"""A researcher's TensorFlow container: made at the first login, entered by `runc exec`."""

import fcntl
import json
import os
import pwd
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from guest import docker, paths
from guest.system import folder

RUNC = "/usr/sbin/runc"
# Where Docker's runc keeps the containers that it runs (dockerd(8), namespace "moby").
RUNC_ROOT = Path("/run/docker/runtime-runc/moby")
TOOLS = "/usr/local/share/secondlock/workspace"
SEARCH_PATH = f"{TOOLS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MIB = 1024 * 1024
# What the machine keeps for itself: sshd must answer while a workspace eats all it may have.
RESERVED_MEMORY = 512 * MIB
PIDS = 4096


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


def _total_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _definition(account: pwd.struct_passwd, image: str) -> dict[str, Any]:
    """The container as Docker's API takes it (Engine API, ContainerCreate)."""
    memory = max(_total_memory() - RESERVED_MEMORY, RESERVED_MEMORY)
    files = paths.WORKSPACES / account.pw_name
    return {
        "Image": image,
        "User": f"{account.pw_uid}:{account.pw_gid}",
        "WorkingDir": account.pw_dir,
        "Entrypoint": ["sleep"],
        "Cmd": ["infinity"],
        "Env": [f"HOME={account.pw_dir}", f"USER={account.pw_name}", f"PATH={SEARCH_PATH}"],
        "HostConfig": {
            "NetworkMode": "host",
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "ReadonlyRootfs": True,
            "Init": True,
            "Memory": memory,
            "MemorySwap": memory,
            "NanoCpus": (os.cpu_count() or 1) * 10**9,
            "PidsLimit": PIDS,
            "ShmSize": memory // 4,
            "IpcMode": "private",
            "RestartPolicy": {"Name": "unless-stopped"},
            "Binds": [
                f"{account.pw_dir}:{account.pw_dir}",
                f"{paths.HOME}/.tmp/{account.pw_name}:/tmp",
                f"{paths.HOME}/.tmp/{account.pw_name}:/var/tmp",
                f"{files}/passwd:/etc/passwd:ro",
                f"{files}/group:/etc/group:ro",
                f"{TOOLS}:{TOOLS}:ro",
            ],
        },
    }


def _inspect(user: str) -> Any:
    return docker.call("GET", f"/containers/{container_name(user)}/json", missing_ok=True)


def state(user: str) -> str:
    """`running`, `stopped` or `none`."""
    found = _inspect(user)
    if found is None:
        return "none"
    return "running" if found["State"]["Running"] else "stopped"


def _cached(user: str) -> str | None:
    """The container's id, when runc itself says that it is there: spares Docker a question."""
    try:
        found = (paths.RUN / "workspaces" / f"{user}.id").read_text()
    except OSError:
        return None
    return found if found and (RUNC_ROOT / found / "state.json").exists() else None


def _create(account: pwd.struct_passwd, image: str) -> Any:
    """The new container; an image that was not baked in is fetched first."""
    path = f"/containers/create?name={container_name(account.pw_name)}"
    definition = _definition(account, image)
    made = docker.call("POST", path, definition, missing_ok=True)
    if made is None:
        docker.pull(image)
        made = docker.call("POST", path, definition)
    return made


def ensure(account: pwd.struct_passwd) -> str:
    """The id of the researcher's running container; made or started where it is not.

    Raises GuestError in Docker's words.
    """
    user = account.pw_name
    if known := _cached(user):
        return known
    image = json.loads(paths.MACHINE.read_text())["image"]
    with _alone(user):
        found = _inspect(user)
        if found is None:
            found = _create(account, image)
        docker.call("POST", f"/containers/{found['Id']}/start")
        (paths.RUN / "workspaces" / f"{user}.id").write_text(found["Id"])
    return str(found["Id"])


def remove(user: str) -> None:
    """End the container and all that runs in it."""
    with _alone(user):
        (paths.RUN / "workspaces" / f"{user}.id").unlink(missing_ok=True)
        docker.call("DELETE", f"/containers/{container_name(user)}?force=true", missing_ok=True)


def enter_command(
    account: pwd.struct_passwd,
    container: str,
    command: list[str],
    environment: Mapping[str, str],
    terminal: bool,
) -> list[str]:
    """The `runc exec` that runs a command in the workspace, as the researcher.

    runc rather than `docker exec`: the process stays in the session's audit trail (loginuid) and
    ends with the connection.
    """
    argv = [RUNC, "--root", str(RUNC_ROOT), "exec"]
    if terminal:
        argv.append("--tty")
    argv += ["--user", f"{account.pw_uid}:{account.pw_gid}", "--cwd", account.pw_dir]
    for name, value in environment.items():
        argv += ["--env", f"{name}={value}"]
    return [*argv, container, *command]
