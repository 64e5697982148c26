"""What the stack says: its environment, and the outputs that `pulumi` reads for us."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from cli.project import Stack, command, pulumi
from cloudinit.guest.methods import METHODS
from infra import factors
from infra.factors import Factor
from infra.model.fields import Method, RememberHours
from infra.model.names import NAME_PATTERN
from infra.model.problems import Problem, ProblemsError
from infra.model.reading import UnreadableError, from_json, read_text
from infra.model.text import brief, first_hidden, shell_word

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOLD = 5  # outputs that are named where more are wrong
STATE = ("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE_FILE")
"""Where a stack's state is, and what opens it."""

_PATH_ITSELF = ("$PATH", "${PATH}")


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


def _absolute(path: Path) -> Path:
    if not path.is_absolute() or first_hidden(str(path)) is not None:
        raise ValueError
    return path


def _text(pattern: str) -> StringConstraints:
    """The whole text; Rust's `$`, unlike Python's, is not before a last line break."""
    return StringConstraints(pattern=f"^(?:{pattern})$")


# What goes into ssh_config, known_hosts and command lines: a state is not written by us alone.
_Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
_Address = Annotated[str, _text("[0-9A-Za-z:][0-9A-Za-z.:-]{0,252}")]
_HostKey = Annotated[str, _text("(?:ssh|ecdsa)-[a-z0-9-]+ [A-Za-z0-9+/=]+")]
_Word = Annotated[str, _text("[A-Za-z0-9][A-Za-z0-9-]{0,62}")]
_CERTIFICATE = "-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\n"


class Machine(BaseModel):
    """An entry of the output `machines`. Below `directory`: of target aws alone."""

    model_config = ConfigDict(hide_input_in_errors=True, frozen=True)

    address: _Address
    port: Annotated[int, Field(ge=1, le=65535)]
    host_key: _HostKey
    running: bool
    serial: int
    researchers: tuple[_Name, ...]
    target: _Word
    remember: dict[_Name, RememberHours] = {}
    web_alone: tuple[_Name, ...] = ()
    """Whose only way in is a browser."""
    web_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """That by which a browser comes, where anybody does."""
    directory: Annotated[
        Annotated[Path, AfterValidator(_absolute)] | None, BeforeValidator(_none_if_empty)
    ] = None
    instance_id: _Word | None = None
    region: _Word | None = None
    zone: _Word | None = None
    log_group: Annotated[str, _text("[A-Za-z0-9_/.#-]{1,512}")] | None = None
    public: bool = True

    @property
    def by_ssh(self) -> tuple[str, ...]:
        """Who comes by SSH."""
        return tuple(each for each in self.researchers if each not in self.web_alone)


class Web(BaseModel):
    """What a person needs who comes in a browser."""

    model_config = ConfigDict(hide_input_in_errors=True, frozen=True)

    host: Annotated[str, _text("[a-z0-9][a-z0-9.-]{0,252}")]
    """The name of their own place there."""
    authority: Annotated[str, _text(_CERTIFICATE)] | None = None
    """The certificate of who vouches for it, PEM; None where browsers know that by themselves."""
    provider: Annotated[str, _text("https://[!-~]{1,600}")] | None = None
    """Who asks them for their factors, in place of passphrase and code."""


class Enrollment(BaseModel):
    """An entry of the secret output `enrollments`."""

    model_config = ConfigDict(hide_input_in_errors=True, frozen=True)

    machine: _Name
    enrollment: Annotated[str, _text("[0-9a-f]{32}")]
    factors: Method
    shown: dict[str, Any] = Field(default={}, repr=False)
    """By factor, what it shows: its module's SHOWN."""
    access: tuple[Literal["ssh", "web"], ...] = ("ssh",)
    web: Web | None = None
    web_passphrase: Annotated[str, _text("[!-~]{1,128}")] | None = Field(default=None, repr=False)

    @model_validator(mode="before")
    @classmethod
    def _by_factor(cls, value: Any) -> Any:
        """In the output all factors' fields stand side by side."""
        if not isinstance(value, dict) or value.get("factors") not in METHODS:
            return value
        web = value.get("web")
        vouched = isinstance(web, dict) and web.get("provider") is not None
        every = _taken(value["factors"], value.get("access", ("ssh",)), vouched=vouched)
        return {**value, "shown": {name: each.SHOWN(**value) for name, each in every.items()}}

    def _factors(self) -> dict[str, Factor]:
        vouched = self.web is not None and self.web.provider is not None
        return _taken(self.factors, self.access, vouched=vouched)

    def scanned(self) -> dict[str, str]:
        """What the QRs hold that the person scans, by authenticator. Secret."""
        found: dict[str, str] = {}
        for name, each in self._factors().items():
            found |= each.scanned(self.shown[name])
        return found

    def steps(self, *, in_words: bool) -> list[str]:
        """What the person does with it; `in_words` also what the QR holds. Secret."""
        every = self._factors().items()
        steps = [
            step for name, each in every for step in each.steps(self.shown[name], in_words=in_words)
        ]
        if self.web_passphrase is not None:
            steps.append(
                f"The passphrase, which a browser asks for with the code:\n   {self.web_passphrase}"
            )
        return steps

    def emergency_step(self) -> str:
        """What the person does with the emergency codes alone. Secret."""
        return factors.factor("totp").steps(self.shown["totp"], in_words=False)[-1]

    def fields(self) -> dict[str, Any]:
        """All that its factors show, for programs. Secret."""
        return {
            name: value
            for each in self.shown.values()
            for name, value in each.model_dump(exclude_unset=True).items()
        } | ({} if self.web_passphrase is None else {"web_passphrase": self.web_passphrase})


def _taken(method: str, access: Collection[str], *, vouched: bool) -> dict[str, Factor]:
    """The factors that a person uses: without SSH, of its method only what shows codes; and none
    for whom a provider vouches."""
    every = factors.of(method)
    if "ssh" in access:
        return every
    return {name: each for name, each in every.items() if each.FIELDS and not vouched}


class _Machines(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    machines: dict[_Name, Machine]


class _Enrollments(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    enrollments: dict[_Name, Enrollment]


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
        text = read_text(path, private=True)
    except FileNotFoundError:
        return _own(stack, base)
    except UnreadableError as error:
        raise ProblemsError([error.problem.at(path)]) from None
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
    merged = {**added, **_own(stack, base)}
    merged["PATH"] = os.pathsep.join([*front, base.get("PATH", os.defpath)])
    return merged


def _own(stack: Stack, base: Mapping[str, str]) -> dict[str, str]:
    """Without what a shell has of another stack's: backend and passphrase in that one's folder."""
    kept = dict(base)
    for name in STATE:
        place = Path(base.get(name, "").removeprefix("file://"))
        if place.is_relative_to(stack.state.parent) and not place.is_relative_to(stack.state):
            del kept[name]
    return kept


def find_pulumi(surroundings: Mapping[str, str]) -> str | None:
    """The program, on PATH or where `make setup` puts it."""
    places = [surroundings.get("PATH", os.defpath), str(Path(sys.executable).parent)]
    return shutil.which("pulumi", path=os.pathsep.join(places))


def _export(path: Path, number: int, line: str) -> tuple[str, str] | None:
    if first_hidden(line, "\t") is not None:
        what = "holds a control character, or one that is not seen"
        raise ProblemsError([Problem(path, number, what, f"edit {shell_word(str(path))}")])
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        words = [line]
    if not words:
        return None
    name, equals, value = words[-1].partition("=")
    if len(words) != 2 or words[0] != "export" or not equals or not _NAME.fullmatch(name):
        problem = Problem(
            path, number, "is not `export NAME=value`", f"edit {shell_word(str(path))}"
        )
        raise ProblemsError([problem])
    return name, value


def set_config(stack: Stack, values: Mapping[str, str]) -> None:
    """Write plain values into the stack's configuration, all or none. Raises ProblemsError."""
    pairs = [word for key, value in values.items() for word in ("--plaintext", f"{key}={value}")]
    _run(stack, "config", "set-all", *pairs)


class Value(BaseModel):
    """A value of the stack's configuration, decrypted."""

    model_config = ConfigDict(hide_input_in_errors=True, frozen=True)

    value: str = Field(default="", repr=False)
    secret: bool = False


class Resource(BaseModel):
    """A resource in the stack's state, as far as it is looked at."""

    model_config = ConfigDict(hide_input_in_errors=True, frozen=True)

    urn: str
    id: str = ""
    inputs: dict[str, Any] = {}

    @property
    def kind(self) -> str:
        """Its type (Pulumi's documentation, "URNs"): urn:pulumi:STACK::PROJECT::TYPES::NAME."""
        types = self.urn.split("::", 3)[2:3]
        return types[0].rpartition("$")[2] if types else ""


class State(BaseModel):
    """The stack's state, secrets encrypted."""

    model_config = ConfigDict(hide_input_in_errors=True, frozen=True)

    resources: list[Resource] = []
    pending_operations: list[Any] = []


def config_values(stack: Stack) -> dict[str, Value]:
    """The stack's whole configuration, decrypted: secrets. Raises ProblemsError."""
    answer = _json(stack, "config", "--show-secrets", "--json") or {}
    try:
        return {key: Value.model_validate(one) for key, one in answer.items()}
    except ValidationError as error:
        raise _unreadable(stack, error) from None


def state(stack: Stack) -> State:
    """What `pulumi` knows of the stack's resources. Raises ProblemsError."""
    exported = _json(stack, "stack", "export") or {}
    try:
        return State.model_validate(_without_none(exported.get("deployment")))
    except ValidationError as error:
        raise _unreadable(stack, error) from None


class Lock(BaseModel):
    """Who works on a stack in a backend of files. One that nobody can read stops it too."""

    model_config = ConfigDict(hide_input_in_errors=True, frozen=True)

    file: Path
    pid: int | None = None
    hostname: str | None = None

    @property
    def is_damaged(self) -> bool:
        """Whether it does not say who holds it."""
        return self.pid is None or self.hostname is None

    def __str__(self) -> str:
        if self.is_damaged:
            return f"the damaged lock {self.file}"
        return f"process {self.pid} on {self.hostname}"


def locks(backend: Path, stack: str) -> list[Lock]:
    """Who holds `stack` in the backend of files that is the folder `backend`."""
    found = []
    for path in sorted(backend.glob(f".pulumi/locks/**/{stack}/*.json")):
        with suppress(FileNotFoundError):  # its holder has ended this very moment
            found.append(_lock(path))
    return found


def _lock(path: Path) -> Lock:
    try:
        return Lock(**{**from_json(read_text(path)), "file": path})
    except (ValueError, TypeError):
        return Lock(file=path)


def _without_none(values: object) -> object:
    """Go writes null for an empty list."""
    if not isinstance(values, dict):
        return values or {}
    return {key: value for key, value in values.items() if value is not None}


def _outputs(stack: Stack, *, secrets: bool) -> dict[str, Any]:
    flags = ["--json", "--color", "never", *(["--show-secrets"] if secrets else [])]
    outputs = _json(stack, "stack", "output", *flags)
    if not outputs:
        up = pulumi("up", stack=stack)
        raise ProblemsError([Problem(None, None, f"stack {stack.name} is not up", up)])
    return outputs


def _json(stack: Stack, *words: str) -> dict[str, Any] | None:
    """The mapping that a `pulumi` command prints, None for nothing. Raises ProblemsError."""
    try:
        answer = from_json(_run(stack, *words))
    except ValueError:
        what = "pulumi does not answer in JSON"
        raise ProblemsError([Problem(None, None, what, _again(stack, words))]) from None
    if not isinstance(answer, dict) and answer is not None:
        raise _not_as_expected(stack, ["they are no mapping"])
    return answer


def stacks(stack: Stack) -> set[str]:
    """The names of the stacks in the backend that `stack` is looked for in. Raises ProblemsError.

    That is also how to see whether the backend can be used.
    """
    try:
        listed = from_json(_run(stack, "stack", "ls", "--json", named=False))
        return {str(one["name"]).rpartition("/")[2] for one in listed}
    except (ValueError, TypeError, KeyError):
        what = "pulumi does not answer in JSON"
        raise ProblemsError([Problem(None, None, what, "pulumi stack ls")]) from None


def make_stack(stack: Stack, secrets_provider: str | None) -> None:
    """`pulumi stack init`; its file is `stack.config`. Raises ProblemsError."""
    provider = ["--secrets-provider", secrets_provider] if secrets_provider else []
    _run(stack, "stack", "init", stack.name, *provider, named=False)


def set_secret(stack: Stack, key: str, value: str) -> None:
    """Write a secret into the stack's configuration, encrypted. Raises ProblemsError."""
    _run(stack, "config", "set", "--secret", key, stdin=value)


def _run(stack: Stack, *words: str, stdin: str = "", named: bool = True) -> str:
    """What a `pulumi` command prints; `named`: it takes the stack's name as an option.

    A secret goes by `stdin`: a command line is seen by others. Raises ProblemsError.
    """
    surroundings = environment(stack, os.environ)
    program = find_pulumi(surroundings)
    if program is None:
        raise ProblemsError([Problem(None, None, "`pulumi` is not on PATH", "make setup")])
    # Its language hosts lie beside it.
    surroundings["PATH"] = os.pathsep.join([surroundings["PATH"], str(Path(program).parent)])
    done = subprocess.run(
        [program, *words, *(["--stack", stack.name] if named else []), "--non-interactive"],
        cwd=stack.root,
        env=surroundings,
        input=stdin,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        stack.values()  # where the stack's file is at fault, our words say in which line
        raise ProblemsError([_translated(stack, words, done.stderr)])
    return done.stdout


def _translated(stack: Stack, words: Sequence[str], message: str) -> Problem:
    """A fault of a `pulumi` command in a person's words, with what mends it."""
    if "no stack named" in message:
        mend = "make demo" if stack.name == "demo" else f"./secondlock init {stack.name}"
        return Problem(None, None, f"there is no stack {stack.name}", mend)
    if "passphrase" in message.lower():
        wrong = "is not the right one" if "incorrect passphrase" in message else "is not at hand"
        what = f"the passphrase of stack {stack.name} {wrong}"
        return Problem(None, None, what, _passphrase_mend(stack))
    if "must be set for login" in message or "unable to open state" in message:
        what = f"pulumi does not find the state of stack {stack.name}"
        if not (stack.state / "pulumi").exists():
            what += "; a group's is elsewhere (docs/how-to/several-admins.md), a new one can be in "
            what += "the project"
        return Problem(None, None, what, _backend_mend(stack))
    lines = [line.removeprefix("error: ") for line in message.splitlines() if line.strip()]
    said = lines[-1] if lines else "it failed without a word"
    if words[0] == "stack" and words[1] in ("ls", "init"):  # `secondlock init` asks these alone
        return Problem(None, None, f"pulumi: {said}", "mend that, then run the same command again")
    return Problem(None, None, f"pulumi: {said}", _again(stack, words))


def _again(stack: Stack, words: Sequence[str]) -> str:
    """The command without its options: some show secrets, which a screen or a CI's log keeps."""
    return pulumi(*itertools.takewhile(lambda word: not word.startswith("-"), words), stack=stack)


def _passphrase_mend(stack: Stack) -> str:
    """By the file where there is one, else by a question: typed words stay in no history."""
    path = stack.state / "passphrase"
    if path.exists():
        file = shell_word(str(path))
        return f"unset PULUMI_CONFIG_PASSPHRASE; export PULUMI_CONFIG_PASSPHRASE_FILE={file}"
    ask = "read -rsp 'Passphrase: ' PULUMI_CONFIG_PASSPHRASE; export PULUMI_CONFIG_PASSPHRASE"
    return f"unset PULUMI_CONFIG_PASSPHRASE_FILE; {ask}"


def _backend_mend(stack: Stack) -> str:
    """The folder that `make demo` would take; Pulumi makes none."""
    path = stack.state / "pulumi"
    export = f"export PULUMI_BACKEND_URL={shell_word(f'file://{path}')}"
    if path.exists():
        return export
    folder = shell_word(str(path))
    return f"mkdir -p -m 700 {folder} && {export}"


def _unreadable(stack: Stack, error: ValidationError) -> ProblemsError:
    places = {".".join(str(part) for part in fault["loc"]) for fault in error.errors()}
    return _not_as_expected(stack, sorted(brief(place) for place in places))


def _not_as_expected(stack: Stack, places: list[str]) -> ProblemsError:
    told = ", ".join(places[:_TOLD])
    if len(places) > _TOLD:
        told += f" and {len(places) - _TOLD} more"
    what = f"outputs of stack {stack.name} are missing or not as expected: {told}"
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
