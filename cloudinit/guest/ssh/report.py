"""Who is in, and whether others can come, as the status line has it."""

import contextlib
from pathlib import Path

PORT = 22
# proc(5), of /proc/net/tcp: a connection's own address, and the state TCP_LISTEN.
TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
LISTENS = "0A"


def door(port: int = PORT) -> str:
    """`open` where something listens on sshd's port, else `shut`."""
    for table in TABLES:
        with contextlib.suppress(OSError):
            for line in table.read_text().splitlines()[1:]:
                _, address, _, state, *_ = line.split()
                if state == LISTENS and address.endswith(f":{port:04X}"):
                    return "open"
    return "shut"


def sessions() -> dict[int, int]:
    """Sessions by uid: sshd's per-session process runs as the researcher."""
    found: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if (entry / "comm").read_text().strip() == "sshd-session":
                uid = entry.stat().st_uid
                found[uid] = found.get(uid, 0) + 1
    return found
