"""The one data volume of a machine on AWS, as two partitions: state (1 GiB) and home.

A partition's name ends in `-new` until its file system is whole. Only such a one is ever formatted,
and only a volume that holds nothing at all is ever partitioned: a crash at any point is finished
later, and what holds data is left alone whatever became of its superblock.
"""

import json
import re
import time
from pathlib import Path
from typing import NamedTuple

from guest.system import GuestError, run

BY_ID, BLOCKS = Path("/dev/disk/by-id"), Path("/sys/class/block")
NAMES = ("sl-state", "sl-home")
NEW = "-new"
PATIENCE = 60  # seconds
TABLE = (
    f"label: gpt\nstart=1MiB, size=1GiB, type=L, name=sl-state{NEW}\ntype=L, name=sl-home{NEW}\n"
)
MIB = 1024 * 1024
# Where the partitions begin: a file system there has its superblock and descriptors in these.
BEGINNINGS, PROBE = (MIB, MIB + 1024 * MIB), 16 * MIB


class Part(NamedTuple):
    """A partition of the data volume; `new` until its file system is whole."""

    device: Path
    number: int
    new: bool


def disk() -> Path:
    """The machine's one EBS volume besides its root; a new machine's is attached as it boots.

    Raises GuestError where it is not one.
    """
    deadline = time.monotonic() + PATIENCE
    while not (found := _attached()):
        if time.monotonic() > deadline:
            raise GuestError("the data volume is not attached")
        time.sleep(2)
    if len(found) > 1:
        raise GuestError("more than one volume is attached: which holds the data is not guessed")
    return found.pop()


def _attached() -> set[Path]:
    root = run("findmnt", "-no", "SOURCE", "/").strip()
    links = BY_ID.glob("nvme-Amazon_Elastic_Block_Store_vol*")
    found = {link.resolve() for link in links if not re.search(r"-part\d+$", link.name)}
    return {each for each in found if not root.startswith(str(each))}


def volume_of(mounted: Path) -> str:
    """The id, without its dash, of the EBS volume that the file system at `mounted` is on.

    Raises GuestError where that is none.
    """
    device = run("findmnt", "-no", "SOURCE", str(mounted)).strip()
    for link in BY_ID.glob("nvme-Amazon_Elastic_Block_Store_vol*"):
        volume = re.fullmatch(r".*_(vol[0-9a-f]+)(_\d+)?", link.name)
        if volume and device.startswith(str(link.resolve())):
            return volume[1]
    raise GuestError(f"which volume {mounted} is on is not known")


def is_blank(device: Path) -> bool:
    """No signature anywhere (blkid(8), -p), and zeros where our partitions would have theirs."""
    if run("blkid", "-p", str(device), check=False).strip():
        return False
    with device.open("rb") as volume:
        for place in BEGINNINGS:
            volume.seek(place)
            if any(volume.read(PROBE)):
                return False
    return True


def table(device: Path) -> dict[str, Part]:
    """Our partitions by name, without `-new`; none where the table is not ours."""
    listed = run("sfdisk", "-J", str(device), check=False)
    parts = json.loads(listed)["partitiontable"].get("partitions", []) if listed else []
    found = {}
    for number, each in enumerate(parts, 1):
        name = each.get("name", "")
        found[name.removesuffix(NEW)] = Part(Path(each["node"]), number, name.endswith(NEW))
    return found if set(found) == set(NAMES) else {}


def parts(device: Path) -> dict[str, Part]:
    """The partitions by name, made where the volume is blank.

    Raises GuestError where it holds something else.
    """
    found = table(device)
    if not found:
        if not is_blank(device):
            raise GuestError(f"{device} holds something that is not ours: it is left alone")
        run("sfdisk", "-q", "--wipe=never", str(device), stdin=TABLE)
        found = table(device)
    return found


def finished(device: Path, name: str) -> None:
    """From now on this partition is never formatted: its file system is whole."""
    run("sync")
    run(
        "sfdisk", "-q", "--no-reread", "--part-label", str(device), str(NAMES.index(name) + 1), name
    )


def has_more(mounted: Path) -> bool:
    """Whether the volume goes on behind the partition that is mounted there, its last."""
    *_, last = run("findmnt", "-no", "SOURCE", str(mounted)).split()  # what lies on top
    return _goes_on(Path(last))


def _goes_on(part: Path) -> bool:
    place = (BLOCKS / part.name).resolve()
    end = sum(int((place / each).read_text()) for each in ("start", "size"))
    return int((place.parent / "size").read_text()) - end >= 2 * MIB // 512


def grow(device: Path) -> bool:
    """Let home have what was added to the volume; True when there was something."""
    home = table(device)["sl-home"]
    if not _goes_on(home.device):
        return False
    run(
        "sfdisk", "-q", "--no-reread", "--force", "-N", str(home.number), str(device),
        stdin=", +\n",
    )  # fmt: skip
    run("partx", "-u", str(device))
    run("resize2fs", str(home.device))
    return True
