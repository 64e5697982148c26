"""The golden image: what every local machine's root disk starts from.

`make image` (tools/image) builds it once for each recipe; this module names and finds it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from infra.problems import Problem, ProblemsError

_ROOT = Path(__file__).resolve().parent.parent.parent
_SCRIPTS = _ROOT / "tools" / "image"
# Files that only arrange the work: a change of theirs makes no other image.
_NOT_CONTENT = {"__init__.py", "__main__.py", "tensorflow-requirements.in"}
_TENSORFLOW = ("tensorflow.py", "tensorflow.sh", "tensorflow-requirements.txt", "rootfs.py")


@dataclass(frozen=True)
class GoldenImage:
    """A whole golden image. Its files are never written again: machines put overlays on them."""

    directory: Path
    recipe: str

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
    def identity(self) -> str:
        """The recipe and this build's time: overlays fit no other build of a recipe."""
        built = self.disk.exists()
        return f"{self.recipe} {self.disk.stat().st_mtime_ns:x}" if built else self.recipe


def image_of(identity: str) -> GoldenImage:
    """The image whose identity that is."""
    name = identity.partition(" ")[0]
    return GoldenImage(_images() / name, name)


def golden_image() -> GoldenImage:
    """The cached golden image. Raises ProblemsError when it has not been built."""
    directory = image_folder()
    if not directory.is_dir():
        what = f"the golden image is not in {directory.parent}"
        raise ProblemsError([Problem(None, None, what, "make image")])
    return GoldenImage(directory, directory.name)


def image_folder() -> Path:
    """Where the golden image of today's recipe is, or will be."""
    scripts = [path for path in _SCRIPTS.iterdir() if path.is_file()]
    content = [path for path in scripts if path.name not in _NOT_CONTENT]
    pam = [path for path in (_ROOT / "cloudinit" / "pam").iterdir() if path.is_file()]
    return _images() / recipe([*content, _ROOT / "cloudinit" / "packages.py", *pam])


def tensorflow_folder() -> Path:
    """Where the TensorFlow image of today's recipe is, or will be: `rootfs.tar`."""
    return _cache() / "tensorflow" / recipe([_SCRIPTS / name for name in _TENSORFLOW])


def recipe(files: list[Path]) -> str:
    """16 hex digits that change with the name or content of any of `files`, in any order."""
    digest = hashlib.sha256()
    for path in sorted(files, key=lambda path: path.name):
        digest.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def _images() -> Path:
    return _cache() / "images"


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "secondlock"
