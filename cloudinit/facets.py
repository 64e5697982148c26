"""What a machine can do: a folder of cloudinit/guest/ each, with its programs, units and templates.

Its facet.yaml says what of it goes where, and what is told when it changes on a living machine.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

Target = Literal["local", "aws"]
TARGETS: tuple[Target, ...] = get_args(Target)

GUEST = Path(__file__).resolve().parent / "guest"
MANIFEST = "facet.yaml"
_PLAIN = "0644"


@dataclass(frozen=True)
class Facet:
    """One facet as a target's machines have it. Paths with a slash in front are the machine's."""

    name: str
    files: dict[str, tuple[str, str]] = field(default_factory=dict)
    """File, or template without its .j2 -> path and mode."""
    units: tuple[str, ...] = ()
    """Templates that are units of systemd's."""
    programs: dict[str, str] = field(default_factory=dict)
    """Path -> module of this facet whose `main` it calls."""
    boots: tuple[str, ...] = ()
    """Units that each boot after the first starts."""
    runs: tuple[str, ...] = ()
    """Units that each boot starts too, and that run from the first roster on."""
    restarts: tuple[str, ...] = ()
    """Units that run programs of ours all the time: another bundle starts them again."""
    changed: dict[str, str] = field(default_factory=dict)
    """Beginning of a file's path, without the slash in front -> command that is run when such a
    file changes. The longest that fits counts."""
    later: tuple[str, ...] = ()
    """Such beginnings of files that count from the next boot on."""

    factor: dict[str, Any] = field(default_factory=dict)
    """Of a factor: `sshd`, the name of what sshd itself asks for, and `settings`, what else it is
    told (sshd_config(5)); or `pam`, modules with arguments ({method}, and {sshd}: what sshd has
    checked before). See cloudinit/methods.py."""

    @property
    def folder(self) -> Path:
        """Where it lies here."""
        return GUEST / self.name


@functools.cache
def facets(target: Target) -> tuple[Facet, ...]:
    """Those that machines of the target have, by name. Raises ValueError for a manifest with a
    field that none has."""
    found = (read(path, target) for path in sorted(GUEST.glob(f"*/{MANIFEST}")))
    return tuple(facet for facet in found if facet is not None)


def read(path: Path, target: Target) -> Facet | None:
    """The facet of a manifest; None where the target's machines have it not. Raises ValueError."""
    said: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if said.pop("target", target) != target:
        return None
    own = {each: said.pop(each, {}) for each in TARGETS}
    return Facet(path.parent.name, **_merged(path, [said, own[target]]))


def _merged(path: Path, parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The fields of all parts together."""
    known = {each.name for each in fields(Facet)} - {"name"}
    merged: dict[str, Any] = {}
    for part in parts:
        for key, said in part.items():
            if key not in known:
                raise ValueError(f"{path}: a facet has no {key}")
            if isinstance(said, list):
                merged[key] = (*merged.get(key, ()), *said)
            else:
                own = (
                    {name: _place(each) for name, each in said.items()} if key == "files" else said
                )
                merged[key] = merged.get(key, {}) | own
    return merged


def _place(said: str | list[str]) -> tuple[str, str]:
    path, mode = (said, _PLAIN) if isinstance(said, str) else said
    return path, mode
