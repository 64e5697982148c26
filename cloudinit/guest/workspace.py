"""A researcher's TensorFlow container: made at the first login, entered by `runc exec`."""

import fcntl
import json
import os
import pwd
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from guest import docker, paths
from guest.system import GuestError, folder

RUNC = "/usr/sbin/runc"
# Where Docker's runc keeps the containers that it runs (dockerd(8), namespace "moby").
RUNC_ROOT = Path("/run/docker/runtime-runc/moby")
TOOLS = "/usr/local/share/secondlock/workspace"
# What the image has comes first; what it lacks is in the tools (tools/image/toolbox.sh).
SEARCH_PATH = f"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:{TOOLS}"
FETCH = "/usr/local/lib/secondlock/fetch-image"
# What it says of an image that is not here yet, or cannot be fetched.
NOTE = paths.RUN / "image"
# What secondlock-gpu.service writes where there is a GPU (Container Device Interface).
GPU_LIST = Path("/run/cdi/nvidia.yaml")
GPUS = {"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=all"]}
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
            "DeviceRequests": [GPUS] if GPU_LIST.exists() else [],
            "Binds": [
                f"{account.pw_dir}:{account.pw_dir}",
                f"{paths.HOME}/.tmp/{account.pw_name}:/tmp",
                f"{paths.HOME}/.tmp/{account.pw_name}:/var/tmp",
                f"{files}/passwd:/etc/passwd:ro",
                f"{files}/group:/etc/group:ro",
                f"{TOOLS}:{TOOLS}:ro",
                f"{TOOLS}/profile.sh:/etc/profile.d/secondlock.sh:ro",
                # Where sshd's and every client's Subsystem looks for it.
                f"{TOOLS}/sftp-server:/usr/lib/openssh/sftp-server:ro",
            ],
        },
    }


def _inspect(user: str) -> Any:
    return docker.call("GET", f"/containers/{container_name(user)}/json", missing_ok=True)


def state(user: str) -> str:
    """`running`, `stopped` or `none`, with what is the matter with its image."""
    found = _inspect(user)
    if found is None:
        with suppress(OSError):
            return NOTE.read_text().strip()
        return "none"
    return "running" if found["State"]["Running"] else "stopped"


def running(user: str) -> str | None:
    """The container's id, when runc itself says that it is there: spares Docker a question."""
    try:
        found = (paths.RUN / "workspaces" / f"{user}.id").read_text()
    except OSError:
        return None
    return found if found and (RUNC_ROOT / found / "state.json").exists() else None


def _fetch(image: str) -> None:
    """Have an image that is not here fetched; the program shows the person how far it is.

    The golden image brings it, and runs it before anybody asks (tools/image).
    """
    if docker.call("GET", f"/images/{image}/json", missing_ok=True) is not None:
        return
    # Standard output is the session's data.
    if subprocess.run([FETCH], stdout=2, check=False).returncode != 0:
        raise GuestError("its image is not here")


def ensure(account: pwd.struct_passwd) -> str:
    """The id of the researcher's running container; made or started where it is not.

    Raises GuestError in Docker's words.
    """
    user = account.pw_name
    if known := running(user):
        return known
    image = json.loads(paths.MACHINE.read_text())["image"]
    _fetch(image)
    with _alone(user):
        found = _inspect(user)
        if found is None:
            path = f"/containers/create?name={container_name(user)}"
            found = docker.call("POST", path, _definition(account, image))
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
