"""Where golden images are kept: what every local machine's root disk starts from.

`make image` (image/build.py) builds one for each recipe, `make image FRESH=1` one more with today's
packages, beside the builds that machines rest on; this module names and finds them.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from infra.files import cache_folder

_IMAGE = Path(__file__).resolve().parent
_INSIDE = _IMAGE.parent / "cloudinit" / "guest" / "workspace" / "inside"
# Files that only arrange the work: a change of theirs makes no other image.
_NOT_CONTENT = {
    "__init__.py",
    "store.py",
    "tensorflow-requirements.in",
    "hub-requirements.in",
}
_NOT_LOCAL = {"components.py", "ssm_agent_key.txt"}
_TENSORFLOW = (
    "tensorflow.py",
    "tensorflow.sh",
    "tensorflow-requirements.txt",
    "rootfs.py",
)
_OF_WORKSPACES = ("constraints.py", "pip.conf")  # in TensorFlow's image too

# What a build after the first has behind its recipe's name.
_STAMP = "-%Y%m%dT%H%M%S"


@dataclass(frozen=True)
class GoldenImage:
    """A whole golden image. Its files are never written again: machines put overlays on them."""

    directory: Path

    @property
    def disk(self) -> Path:
        """A sparse raw ext4 file system, label sl-root, without a partition table."""
        return self.directory / "disk.raw"

    @property
    def kernel(self) -> Path:
        """The uncompressed kernel (ELF)."""
        return self.directory / "vmlinux"

    @property
    def initrd(self) -> Path:
        """The kernel's initial RAM disk."""
        return self.directory / "initrd.img"

    @property
    def listing(self) -> Path:
        """Its Debian packages, a name and a version a line."""
        return self.directory / "packages"

    @property
    def identity(self) -> str:
        """Its folder's name and this build's time: overlays fit no other build."""
        name, built = self.directory.name, self.disk.exists()
        return f"{name} {self.disk.stat().st_mtime_ns:x}" if built else name

    @property
    def built(self) -> dt.datetime:
        """When it was built."""
        return dt.datetime.fromtimestamp(self.directory.stat().st_mtime, dt.timezone.utc)

    def versions(self) -> dict[str, str]:
        """Its packages' versions by name; none where an early build did not write them down."""
        if not self.listing.exists():
            return {}
        lines = self.listing.read_text(errors="replace").splitlines()
        return dict(words for words in map(str.split, lines) if len(words) == 2)


def image_of(identity: str) -> GoldenImage:
    """The image whose identity that is."""
    return GoldenImage(_images() / identity.partition(" ")[0])


def is_there(identity: str) -> bool:
    """Whether the image with that identity is there, and no other build in its place."""
    return image_of(identity).identity == identity


def image_folder() -> Path:
    """Where the newest golden image of today's recipe is, or the first one will be."""
    first = _images() / _recipe()
    others = re.compile(re.escape(first.name) + r"-\d{8}T\d{6}")
    builds = [path for path in _images().glob(f"{first.name}-*") if others.fullmatch(path.name)]
    return max(builds, default=first, key=lambda path: path.name)


def fresh_folder() -> Path:
    """Where a further build of today's recipe will be."""
    return _images() / f"{_recipe()}{dt.datetime.now(dt.timezone.utc):{_STAMP}}"


def _recipe() -> str:
    files = [
        path for place in (_IMAGE, _IMAGE / "pam") for path in place.iterdir() if path.is_file()
    ]
    content = [path for path in files if path.name not in _NOT_CONTENT | _NOT_LOCAL]
    return recipe([*content, *(_INSIDE / name for name in _OF_WORKSPACES)])


def tensorflow_folder() -> Path:
    """Where the TensorFlow image of today's recipe is, or will be: `rootfs.tar`."""
    return cache_folder() / "tensorflow" / recipe(_of_tensorflow())


def _of_tensorflow() -> list[Path]:
    return [*(_IMAGE / name for name in _TENSORFLOW), *(_INSIDE / name for name in _OF_WORKSPACES)]


def recipe(files: list[Path]) -> str:
    """16 hex digits that change with the name or content of any of `files`, in any order."""
    digest = hashlib.sha256()
    for path in sorted(files, key=lambda path: path.name):
        digest.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def _images() -> Path:
    return cache_folder() / "images"
