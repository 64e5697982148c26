"""`secondlock init`: a stack, from nothing to where `pulumi up` makes its first machine."""

from __future__ import annotations

import os
import secrets
import shlex
import sys
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from cli import request as requests
from cli.engine import (
    STATE,
    config_values,
    environment,
    find_pulumi,
    make_stack,
    set_config,
    set_secret,
    stacks,
    state,
)
from cli.files import locked
from cli.options import JsonOption, echo_json
from cli.project import TARGET, Stack, check_researcher, choose_stack, command, pulumi, shown
from cli.request import (
    Asked,
    Draft,
    FactorsOption,
    FromOption,
    KeyOption,
    PrivateOption,
    SpotOption,
    TypeOption,
    machine_fields,
)
from cli.targets import NAMES, target_of
from infra.enrollment import fingerprint
from infra.factors import DEFAULT
from infra.files import write_whole
from infra.model.problems import Problem, ProblemsError
from infra.model.reading import UnreadableError, read_text
from infra.model.settings import SEED_KEY, setting_problems, split_zones

_SEED, _FINGERPRINT = f"secondlock:{SEED_KEY}", "secondlock:seedFingerprint"
_SEED_BYTES = 32
_OURS = "# Written by `secondlock init`. To go on with plain pulumi: . "
_BACKEND, _FILE = STATE
_WORDS = "PULUMI_CONFIG_PASSPHRASE"
_KEEP = "keep a copy elsewhere, as carefully as a root password"
_HINTS = {
    TARGET: "--target",
    "secondlock:zones": "--zones",
    "secondlock:onDestroy": "--on-destroy",
}


Target = Enum("Target", {name.upper(): name for name in NAMES}, type=str)  # type: ignore[misc]


class OnDestroy(str, Enum):
    """What becomes of data when its machine goes."""

    DELETE = "delete"
    SNAPSHOT = "snapshot"


NameArgument = Annotated[
    str, typer.Argument(metavar="STACK", help="The new stack's name.", show_default=False)
]
TargetOption = Annotated[
    Target | None,
    typer.Option(
        "--target",
        help="Where machines run: this computer (the default), or EC2.",
        show_default=False,
    ),
]
ZonesOption = Annotated[
    str,
    typer.Option(
        "--zones",
        metavar="ZONES",
        help="On target aws: availability zones of one region, as in eu-west-1a,eu-west-1b.",
        show_default=False,
    ),
]
DestroyOption = Annotated[
    OnDestroy | None,
    typer.Option(
        "--on-destroy",
        help="On target aws: what becomes of the data when a machine goes.",
        show_default=False,
    ),
]
ResearcherOption = Annotated[
    str | None,
    typer.Option(
        "--researcher",
        metavar="NAME",
        help="Write a first request for this person too.",
        show_default=False,
    ),
]
BackendOption = Annotated[
    str | None,
    typer.Option(
        "--backend",
        metavar="URL",
        help="Where the state is kept, as in s3://BUCKET. Default: $PULUMI_BACKEND_URL, else a "
        "folder of this project.",
        show_default=False,
    ),
]
ProviderOption = Annotated[
    str | None,
    typer.Option(
        "--secrets-provider",
        metavar="URL",
        help="What encrypts the secrets, as in awskms://alias/NAME. Default: a passphrase.",
        show_default=False,
    ),
]


def init(
    stack: NameArgument,
    target: TargetOption = None,
    zones: ZonesOption = "",
    on_destroy: DestroyOption = None,
    researcher: ResearcherOption = None,
    key: KeyOption = None,
    factors: FactorsOption = DEFAULT,
    allowed_from: FromOption = None,
    instance_type: TypeOption = None,
    spot: SpotOption = False,
    private: PrivateOption = False,
    backend: BackendOption = None,
    secrets_provider: ProviderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a stack: backend, passphrase, seed and its fingerprint, settings, folder, first request.

    What is there already stays as it is, so it can be run again, also after it was cut off.
    """
    chosen = _chosen(stack)
    there = chosen.target() if chosen.values() else None
    kind = target.value if target else there or NAMES[0]
    wanted = {} if there else target_of(kind).settings(zones, on_destroy and on_destroy.value)
    _check(chosen, kind, zones, on_destroy and on_destroy.value, wanted)
    fields = machine_fields(instance_type, spot=spot, private=private)
    asked = None
    if researcher is not None:
        asked = Asked(check_researcher(researcher), key, factors, allowed_from, fields)
    elif key is not None or allowed_from or fields:
        raise typer.BadParameter("whose?", param_hint="--researcher")
    # What is wrong with the request is told before anything is made.
    draft = _draft(chosen, {TARGET: kind, **wanted, **chosen.values()}, asked) if asked else None
    said = _Said(chosen, quiet=as_json)
    chosen.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(chosen.state):
        _make(chosen, wanted, backend, secrets_provider, said)
        if asked:
            _request(chosen.request(asked.researcher), draft, said)
    following = _next(chosen)
    if as_json:
        echo_json({**said.document(), "next": following})
        return
    typer.echo("Next:")
    for line in following:
        typer.echo(f"  {line}")


class _Said:
    """What is told as it happens, since who is cut off has read it; to programs, in the end."""

    def __init__(self, stack: Stack, *, quiet: bool) -> None:
        self._stack, self._quiet = stack, quiet
        self._before = set(_files(stack))
        self._facts: dict[str, object] = {"passphrase_file": None, "request": None}

    def __call__(self, line: str, **facts: object) -> None:
        """Say it; `facts` are the same for programs."""
        self._facts |= facts
        if not self._quiet:
            typer.echo(line)

    def document(self) -> dict[str, object]:
        """For programs."""
        return {
            "stack": self._stack.name,
            "target": self._stack.target(),
            "folder": self._stack.requests,
            "settings_file": self._stack.config,
            "env_file": self._stack.state / "env",
            **self._facts,
            "made": [path for path in _files(self._stack) if path not in self._before],
        }


def _files(stack: Stack) -> list[Path]:
    """Those of a stack that are there."""
    places = [stack.config, stack.state / "env", _passphrase_file(stack)]
    places += sorted(stack.requests.glob("*.yaml"))
    return [path for path in places if path.exists()]


def _passphrase_file(stack: Stack) -> Path:
    return Path(environment(stack, os.environ).get(_FILE) or stack.state / "passphrase")


def _chosen(name: str) -> Stack:
    try:
        return choose_stack(name)
    except typer.BadParameter as error:
        error.param_hint = "STACK"
        raise


def _check(
    stack: Stack, kind: str, zones: str, on_destroy: str | None, wanted: Mapping[str, str]
) -> None:
    """Raises typer.BadParameter for what `up` would refuse, ProblemsError for what is otherwise."""
    for name, value in wanted.items():
        for problem in setting_problems(stack.name, name.partition(":")[2], value):
            what = problem.what.partition(": ")[2]
            raise typer.BadParameter(what, param_hint=_HINTS[name])
    there = stack.values()
    if not there:
        return
    given = {TARGET: kind, "secondlock:zones": zones}
    given["secondlock:onDestroy"] = on_destroy or ""
    found = []
    for name, value in given.items():
        has = there.get(name, "local" if name == TARGET else "")
        if value and has != value:
            what = f"{name} is {has or 'not set'} in this stack, not {value}"
            mend = f"another name, or: pulumi config set {name} {value} --stack {stack.name}"
            found.append(Problem(stack.config, None, what, mend))
    if found:
        raise ProblemsError(found)


def _draft(stack: Stack, config: Mapping[str, str], asked: Asked) -> Draft | None:
    """The first request, unless it is there. Raises as `requests.draft` does."""
    if stack.request(asked.researcher).exists():
        return None
    return requests.draft(stack, config, asked)


def _make(
    stack: Stack,
    wanted: Mapping[str, str],
    backend: str | None,
    provider: str | None,
    said: _Said,
) -> None:
    """All but the request. Raises ProblemsError."""
    exported = _surroundings(stack, backend, provider, said)
    os.environ |= exported  # for the pulumi that is asked now
    new = _stack(stack, provider, said)
    _write_env(stack, exported)
    _configuration(stack, wanted, said, new=new)
    stack.requests.mkdir(parents=True, exist_ok=True)


def _surroundings(
    stack: Stack, backend: str | None, provider: str | None, said: _Said
) -> dict[str, str]:
    """Backend and passphrase, as variables for the stack's own file; their places are told."""
    own, known = environment(stack, {}), environment(stack, os.environ)
    place = backend or known.get(_BACKEND)
    has = own.get(_BACKEND) if stack.config.exists() else None
    if has and place != has:
        what = f"the state of stack {stack.name} is in {has}, not in {place}"
        mend = "leave out --backend" if backend else f"unset {_BACKEND}"
        raise ProblemsError([Problem(None, None, what, mend)])
    if place is None:
        folder = stack.state / "pulumi"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = f"file://{folder}"
    said(f"State: {place}", state=place)
    exported = {_BACKEND: place}
    if provider is None and not _has_provider(stack):
        exported |= _passphrase(stack, known, said)
    return exported


def _has_provider(stack: Stack) -> bool:
    """Whether a key of some service encrypts the stack's secrets, and no passphrase."""
    return stack.holds("secretsprovider")


def _passphrase(stack: Stack, known: Mapping[str, str], said: _Said) -> dict[str, str]:
    """That of the shell, or the stack's own file, made where nothing is encrypted yet."""
    if _WORDS in known:
        if not known[_WORDS]:
            what = f"{_WORDS} is empty: everybody could read the seed"
            raise ProblemsError([Problem(None, None, what, f"unset {_WORDS}")])
        said(f"Passphrase: that of your shell ({_WORDS})")
        return {}
    path = _passphrase_file(stack)
    if _is_written(path):
        said(f"Passphrase: {shown(path)}; {_KEEP}", passphrase_file=path)
        return {_FILE: str(path)}
    if stack.holds("encryptionsalt"):
        what = f"{shown(path)} is lost, and {shown(stack.config)} is encrypted with it"
        raise ProblemsError([Problem(None, None, what, f"bring it back, or: export {_FILE}=FILE")])
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    write_whole(path, (secrets.token_urlsafe(_SEED_BYTES) + "\n").encode(), mode=0o600)
    said(f"Passphrase: {shown(path)}, new; {_KEEP}", passphrase_file=path)
    return {_FILE: str(path)}


def _is_written(path: Path) -> bool:
    """Whether a passphrase is in its file. Raises ProblemsError where that cannot be read."""
    try:
        return bool(read_text(path).strip())
    except FileNotFoundError:
        return False
    except UnreadableError as error:
        raise ProblemsError([error.problem.at(path)]) from None


def _write_env(stack: Stack, exported: Mapping[str, str]) -> None:
    """What a new shell and `./secondlock` go by; lines that somebody added stay."""
    path = stack.state / "env"
    before = read_text(path, private=True).splitlines() if path.exists() else []  # read before
    values = {"SECONDLOCK_STACK": stack.name, "PULUMI_SKIP_UPDATE_CHECK": "1", **exported}
    ours = {f"export {name}={shlex.quote(value)}": name for name, value in values.items()}
    if before and not before[0].startswith(_OURS):
        said = [line for line, name in ours.items() if f"export {name}=" not in "\n".join(before)]
        lines = [*before, *said]
    else:
        program = find_pulumi(environment(stack, os.environ))
        programs = [Path(sys.executable).parent, *([Path(program).parent] if program else [])]
        folders = ":".join(dict.fromkeys(shlex.quote(str(folder)) for folder in programs))
        mine = tuple(f"export {name}=" for name in (*values, "PATH", *STATE))
        head = _OURS + shlex.quote(str(path.relative_to(stack.root)))
        kept = [line for line in before[1:] if not line.startswith(mine)]
        lines = [head, *ours, f'export PATH={folders}:"$PATH"', *kept]
    write_whole(path, ("\n".join(lines) + "\n").encode(), mode=0o600)


def _stack(stack: Stack, provider: str | None, said: _Said) -> bool:
    """Make sure of the stack in its backend; whether it is new there.

    Raises ProblemsError, also where nobody is logged in there.
    """
    new = stack.name not in stacks(stack)
    if new:
        make_stack(stack, provider)
    line = f"Stack: {stack.name}{', new' if new else ''}; its settings: {shown(stack.config)}"
    said(line, new=new)
    return new


def _configuration(stack: Stack, wanted: Mapping[str, str], said: _Said, *, new: bool) -> None:
    """The seed, its pinned fingerprint, and what the command line says."""
    there = stack.values()
    if _SEED not in there and _FINGERPRINT not in there:
        if not new and state(stack).resources:
            what = f"stack {stack.name} is up, and {shown(stack.config)} does not have its seed"
            raise ProblemsError([Problem(None, None, what, "bring the file back: git pull")])
        set_secret(stack, _SEED, secrets.token_hex(_SEED_BYTES))
        said("Seed: new, encrypted there; every phone and host key follows from it")
    values = {name: value for name, value in wanted.items() if name not in there}
    if "secondlock:zones" in values and "aws:region" not in there:
        values["aws:region"] = split_zones(wanted["secondlock:zones"])[0][:-1]
    if _FINGERPRINT not in there:
        values[_FINGERPRINT] = fingerprint(config_values(stack)[_SEED].value.strip())
    if values:
        set_config(stack, values)


def _request(path: Path, draft: Draft | None, said: _Said) -> None:
    """Write it, where there was none."""
    if draft is None:
        said(f"Request: {shown(path)} is there and stays as it is")
        return
    wrote = draft.write()
    for line in wrote.lines():
        said(line, request=wrote.document())


def _next(stack: Stack) -> list[str]:
    """What to type now."""
    lines = [f". {shown(stack.state / 'env')}"]
    if not any(stack.requests.glob("*.yaml")):
        lines.append(command("request", "NAME", "--key", "NAME.pub", stack=stack))
    lines += target_of(stack.target()).steps(stack)
    return [*lines, pulumi("up", stack=stack).rpartition("&& ")[2]]
