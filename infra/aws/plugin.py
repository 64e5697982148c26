"""Pulumi's AWS provider: a program of its own, which is given the credentials, and what it must be.

Pulumi fetches it where it is not here, and looks at nothing but its name. So whoever has it first
writes its SHA-256 into a file beside the requests, which is reviewed as they are: others have the
very same one, or `up` and `preview` end before it is started.
"""

from __future__ import annotations

import functools
import hashlib
import platform
import re
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from infra.model.problems import Problem, ProblemsError, problem_of
from infra.model.reading import UnreadableError, expanded, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROGRAM = "pulumi-resource-aws"
_PINS = Path("stacks") / "plugins.sha256"
_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *]([A-Za-z0-9._-]+)")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_PIECE = 1 << 20  # bytes that are read at a time


class Pins:
    """What `stacks/plugins.sha256` says: lines as sha256sum(1) writes them, and comments."""

    def __init__(self, root: Path) -> None:
        """Of the project in the folder `root`. Raises ProblemsError."""
        self.file = root / _PINS
        self._known: dict[str, set[str]] = {}
        try:
            text = read_text(self.file, inside=self.file.parent)
        except FileNotFoundError:
            return
        except UnreadableError as error:
            raise ProblemsError([error.problem.at(self.file)]) from None
        for number, line in enumerate(text.splitlines(), start=1):
            self._add(number, line.strip())

    def _add(self, number: int, line: str) -> None:
        if not line or line.startswith("#"):
            return
        match = _LINE.fullmatch(line)
        if match is None:
            what = "is no SHA-256, two blanks and a name, as sha256sum writes them"
            raise ProblemsError([Problem(self.file, number, what, "mend the line, or remove it")])
        self._known.setdefault(match[2], set()).add(match[1].lower())

    @property
    def program(self) -> set[str]:
        """What the provider's program may be on this platform; nothing where it is not pinned."""
        return self._known.get(name(), set())

    @property
    def archive(self) -> str | None:
        """What Pulumi's release of it has to be, where that is one."""
        known = self._known.get(f"pulumi-{name()}.tar.gz", set())
        return next(iter(known)) if len(known) == 1 else None


def name() -> str:
    """The provider by its version and this platform, as Pulumi names its releases."""
    machine = platform.machine()
    machine = _MACHINES.get(machine, machine)
    return f"resource-aws-v{version('pulumi-aws')}-{platform.system().lower()}-{machine}"


def programs(variables: Mapping[str, str]) -> list[Path]:
    """Where Pulumi looks for it with these variables, and it is: what comes first is started."""
    home = variables.get("PULUMI_HOME") or f"{variables.get('HOME', '~')}/.pulumi"
    kept = expanded(home) / "plugins" / f"resource-aws-v{version('pulumi-aws')}" / PROGRAM
    on_path = shutil.which(PROGRAM, path=variables.get("PATH", ""))
    return [*([Path(on_path)] if on_path else []), *([kept] if kept.exists() else [])]


def sha256(program: Path) -> str:
    """Of a program's content: of some 800 MB, which takes a second or two. Raises ProblemsError."""
    try:
        status = program.stat()
        return _sha256(program, status.st_ino, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise ProblemsError([problem_of(error)]) from None


@functools.cache  # `doctor` asks twice: of the plan, and of the provider
def _sha256(program: Path, *_which: int) -> str:
    """`_which` file it is: another in its place is read anew."""
    digest = hashlib.sha256()
    with program.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def install(pins: Pins) -> str:
    """The command that has Pulumi fetch it, held to what is pinned of the release."""
    checksum = f" --checksum {pins.archive}" if pins.archive else ""
    return f"pulumi plugin install resource aws {version('pulumi-aws')}{checksum}"


def refusals(root: Path, variables: Mapping[str, str]) -> list[Problem]:
    """Why the provider that is here must not be given credentials; nothing where it may."""
    try:
        return list(_others(Pins(root), variables))
    except ProblemsError as error:
        return list(error.problems)


def _others(pins: Pins, variables: Mapping[str, str]) -> Iterator[Problem]:
    for program in programs(variables) if pins.program else ():
        has = sha256(program)
        if has not in pins.program:
            what = f"{program} has the SHA-256 {has}, which is not pinned: it would be given your "
            mend = f"ask who pinned it; to fetch it anew: {install(pins)} --reinstall"
            yield Problem(pins.file, None, f"{what}AWS credentials", mend)
