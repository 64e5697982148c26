"""`secondlock request`: the first version of a researcher's file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from cli import targets
from cli.files import write_new
from cli.keys import read_keys
from cli.options import (
    JsonOption,
    ResearcherArgument,
    StackOption,
    echo_json,
    file_name,
    one_of,
)
from cli.project import TARGET, Stack, check_researcher, choose_stack, command, pulumi, shown
from cli.scaffold import OPTIONS
from cloudinit.guest.methods import METHODS
from infra.checks import check_stack
from infra.factors import DEFAULT, of
from infra.model.problems import Problem, ProblemsError
from infra.model.shares import free_gpus, gpus_of
from infra.model.text import visible

_OWN_KEYS = ("id_ed25519.pub", "id_ed25519_sk.pub", "id_ecdsa.pub", "id_ecdsa_sk.pub", "id_rsa.pub")
_PLAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9./+=@_:-]| (?=[^#\s]))*(?<!:)")

_TEMPLATE = """\
# yaml-language-server: $schema=../request.schema.json
# What {researcher} gets. Review it like code; `pulumi up` makes it so.
researcher: {researcher}

# Public keys (the line of a .pub file). The private key stays with its owner.
ssh_keys:{ssh_keys}

# From where logins are allowed, as CIDRs.
allowed_from:{allowed_from}
{web}
# key+totp: a key and the phone's code. password+totp: a password and the phone's code.
# fido2: a security key with touch and PIN, and no code. fido2+totp: that and the phone's code.
factors: {factors}

{machine}

# Binds the phone. No secret, but never used twice: `{rotate}` writes a new one.
enrollment: "{enrollment}"
"""

_WEB = """
# By SSH, and in a browser to their Jupyter, from these networks.
access: [ssh, web]
web_allowed_from:{networks}
"""

_OIDC = """\
# What the stack's OpenID provider calls them, to the letter: it vouches for them there.
oidc: {identity}
"""

KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--key",
        metavar="FILE",
        parser=file_name,
        help="Their public key (.pub). Default: your own in ~/.ssh.",
        show_default=False,
    ),
]
FactorsOption = Annotated[
    str,
    typer.Option(
        "--factors",
        metavar="|".join(METHODS),
        parser=one_of(METHODS),
        help="What a login asks for besides the address.",
    ),
]
FromOption = Annotated[
    list[str] | None,
    typer.Option(
        "--from",
        metavar="CIDR",
        help="Where they log in from; may be repeated. Default on target local: 127.0.0.0/8.",
        show_default=False,
    ),
]


TypeOption = Annotated[
    str | None,
    typer.Option(
        "--instance-type",
        metavar="TYPE",
        help="EC2 instance type, on target aws. Default: the stack's.",
        show_default=False,
    ),
]
SpotOption = Annotated[
    bool, typer.Option("--spot", help="Spare capacity of EC2, on target aws: cheaper.")
]
PrivateOption = Annotated[
    bool,
    typer.Option(
        "--private", help="No public address, on target aws: SSH goes over Session Manager."
    ),
]


OidcOption = Annotated[
    str | None,
    typer.Option(
        "--oidc",
        metavar="VALUE",
        help="As --web, and in the browser the stack's OpenID provider vouches for them: VALUE is"
        " what its claim says of them.",
        show_default=False,
    ),
]
WebOption = Annotated[
    bool,
    typer.Option(
        "--web", help="Let them reach their Jupyter in a browser too, from the same networks."
    ),
]


MachineOption = Annotated[
    str | None,
    typer.Option(
        "--machine",
        metavar="MACHINE",
        help="A shared machine of the stack, in place of one of their own.",
        show_default=False,
    ),
]


def request(
    researcher: ResearcherArgument,
    stack: StackOption = None,
    key: KeyOption = None,
    factors: FactorsOption = DEFAULT,
    allowed_from: FromOption = None,
    instance_type: TypeOption = None,
    spot: SpotOption = False,
    private: PrivateOption = False,
    machine: MachineOption = None,
    web: WebOption = False,
    oidc: OidcOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a first request for a researcher: stacks/STACK/RESEARCHER.yaml.

    The file is checked before it is written, and never overwrites one.
    """
    chosen = choose_stack(stack)
    target = chosen.target()  # whatever else is wrong may be so for another target alone
    fields = machine_fields(instance_type, spot=spot, private=private)
    if machine is not None and fields:
        what = "a shared machine's own file says what it is"
        raise typer.BadParameter(what, param_hint=" and ".join(OPTIONS[name] for name in fields))
    asked = Asked(researcher, key, factors, allowed_from, fields, machine, web, oidc)
    wrote = draft(chosen, {**chosen.values(), TARGET: target}, asked).write()
    if as_json:
        echo_json({"stack": chosen.name, **wrote.document()})
        return
    for line in wrote.lines():
        typer.echo(line)
    typer.echo(f"Next: read it, then {pulumi('up', stack=chosen)}")


def machine_fields(instance_type: str | None, *, spot: bool, private: bool) -> dict[str, str]:
    """The fields of `machine` that the command line sets, as YAML has them."""
    fields = {"instance_type": None if instance_type is None else _scalar(instance_type)}
    fields |= {"spot": "true" if spot else None, "public": "false" if private else None}
    return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True)
class Asked:
    """What the command line says of a first request."""

    researcher: str
    key: Path | None
    factors: str
    """One of METHODS."""
    allowed_from: Sequence[str] | None
    machine: Mapping[str, str]
    """Fields of their own, as YAML has them."""
    shared: str | None = None
    """The machine that they share."""
    web: bool = False
    """Whether they come in a browser too."""
    oidc: str | None = None
    """What the stack's provider calls them, where it vouches for them there."""


@dataclass(frozen=True)
class Written:
    """A request that was written: whose, where, and the file (None: there was none) of its keys."""

    researcher: str
    path: Path
    source: Path | None
    fingerprints: list[str]
    guessed: bool
    """Whether the keys are those of whoever typed the command, since no file was named."""

    def document(self) -> dict[str, object]:
        """For programs."""
        return {
            "researcher": self.researcher,
            "file": self.path,
            "key_file": self.source,
            "key_fingerprints": self.fingerprints,
        }

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"Wrote {shown(self.path)}"
        for line in self.fingerprints:
            yield f"  key {line} from {shown(self.source) if self.source else '--'}"
        if self.guessed:
            yield f"  That is your own key: is it {self.researcher}'s? If not, edit the file."


@dataclass(frozen=True)
class Draft:
    """A request in which nothing is wrong, and which is not written yet."""

    stack: Stack
    text: str
    will_be: Written

    def write(self) -> Written:
        """Write it. Raises ProblemsError where there is one already."""
        path = self.will_be.path
        path.parent.mkdir(parents=True, exist_ok=True)
        mend = f"edit it, or: {command('rotate', self.will_be.researcher, stack=self.stack)}"
        write_new(path, self.text.encode(), mode=0o644, mend=mend)
        return self.will_be


def draft(stack: Stack, config: Mapping[str, str], asked: Asked) -> Draft:
    """The request that is asked for in a stack with this configuration, which need not be there.

    Raises ProblemsError, and typer.BadParameter for what the stack's target does not know.
    """
    name = check_researcher(asked.researcher)
    target = targets.target_of(config[TARGET])
    if asked.shared is None:
        machine = target.machine(stack, asked.machine)
    else:
        machine = _seat(stack, config, asked.shared, name)
    cidrs = asked.allowed_from or target.networks()
    source, keys, found = _keys(asked)
    # Where keys are wrong, nothing else is for want of one.
    method = next(each for each in METHODS if not _needs_keys(each)) if found else asked.factors
    text = _scaffold(stack, name, keys, method, cidrs, machine, _browser(asked, cidrs))
    path = stack.request(name)
    # The file is not there yet: its lines would help nobody, the fields' names do.
    for one in faults(stack, config, name, text):
        found.append(replace(one, file=None, line=None) if one.file == path else one)
    if found:
        raise ProblemsError(found)
    prints = [_fingerprint(line) for line in keys]
    guessed = asked.key is None and source is not None
    return Draft(stack, text, Written(name, path, source, prints, guessed))


def _seat(stack: Stack, config: Mapping[str, str], name: str, researcher: str) -> str:
    """The lines of a request that joins a shared machine, with the first GPUs that are nobody's.

    Where machine or settings are not well, what is wrong there is told when all is checked.
    """
    checked = check_stack(stack.name, stack.root, config)
    line = f"# A machine that others share: machines/{name}.yaml.\nmachine: {_scalar(name)}"
    shared = checked.asked.shared.get(name)
    if shared is None:
        return line
    hardware = checked.settings.hardware(shared)
    gpus = gpus_of(shared, researcher, hardware)
    if not gpus:
        return line
    people = checked.asked.people
    taken = (each for one in people if one.machine == name for each in one.gpus or ())
    free = free_gpus(taken, hardware)[:gpus]
    return f"{line}\ngpus: [{', '.join(map(str, free))}]"


def faults(stack: Stack, config: Mapping[str, str], researcher: str, text: str) -> list[Problem]:
    """What is wrong with `text` as the researcher's request, in a stack with this configuration.

    It is read as if it stood among the stack's other files. What is wrong there, or in the
    configuration, without it does not count.
    """
    path = stack.request(researcher)
    found = check_stack(stack.name, stack.root, config, instead={path: text}).problems
    own = {one for one in found if one.file in (path, path.parent)}
    if own.issuperset(found):
        return found
    before = check_stack(stack.name, stack.root, config).problems
    return [one for one in found if one in own or one not in before]


def _scaffold(
    stack: Stack,
    researcher: str,
    keys: Sequence[str],
    factors: str,
    cidrs: Sequence[str],
    machine: str,
    web: str,
) -> str:
    return _TEMPLATE.format(
        researcher=researcher,
        ssh_keys=_sequence(keys),
        allowed_from=_sequence(cidrs),
        web=web,
        factors=factors,
        machine=machine,
        enrollment=secrets.token_hex(16),
        rotate=command("rotate", researcher, stack=stack),
    )


def _browser(asked: Asked, cidrs: Sequence[str]) -> str:
    """What a request says of a browser."""
    text = _WEB.format(networks=_sequence(cidrs)) if asked.web or asked.oidc is not None else ""
    return text if asked.oidc is None else text + _OIDC.format(identity=_quoted(asked.oidc))


def _sequence(values: Sequence[str]) -> str:
    if not values:
        return " []"
    return "".join(f"\n  - {_scalar(value)}" for value in values)


def _scalar(value: str) -> str:
    """`value` as YAML: plain where that is safe, else quoted as JSON, which YAML reads too.

    What is not seen becomes an escape: some of it ends a line of YAML.
    """
    return value if _PLAIN.fullmatch(value) else _quoted(value)


def _quoted(value: str) -> str:
    return visible(json.dumps(value, ensure_ascii=False))


def _keys(asked: Asked) -> tuple[Path | None, list[str], list[Problem]]:
    """The file that was read, its keys, and what is wrong there."""
    if asked.key is not None:
        try:
            return asked.key, read_keys(asked.key), []
        except ProblemsError as error:
            return asked.key, [], list(error.problems)
    if not _needs_keys(asked.factors):
        return None, [], []
    for path in (Path.home() / ".ssh" / name for name in _OWN_KEYS):
        if not path.is_file():
            continue
        try:
            keys = read_keys(path)
        except ProblemsError:
            continue  # too weak a key, for example; perhaps the next will do
        if _fault(asked.factors, keys) is None:
            return path, keys, []
    what = f"no public key for {asked.researcher}: none in ~/.ssh serves"
    _, make = _fault(asked.factors, []) or ("", "")
    return None, [], [Problem(None, None, what, f"{make}, or --key FILE")]


def _needs_keys(method: str) -> bool:
    return _fault(method, []) is not None


def _fault(method: str, keys: list[str]) -> tuple[str, str] | None:
    """What is wrong with such keys for a login by `method`, and the command that makes one."""
    for each in of(method).values():
        if fault := each.fault("ssh_keys", keys):
            return fault
    return None


def _fingerprint(key: str) -> str:
    """As `ssh-keygen -l` says it: the SHA-256 of the key's own bytes, in base64 unpadded."""
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
