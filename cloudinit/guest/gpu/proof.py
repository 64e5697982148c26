"""gpu-proof: whether each workspace sees its own GPUs and no other, asked of NVIDIA's own library.

As root on a machine with GPUs, with the names of people: `gpu-proof alice bob`. It makes their
workspaces where they are not there. Exit code 1 where one sees another's, or not all of its own.
"""

import ctypes
import inspect
import json
import pwd
import subprocess
import sys

from guest.system import GuestError
from guest.workspace import containers, share


def seen() -> list[str]:
    """The UUIDs of the GPUs that NVML has here, by their numbers (NVML API Reference Guide).

    Raises OSError where there is no such library, RuntimeError where it does not work.
    """
    nvml = ctypes.CDLL("libnvidia-ml.so.1")
    count, handle = ctypes.c_uint(), ctypes.c_void_p()

    def call(name: str, *arguments: object) -> None:
        if code := getattr(nvml, name)(*arguments):
            raise RuntimeError(f"{name} answers {code}")

    call("nvmlInit_v2")
    call("nvmlDeviceGetCount_v2", ctypes.byref(count))
    found = []
    for number in range(count.value):
        text = ctypes.create_string_buffer(96)
        call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(number), ctypes.byref(handle))
        call("nvmlDeviceGetUUID", handle, text, ctypes.c_uint(96))
        found.append(text.value.decode())
    return found


# The same, for the workspace's Python, which may be an old one; none is seen where there is no
# library, since it comes with the devices.
INSIDE = f"""
from __future__ import annotations
import ctypes, json
{inspect.getsource(seen)}
try:
    print(json.dumps(seen()))
except OSError:
    print("[]")
"""


def of_workspace(name: str) -> list[str]:
    """Those that a person's workspace sees. Raises GuestError."""
    account = pwd.getpwnam(name)
    container = containers.ensure(account)
    own = ("--user", f"{account.pw_uid}:{account.pw_gid}")
    argv = ["docker", "exec", "--interactive", *own, container, "python3", "-"]
    done = subprocess.run(argv, input=INSIDE, capture_output=True, text=True, check=False)
    if done.returncode:
        raise GuestError(f"NVIDIA's library does not answer in it: {done.stderr.strip()[-200:]}")
    return list(json.loads(done.stdout))


def wanted(name: str, every: list[str]) -> list[str]:
    """Those that it is to see."""
    of_machine = share.of(name)
    return every if of_machine is None else [every[each] for each in of_machine.gpus]


def main() -> int:
    """Print a line for each name."""
    try:
        every = seen()
    except (OSError, RuntimeError) as error:
        print(f"NVIDIA's library does not answer on this machine: {error}", file=sys.stderr)
        return 2
    print(f"machine: {' '.join(every) or 'none'}")
    wrong = 0
    for name in sys.argv[1:]:
        try:
            has, shall = of_workspace(name), wanted(name, every)
        except (GuestError, KeyError, IndexError) as error:
            has, shall, told = [], [], f"cannot be looked at: {error}"
        else:
            told = "its own" if has == shall else f"it shall see: {' '.join(shall) or 'none'}"
        wrong += told != "its own"
        print(f"{name}: {' '.join(has) or 'none'} ({told})")
    return min(wrong, 1)
