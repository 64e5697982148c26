"""Which bundle this machine runs: each lies whole in a folder of its own, one link says which.

Every file of ours is a link through `current`, so all of them change at one instant: when that link
is renamed. The stub's first boot imports this: it needs nothing but the standard library's small
parts.
"""

import os
import shutil

LIBRARY = "usr/local/lib/secondlock"
CURRENT = f"{LIBRARY}/current"
# AppArmor lets chronyd read /etc/chrony alone, systemd wants a folder for a root directory, and
# workspaces see the last one without what is around it.
COPIED = ("etc/chrony/chrony.conf", f"{LIBRARY}/nothing/", "usr/local/share/secondlock/workspace/")


def tree(digest: str, root: str = "/") -> str:
    """The folder of the bundle with this SHA-256; in it each file has its path on the machine."""
    return f"{root}{LIBRARY}/versions/{digest}"


def files(digest: str, root: str = "/") -> set[str]:
    """The paths of a bundle's files, relative to the machine's root."""
    top, found = tree(digest, root), set()
    for folder, below, names in os.walk(top):
        below[:] = [name for name in below if name != "__pycache__"]
        inside = os.path.relpath(folder, top)
        found |= {os.path.normpath(f"{inside}/{name}") for name in names}
    return found


def current(root: str = "/") -> str | None:
    """The SHA-256 of the bundle that this machine runs; None where there is no such link yet."""
    try:
        return os.path.basename(os.readlink(root + CURRENT))
    except FileNotFoundError:
        return None


def switch(digest: str, root: str = "/") -> None:
    """Run this bundle from now on. A power cut leaves the one before or this one, each whole."""
    os.sync()
    _symlink(f"versions/{digest}", root + CURRENT)
    os.sync()


def link(digest: str, root: str = "/") -> None:
    """Have each file of this bundle lead through `current`; what is in its place goes."""
    for path in sorted(files(digest, root)):
        place, target = root + path, f"{'../' * path.count('/')}{CURRENT}/{path}"
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if path.startswith(COPIED):
            _copy(f"{tree(digest, root)}/{path}", place)
        elif not os.path.islink(place) or os.readlink(place) != target:
            _symlink(target, place)


def copy(digest: str, root: str = "/") -> None:
    """Have what must be a copy be one: bundles of before know less of that, and left links."""
    for path in files(digest, root):
        if path.startswith(COPIED) and os.path.islink(root + path):
            _copy(f"{tree(digest, root)}/{path}", root + path)


def covered(before: str, digest: str, root: str = "/") -> set[str]:
    """The image's own files that lie where this bundle has one and the bundle before has none."""
    return {
        path
        for path in files(digest, root) - files(before, root)
        if os.path.isfile(root + path)
        and not os.path.islink(root + path)
        and not path.startswith(COPIED)
    }


def unlink(paths: set[str], root: str = "/") -> None:
    """Take away links to files that no bundle has any more; what is no link is not ours."""
    for path in paths:
        if os.path.islink(root + path):
            os.unlink(root + path)


def gather(digest: str, paths: set[str], root: str = "/") -> None:
    """Put the files that lie in these places into the folder of a bundle that has them not.

    So it is gone back to with what it had: all of it on a machine that was made before there were
    links, and what was the image's where a later bundle brings that.
    """
    for path in paths:
        if os.path.isfile(root + path):
            copy = f"{tree(digest, root)}/{path}"
            os.makedirs(os.path.dirname(copy), exist_ok=True)
            shutil.copy(root + path, copy)


def keep(digests: set[str], root: str = "/") -> None:
    """Remove every bundle but these."""
    for name in os.listdir(os.path.dirname(tree("", root))):
        if name not in digests and len(name) == 64:
            shutil.rmtree(tree(name, root))


def _copy(source: str, place: str) -> None:
    shutil.copy(source, f"{place}.new")
    os.rename(f"{place}.new", place)


def _symlink(target: str, place: str) -> None:
    new = f"{place}.new"
    if os.path.lexists(new):
        os.unlink(new)
    os.symlink(target, new)
    os.rename(new, place)
