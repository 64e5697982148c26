"""Where a stack's files are, and which stack is meant."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import typer

from cli.options import UnfitError
from infra.model.names import check_researcher_name
from infra.model.problems import Problem, ProblemsError, RefusedError
from infra.model.settings import setting_problems
from infra.model.text import brief, shell_line, shell_word
from infra.model.yaml_lines import Document, read_document

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_STACK = "demo"
TARGET = "secondlock:target"

# Narrower than Pulumi's own rule: the name becomes a folder and part of an ssh host alias.
_STACK_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,62}")
_CONFIG_BYTES = 1024 * 1024  # Pulumi itself sets no limit


@dataclass(frozen=True)
class Stack:
    """A stack's places in the project folder `root`."""

    name: str
    root: Path

    @property
    def requests(self) -> Path:
        """The folder with a file for every researcher."""
        return self.root / "stacks" / self.name

    @property
    def config(self) -> Path:
        """Pulumi's own file for the stack."""
        return self.root / "stacks" / f"Pulumi.{self.name}.yaml"

    @property
    def state(self) -> Path:
        """Local state, never committed."""
        return self.root / ".secondlock" / self.name

    @property
    def key(self) -> Path:
        """The private key that `make demo` makes where a person gives none."""
        return self.state / "id_ed25519"

    def request(self, researcher: str) -> Path:
        """The researcher's request."""
        return self.requests / f"{researcher}.yaml"

    def target(self) -> str:
        """`secondlock:target` of the stack's configuration; `local` where it says nothing.

        Raises ProblemsError for a target that there is none of, or a file as `values` refuses it.
        """
        value = self.value(TARGET)
        if value is None:
            return "local"
        problems = setting_problems(self.name, "target", value)
        if problems:
            raise ProblemsError(one.at(self.config) for one in problems)
        return value

    def value(self, key: str) -> str | None:
        """A plain value of the stack's configuration, as Pulumi gives it to the program.

        Raises ProblemsError as `values` does.
        """
        return self.values().get(key)

    def values(self) -> dict[str, str]:
        """Every plain value, lists as JSON; of secrets the keys alone, with an empty value.

        Raises ProblemsError when the file is not YAML, or not what Pulumi takes.
        """
        document = self._file()
        config = document.data.get("config") or {}
        # As it is written: to Pulumi `1.50` is a text, and not the number 1.5.
        written = {key: document.written.get(("config", key)) for key in config}
        return {key: _plain(value, written[key]) for key, value in config.items()}

    def holds(self, field: str) -> bool:
        """Whether a field of Pulumi's own is in the file. Raises ProblemsError as `values` does."""
        return field in self._file().data

    def _file(self) -> Document:
        """Pulumi's own file for the stack; an empty one where there is none.

        Raises ProblemsError.
        """
        if not os.path.lexists(self.config):
            return Document(self.config)
        document = read_document(self.config, inside=self.config.parent, limit=_CONFIG_BYTES)
        problems = document.problems or _misshapen(document)
        if problems:
            raise ProblemsError(problems)
        return document


def choose_stack(name: str | None) -> Stack:
    """The stack `name`, else $SECONDLOCK_STACK, else the only one there is, else `demo`.

    Raises typer.BadParameter for a name that cannot be one, or when there are several to choose.
    """
    # An empty name was meant to be one: a script's variable that is not set.
    chosen = name if name is not None else os.environ.get("SECONDLOCK_STACK") or _only_stack()
    if not _STACK_NAME.fullmatch(chosen):
        raise typer.BadParameter(
            f"'{brief(chosen)}' is no stack's name: letters, digits, - and _, at most 63",
            param_hint="--stack",
        )
    return Stack(chosen, ROOT)


def check_researcher(name: str) -> str:
    """`name` when it may become a path. Raises UnfitError."""
    try:
        return check_researcher_name(name)
    except RefusedError as error:
        raise UnfitError(error.problem, "RESEARCHER") from None


def command(*words: str, stack: Stack) -> str:
    """A `secondlock` command line for a person to type."""
    return shell_line(["./secondlock", *words, "--stack", stack.name])


def pulumi(*words: str, stack: Stack) -> str:
    """A `pulumi` command line for a person to type, with what their shell does not know yet."""
    line = shell_line(["pulumi", *words, "--stack", stack.name])
    env = stack.state / "env"
    if env.exists() and "PULUMI_BACKEND_URL" not in os.environ:
        return f". {shown(env)} && {line}"
    return line


def shown(path: Path) -> str:
    """`path` as short as it can be typed where the person stands."""
    try:
        near = str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        near = str(path)
    return shell_word(near)


def _misshapen(document: Document) -> list[Problem]:
    """Fields of Pulumi's own that it cannot read, and tells in words of Go's."""
    found = []
    if not isinstance(document.data.get("config"), (dict, type(None))):
        what = "config: expected fields, such as `secondlock:target: local`"
        found.append(document.problem(("config",), what, "write them there, or remove it"))
    for name in ("secretsprovider", "encryptedkey", "encryptionsalt"):
        if isinstance(document.data.get(name), (list, dict)):
            what = f"{name}: expected text, as `pulumi stack init` wrote it"
            found.append(document.problem((name,), what, "bring it back from git"))
    return found


def _plain(value: object, written: str | None) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, dict)):
        text = json.dumps(value, default=str)
        return "" if '"secure":' in text else text
    if not isinstance(value, (str, int, float)):
        return ""
    return str(value) if written is None else written


def _only_stack() -> str:
    parents = (ROOT / ".secondlock", ROOT / "stacks")
    names = sorted(
        {
            entry.name
            for parent in parents
            if parent.is_dir()
            for entry in parent.iterdir()
            if entry.is_dir() and _STACK_NAME.fullmatch(entry.name)
        }
    )
    if len(names) == 1:
        return names[0]
    if not names or DEFAULT_STACK in names:
        return DEFAULT_STACK
    raise typer.BadParameter(f"which of {', '.join(names)}?", param_hint="--stack")
