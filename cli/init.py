"""`secondlock init`: a stack, from nothing to where `pulumi up` makes its first machine."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import sys
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from cli import request as requests
from cli.engine import config_values, environment, make_stack, set_config, set_secret, stacks
from cli.files import locked, replace, write_new
from cli.options import JsonOption, echo_json
from cli.project import Stack, choose_stack, command, pulumi, shown
from cli.request import Factors, FactorsOption, FromOption, KeyOption
from cli.targets import NAMES, target_of
from infra.enrollment import fingerprint
from infra.model.problems import Problem, ProblemsError
from infra.model.settings import SEED_KEY, setting_problems, split_zones

_SEED, _FINGERPRINT = f"secondlock:{SEED_KEY}", "secondlock:seedFingerprint"
_SEED_BYTES = 32
_OURS = "# Written by `secondlock init`. To go on with plain pulumi: . "
_BACKEND, _FILE = "PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE_FILE"
_WORDS = "PULUMI_CONFIG_PASSPHRASE"
_STATE = (_BACKEND, _FILE)
# Plugins come by `make setup` or a command that one types, never in the middle of an `up`.
_QUIET = {
    "PULUMI_SKIP_UPDATE_CHECK": "1",
    "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
}


Target = Enum("Target", {name.upper(): name for name in NAMES}, type=str)  # type: ignore[misc]
_USUAL = Target(NAMES[0])


class OnDestroy(str, Enum):
    """What becomes of data when its machine goes."""

    DELETE = "delete"
    SNAPSHOT = "snapshot"


NameArgument = Annotated[
    str, typer.Argument(metavar="STACK", help="The new stack's name.", show_default=False)
]
TargetOption = Annotated[
    Target, typer.Option("--target", help="Where machines run: this computer, or EC2.")
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
    target: TargetOption = _USUAL,
    zones: ZonesOption = "",
    on_destroy: DestroyOption = None,
    researcher: ResearcherOption = None,
    key: KeyOption = None,
    factors: FactorsOption = Factors.KEY,
    allowed_from: FromOption = None,
    backend: BackendOption = None,
    secrets_provider: ProviderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a stack: backend, passphrase, seed and its fingerprint, settings, folder, first request.

    What is there already stays as it is, so it can be run again, also after it was cut off.
    """
    chosen = choose_stack(stack)
    wanted = target_of(target.value).settings(zones, on_destroy and on_destroy.value)
    _check(chosen, wanted)
    chosen.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(chosen.state):
        exported, made = _surroundings(chosen, backend, secrets_provider)
        os.environ |= exported  # for the pulumi that is asked now
        made += _stack(chosen, secrets_provider)
        _write_env(chosen, exported)
        made += _configuration(chosen, wanted)
        chosen.requests.mkdir(parents=True, exist_ok=True)
        if researcher is not None and not chosen.request(researcher).exists():
            made += requests.write(chosen, researcher, key, factors, allowed_from, {}).lines()
    following = _next(chosen)
    if as_json:
        echo_json({"stack": chosen.name, "made": made, "next": following})
        return
    for line in made or [f"Stack {chosen.name} is there: nothing to do"]:
        typer.echo(line)
    typer.echo("Next:")
    for line in following:
        typer.echo(f"  {line}")


def _check(stack: Stack, wanted: Mapping[str, str]) -> None:
    """Raises ProblemsError for what `up` would refuse, and for what the stack is already."""
    found = [
        problem
        for name, value in wanted.items()
        for problem in setting_problems(stack.name, name.partition(":")[2], value)
    ]
    there = stack.values()
    for name, value in wanted.items():
        if there.get(name, value) != value:
            what = f"{name} is {there[name]} already, not {value}"
            found.append(Problem(stack.config, None, what, "another name for another stack"))
    if there and "secondlock:target" not in there and wanted:
        what = f"stack {stack.name} is there already, on target local"
        found.append(Problem(stack.config, None, what, "another name for another stack"))
    if found:
        raise ProblemsError(found)


def _surroundings(
    stack: Stack, backend: str | None, provider: str | None
) -> tuple[dict[str, str], list[str]]:
    """Backend and passphrase as variables that no shell has yet; and what was made of them."""
    known = environment(stack, os.environ)
    exported = {name: value for name, value in environment(stack, {}).items() if name in _STATE}
    said, place = [], known.get(_BACKEND)
    if place is not None and backend not in (None, place):
        what = f"the state of stack {stack.name} is in {place} already, not in {backend}"
        raise ProblemsError([Problem(None, None, what, "leave out --backend")])
    if place is None:
        folder = stack.state / "pulumi"
        if backend is None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            said.append(f"State: {shown(folder)}")
        exported[_BACKEND] = backend or f"file://{folder}"
    file = str(stack.state / "passphrase")
    if provider is None and _WORDS not in known and known.get(_FILE, file) == file:
        said += _passphrase(stack)
        exported[_FILE] = file
    return exported, said


def _passphrase(stack: Stack) -> list[str]:
    """A new one, unless something is encrypted with one that is lost. Raises ProblemsError."""
    path = stack.state / "passphrase"
    if path.exists():
        return []
    if stack.config.exists():
        what = f"{shown(path)} is lost, and {shown(stack.config)} is encrypted with it"
        raise ProblemsError([Problem(None, None, what, "bring it back, or export its passphrase")])
    words = secrets.token_urlsafe(_SEED_BYTES) + "\n"
    write_new(path, words.encode(), mode=0o600, mend="run it again")
    return [f"Passphrase: {shown(path)}; keep a copy elsewhere, as carefully as a root password"]


def _write_env(stack: Stack, exported: Mapping[str, str]) -> None:
    """What a new shell and `./secondlock` go by; a file that somebody wrote stays."""
    path = stack.state / "env"
    if path.exists() and not path.read_text().startswith(_OURS):
        return
    values = {"SECONDLOCK_STACK": stack.name, **_QUIET, **exported}
    program = shutil.which("pulumi", path=environment(stack, os.environ)["PATH"])
    programs = [Path(sys.executable).parent, *([Path(program).parent] if program else [])]
    folders = ":".join(dict.fromkeys(shlex.quote(str(folder)) for folder in programs))
    lines = [
        _OURS + shlex.quote(str(path.relative_to(stack.root))),
        *(f"export {name}={shlex.quote(value)}" for name, value in values.items()),
        f'export PATH={folders}:"$PATH"',
    ]
    replace(path, ("\n".join(lines) + "\n").encode(), mode=0o600)


def _stack(stack: Stack, provider: str | None) -> list[str]:
    """The stack in its backend. Raises ProblemsError, also where nobody is logged in there."""
    if stack.name in stacks(stack):
        return []
    make_stack(stack, provider)
    return [f"Stack: {stack.name}, its settings in {shown(stack.config)}"]


def _configuration(stack: Stack, wanted: Mapping[str, str]) -> list[str]:
    """The seed, its pinned fingerprint, and what the command line says."""
    said, there = [], stack.values()
    if _SEED not in there and _FINGERPRINT not in there:
        set_secret(stack, _SEED, secrets.token_hex(_SEED_BYTES))
        said.append("Seed: new, encrypted there; every phone and host key follows from it")
    values = {name: value for name, value in wanted.items() if name not in there}
    if "secondlock:zones" in values and "aws:region" not in there:
        values["aws:region"] = split_zones(wanted["secondlock:zones"])[0][:-1]
    if _FINGERPRINT not in there:
        values[_FINGERPRINT] = fingerprint(config_values(stack)[_SEED].value.strip())
    if values:
        set_config(stack, values)
    return said


def _next(stack: Stack) -> list[str]:
    """What to type now."""
    env = stack.state / "env"
    lines = [f". {shown(env)}"] if env.exists() else []
    if not any(stack.requests.glob("*.yaml")):
        lines.append(command("request", "NAME", "--key", "NAME.pub", stack=stack))
    lines += target_of(stack.target()).steps(stack)
    return [*lines, pulumi("up", stack=stack).rpartition("&& ")[2]]
