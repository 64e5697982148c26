"""What is ours on a machine, as one archive: configuration and programs as they are written here.

The same sources give the same bytes, whoever packs them, where and when. The archive is named by
its SHA-256; user-data says that name, and cloudinit/guest/stub.py unpacks nothing else.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import lzma
import tarfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloudinit.facets import GUEST, Facet, Target, facets
from cloudinit.install import File, render_gateway, render_install, render_workspaces
from cloudinit.methods import methods
from cloudinit.render import LIBRARY, render

_UNITS = "/etc/systemd/system"
ABOUT = f"{LIBRARY}/bundle.json"
"""What a machine knows a bundle of ours by."""


@dataclass(frozen=True)
class Bundle:
    """A tar archive, compressed by xz. Its files' paths are those on the machine."""

    data: bytes = field(repr=False)

    @property
    def digest(self) -> str:
        """Its SHA-256 in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()


@functools.cache
def bundle(target: Target) -> Bundle:
    """The bundle of a target's machines; it knows none of them and holds no secret."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, mode, content in sorted(files(target)):
            # Owner, group and time are root and 1970 where nothing else is said.
            member = tarfile.TarInfo(path.lstrip("/"))
            member.mode, member.size = int(mode, 8), len(content.encode())
            tar.addfile(member, io.BytesIO(content.encode()))
    return Bundle(lzma.compress(archive.getvalue(), preset=6))


def files(target: Target) -> tuple[File, ...]:
    """All files of the target's bundle."""
    here = facets(target)
    inside = (
        *_modules(GUEST.glob("*.py")),
        *(file for facet in here for file in _of(facet, target)),
        *_pam(target),
        *(_install() if target == "aws" else ()),
    )
    about = {"target": target, "files": sorted(path.lstrip("/") for path, _, _ in inside)}
    return (*inside, (ABOUT, "0644", json.dumps(about | _told(here, target)) + "\n"))


def templates(target: Target, *names: str) -> tuple[File, ...]:
    """Some templates of facets, as files of a machine. Raises ValueError for one that none has."""
    here = facets(target)
    absent = set(names) - {name for facet in here for name in _templates(facet)}
    if absent:
        raise ValueError(f"no facet has {', '.join(sorted(absent))}")
    return tuple(file for facet in here for file in _rendered(facet, target, names))


def _of(facet: Facet, target: Target) -> Iterator[File]:
    """They differ by target alone; none knows which machine."""
    yield from _rendered(facet, target, _templates(facet))
    yield from _modules(facet.folder.glob("*.py"))
    for path, module in facet.programs.items():
        yield path, "0755", _launcher(path, f"guest.{facet.name}", module)


def _rendered(facet: Facet, target: Target, names: Collection[str]) -> Iterator[File]:
    for name, (path, mode) in _templates(facet).items():
        if name in names:
            yield path, mode, _content(facet.folder, name, target)


def _content(folder: Path, name: str, target: Target) -> str:
    plain = folder / name
    if plain.exists():
        return plain.read_text(encoding="utf-8")
    return render(folder / f"{name}.j2", target=target, methods=methods(target))


def _pam(target: Target) -> Iterator[File]:
    """PAM's stack of each method."""
    for method in methods(target):
        text = render(GUEST / "ssh" / "pam.j2", method=method)
        yield f"/etc/pam.d/{method.service}", "0644", text


def _templates(facet: Facet) -> dict[str, tuple[str, str]]:
    return facet.files | {unit: (f"{_UNITS}/{unit}", "0644") for unit in facet.units}


def _told(here: tuple[Facet, ...], target: Target) -> dict[str, Any]:
    """What guest/services.py and guest/upgrade/ go by."""
    return {
        "methods": {method.name: method.document() for method in methods(target)},
        "boots": [unit for facet in here for unit in facet.boots],
        "runs": [unit for facet in here for unit in facet.runs],
        "restarts": [unit for facet in here for unit in facet.restarts],
        "timers": [unit for facet in here for unit in facet.units if unit.endswith(".timer")],
        "changed": {start: command for facet in here for start, command in facet.changed.items()},
        "later": [start for facet in here for start in facet.later],
    }


def _modules(paths: Iterable[Path]) -> Iterator[File]:
    for path in sorted(paths):
        place = path.relative_to(GUEST.parent).as_posix()
        yield f"{LIBRARY}/{place}", "0644", path.read_text(encoding="utf-8")


def _install() -> tuple[File, ...]:
    """What a machine that was not baked runs at first, in the order of the names.

    No image of workspaces is named there: each machine knows its own.
    """
    scripts = (render_install(None), render_workspaces(), render_gateway())
    return tuple(
        (f"{LIBRARY}/install/{number}.sh", "0755", script)
        for number, script in enumerate(scripts, 1)
    )


def _launcher(path: str, package: str, module: str) -> str:
    """Isolated (`-I`): no variable or folder of the caller's changes what root runs.

    A login waits for the verifier, which needs nothing but the standard library (`-S`). What is
    imported is what came with the program itself, though another bundle is switched to meanwhile.
    """
    flags = "-IS" if module == "verify" else "-I"
    return (
        f"#!/usr/bin/python3 {flags}\n"
        "import os, sys\n"
        f'sys.path.insert(0, os.path.realpath(__file__)[:-{len(path)}] + "{LIBRARY}")\n'
        f"from {package} import {module}\n"
        f"sys.exit({module}.main())\n"
    )
