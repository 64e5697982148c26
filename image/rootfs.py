"""Debian root file systems by mmdebstrap, as root or as an ordinary user (user namespaces)."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tools.steps import Step, run_logged

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FOLDER = Path(__file__).resolve().parent
INSIDE = FOLDER.parent / "cloudinit" / "guest" / "workspace" / "inside"
"""What workspaces find, whatever their image: TensorFlow's own image has some of it too."""
DEFAULT_MIRROR = "http://deb.debian.org/debian"

# The signing keys of Debian 12 and 13, main and security archive, as in debian-archive-keyring
# and on ftp-master.debian.org/keys.html: older Ubuntu releases do not know them. Fingerprints:
# B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8, 05AB90340C0C5E797F44A8C8254CF3B5AEC0A8F0,
# 04B54C3CDCA79751B16BC6B5225629DF75B188BD, 5E04A1E3223A19A20706E20F9904613D4CCE68C6.
KEYS = FOLDER / "debian-archive-keys.asc"


def mirror() -> str:
    """The Debian mirror: SECONDLOCK_DEBIAN_MIRROR, else Debian's own."""
    return os.environ.get("SECONDLOCK_DEBIAN_MIRROR", DEFAULT_MIRROR).rstrip("/")


def sources(release: str, keys: Path) -> list[str]:
    """The lines of sources.list for `release`; mirrors keep the security archive next to main."""
    main, option = mirror(), f"[signed-by={keys}]"
    return [
        f"deb {option} {main} {release} main",
        f"deb {option} {main} {release}-updates main",
        f"deb {option} {main}-security {release}-security main",
    ]


def script_hook(kind: str, script: str) -> str:
    """A hook that runs `script` of this folder as root of the new system, its folder as $1.

    The text is passed, not the path: the namespace's root may not be able to read our folder.
    """
    return f"--{kind}-hook={(FOLDER / script).read_text()}"


def file_hook(name: str, path: str, mode: str, folder: Path = FOLDER) -> str:
    """A hook that writes the file `name` of `folder` to `path` in the new system."""
    target, text = f'"$1{path}"', (folder / name).read_text()
    make = f"mkdir -p $(dirname {target}) && cat >{target} <<'END OF FILE'"
    return f"--customize-hook={make}\n{text}END OF FILE\nchmod {mode} {target}"


def build_rootfs(
    step: Step,
    release: str,
    packages: Iterable[str],
    options: Iterable[str],
    archive: Path,
    feed: Path = Path(os.devnull),
) -> None:
    """Write `release` with `packages` to the tar file `archive`; `options` are mmdebstrap's own.

    Hooks can read the file `feed` as descriptor 8. Raises StepError.
    """
    said = ["starting mmdebstrap"]

    def listen(line: str) -> None:
        if line.startswith("I: ") and "hook" not in line:
            said[0] = line.removeprefix("I: ").rstrip(".")
        if line.startswith("secondlock: "):
            said[0] = line.removeprefix("secondlock: ")

    with scratch_for_namespace() as scratch, step.heartbeat(lambda: said[0]):
        keys = Path(shutil.copy(KEYS, scratch))
        keys.chmod(0o644)
        command = ["mmdebstrap", "--variant=minbase", f"--include={','.join(packages)}"]
        command += [*options, release, str(archive), *sources(release, keys)]
        run_logged(
            _opened(feed, Path(os.devnull), command),
            what=f"mmdebstrap could not build Debian {release}",
            mend=f"check that this computer reaches {mirror()}, or name another mirror: "
            "SECONDLOCK_DEBIAN_MIRROR=URL make image",
            env=namespace_env(),
            on_line=listen,
        )


def write_disk(step: Step, archive: Path, disk: Path) -> None:
    """Make the sparse ext4 image `disk` from the tar file `archive`, owners as they are there.

    Raises StepError.
    """
    command = ["sh", "-c", (FOLDER / "disk.sh").read_text()]
    if os.geteuid() != 0:
        command = ["mmdebstrap", "--unshare-helper", *command]
    disk.touch()
    disk.chmod(0o666)
    with step.heartbeat("writing the file system"):
        run_logged(
            _opened(archive, disk, command),
            what="the disk image could not be written",
            mend="make room in the cache folder and /var/tmp, then: make image",
            env=namespace_env(),
        )
    disk.chmod(0o644)


def _opened(source: Path, target: Path, command: Sequence[str]) -> list[str]:
    """`command` with the file `source` as descriptor 8 and `target` as 9.

    Root of a user namespace is a stranger to our files: what is open it can use all the same.
    """
    return ["sh", "-c", 'exec 8<"$0" 9<>"$1"; shift; exec "$@"', str(source), str(target), *command]


def scratch_for_namespace() -> tempfile.TemporaryDirectory[str]:
    """A folder that the namespace's root can enter, unlike a home that is its owner's alone."""
    scratch = tempfile.TemporaryDirectory(prefix="secondlock-", dir=_temporary())
    Path(scratch.name).chmod(0o755)
    return scratch


def namespace_env() -> dict[str, str]:
    """The environment of mmdebstrap: unpacked systems are too big for a /tmp in memory."""
    return {**os.environ, "TMPDIR": _temporary()}


def _temporary() -> str:
    return os.environ.get("TMPDIR", "/var/tmp")  # noqa: S108 - only mkdtemp is used below it
