"""What the stack says: its environment, and the outputs that `pulumi` reads for us."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from cli.project import Stack, command, pulumi
from infra.problems import Problem, ProblemsError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PATH_ITSELF = ("$PATH", "${PATH}")


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


class Machine(BaseModel):
    """An entry of the output `machines`. Below `directory`: of target aws alone."""

    model_config = ConfigDict(hide_input_in_errors=True, frozen=True)

    address: str
    port: int
    host_key: str
    running: bool
    serial: int
    researchers: tuple[str, ...]
    target: str
    directory: Annotated[Path | None, BeforeValidator(_none_if_empty)] = None
    instance_id: str | None = None
    region: str | None = None
    zone: str | None = None
    log_group: str | None = None
    public: bool = True


class Enrollment(BaseModel):
    """An entry of the secret output `enrollments`."""

    model_config = ConfigDict(hide_input_in_errors=True, frozen=True)

    machine: str
    enrollment: str
    factors: Literal["key+totp", "password+totp"]
    uri: str
    emergency_codes: tuple[str, ...]
    password: str | None = None


class _Machines(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    machines: dict[str, Machine]


class _Enrollments(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    enrollments: dict[str, Enrollment]


def machines(stack: Stack) -> dict[str, Machine]:
    """The stack's machines by name. Raises ProblemsError."""
    outputs = _outputs(stack, secrets=False)
    try:
        return _Machines.model_validate(outputs).machines
    except ValidationError as error:
        raise _unreadable(stack, error) from None


def enrollments(stack: Stack) -> dict[str, Enrollment]:
    """The stack's enrollments by researcher: secrets. Raises ProblemsError."""
    outputs = _outputs(stack, secrets=True)
    try:
        return _Enrollments.model_validate(outputs).enrollments
    except ValidationError as error:
        raise _unreadable(stack, error) from None


def environment(stack: Stack, base: Mapping[str, str]) -> dict[str, str]:
    """`base` and what `.secondlock/<stack>/env` adds: variables that `base` does not set, and PATH.

    The file names the folder of `pulumi`, so its PATH goes before the one of `base`. Raises
    ProblemsError when another person could have written or read it, or a line is not
    `export NAME=value`.
    """
    path = stack.state / "env"
    try:
        text = _read_private(path)
    except FileNotFoundError:
        return dict(base)
    added = {}
    for number, line in enumerate(text.splitlines(), start=1):
        pair = _export(path, number, line)
        if pair is not None:
            added[pair[0]] = pair[1]
    front = [
        folder
        for folder in added.pop("PATH", "").split(os.pathsep)
        if folder and folder not in _PATH_ITSELF
    ]
    merged = {**added, **base}
    merged["PATH"] = os.pathsep.join([*front, base.get("PATH", os.defpath)])
    return merged


def _read_private(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, encoding="utf-8") as file:
        status = os.fstat(file.fileno())
        if status.st_uid != os.geteuid():
            problem = Problem(
                path, None, "belongs to another user", f"sudo chown {os.geteuid()} {path}"
            )
            raise ProblemsError([problem])
        if stat.S_IMODE(status.st_mode) & 0o077:
            problem = Problem(path, None, "is open to other users", f"chmod 600 {path}")
            raise ProblemsError([problem])
        return file.read()


def _export(path: Path, number: int, line: str) -> tuple[str, str] | None:
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        words = [line]
    if not words:
        return None
    name, equals, value = words[-1].partition("=")
    if len(words) != 2 or words[0] != "export" or not equals or not _NAME.fullmatch(name):
        problem = Problem(path, number, "is not `export NAME=value`", f"edit {path}")
        raise ProblemsError([problem])
    return name, value


def set_config(stack: Stack, values: Mapping[str, str]) -> None:
    """Write plain values into the stack's configuration, all or none. Raises ProblemsError."""
    pairs = [word for key, value in values.items() for word in ("--plaintext", f"{key}={value}")]
    _run(stack, "config", "set-all", *pairs)


def _outputs(stack: Stack, *, secrets: bool) -> dict[str, Any]:
    flags = ["--json", "--color", "never", *(["--show-secrets"] if secrets else [])]
    outputs: dict[str, Any] = json.loads(_run(stack, "stack", "output", *flags))
    if not outputs:
        up = pulumi("up", stack=stack)
        raise ProblemsError([Problem(None, None, f"stack {stack.name} is not up", up)])
    return outputs


def _run(stack: Stack, *words: str) -> str:
    """What a `pulumi` command prints. Raises ProblemsError."""
    surroundings = environment(stack, os.environ)
    program = shutil.which("pulumi", path=surroundings["PATH"])
    if program is None:
        raise ProblemsError([Problem(None, None, "`pulumi` is not on PATH", "make setup")])
    done = subprocess.run(
        [program, *words, "--stack", stack.name, "--non-interactive"],
        cwd=stack.root,
        env=surroundings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ProblemsError([_translated(stack, words, done.stderr)])
    return done.stdout


def _translated(stack: Stack, words: Sequence[str], message: str) -> Problem:
    """A fault of a `pulumi` command in a person's words, with what mends it."""
    if "no stack named" in message:
        mend = "make demo" if stack.name == "demo" else f"pulumi stack init {stack.name}"
        return Problem(None, None, f"there is no stack {stack.name}", mend)
    if "passphrase" in message.lower():
        wrong = "is not the right one" if "incorrect passphrase" in message else "is not at hand"
        file = _place(stack.state / "passphrase", "FILE")
        mend = f"unset PULUMI_CONFIG_PASSPHRASE; export PULUMI_CONFIG_PASSPHRASE_FILE={file}"
        return Problem(None, None, f"the passphrase of stack {stack.name} {wrong}", mend)
    if "must be set for login" in message or "unable to open state" in message:
        folder = _place(stack.state / "pulumi", "FOLDER")
        what = f"pulumi does not find the state of stack {stack.name}"
        return Problem(None, None, what, f"export PULUMI_BACKEND_URL=file://{folder}")
    lines = [line.removeprefix("error: ") for line in message.splitlines() if line.strip()]
    said = lines[-1] if lines else "it failed without a word"
    return Problem(None, None, f"pulumi: {said}", pulumi(*words[:2], stack=stack))


def _place(path: Path, otherwise: str) -> str:
    """`path` for a command line if it is there, else a word in its place."""
    return shlex.quote(str(path)) if path.exists() else otherwise


def _unreadable(stack: Stack, error: ValidationError) -> ProblemsError:
    places = sorted({".".join(str(part) for part in fault["loc"]) for fault in error.errors()})
    what = f"outputs of stack {stack.name} are missing or not as expected: {', '.join(places)}"
    return ProblemsError([Problem(None, None, what, pulumi("up", stack=stack))])


def researcher_missing(stack: Stack, researcher: str, known: list[str]) -> ProblemsError:
    """The error for a researcher whom the stack's outputs do not have."""
    if stack.request(researcher).exists():
        mend = pulumi("up", stack=stack)
    else:
        mend = command("request", researcher, stack=stack)
    there = ", ".join(sorted(known)) or "nobody"
    what = f"stack {stack.name} has no enrollment of {researcher} (it has: {there})"
    return ProblemsError([Problem(None, None, what, mend)])
