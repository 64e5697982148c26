"""`secondlock ssh-config`: what stock OpenSSH needs to ask nothing but the code."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
from pathlib import Path

import typer

from cli.engine import Machine, machines
from cli.files import replace
from cli.options import JsonOption, StackOption, echo_json
from cli.project import Stack, choose_stack, shown
from infra.problems import Problem, ProblemsError
from infra.reading import UnreadableError, read_text
from infra.ssh_keys import key_blob

# sun_path holds 108 bytes with its end; ssh appends %C (40) and, while it binds, 17 more.
_LONGEST_FOLDER = 108 - 1 - 17 - 40 - 1

_HEADER = """\
# Written by `secondlock ssh-config`, which writes it anew: edits are lost. To use it in general:
# Include {path}
"""

_ENTRY = """
Host {alias}
  HostName {host}
{proxy}\
  Port {machine.port}
  User {researcher}
  HostKeyAlias {host_key_alias}
  UserKnownHostsFile {known_hosts}
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  PreferredAuthentications publickey,keyboard-interactive
  ForwardAgent no
{identity}\
"""

# AWS-StartSSHSession is the only document that the researchers' policy allows.
_SESSION_MANAGER = """\
  ProxyCommand aws ssm start-session --target %h --document-name AWS-StartSSHSession \
--parameters portNumber=%p --region {region}{profile}
"""

_SHARED = """\
  ControlMaster auto
  ControlPersist 10m
  ControlPath {control_path}
"""

# A connection of its own: through a shared one the tunnel would outlive the command.
_JUPYTER = """\
  ControlMaster no
  ControlPath none
  LocalForward 8888 127.0.0.1:8888
  ExitOnForwardFailure yes
  RequestTTY yes
  RemoteCommand secondlock-jupyter
"""


def ssh_config(stack: StackOption = None, as_json: JsonOption = False) -> None:
    """Write .secondlock/STACK/ssh_config and known_hosts for `ssh -F`.

    Hosts RESEARCHER.STACK (the workspace) and RESEARCHER.STACK.jupyter (its Jupyter on
    http://127.0.0.1:8888). Host keys are pinned: ssh asks for nothing but the code.
    """
    chosen = choose_stack(stack)
    everything = machines(chosen)
    chosen.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    config, known_hosts = chosen.state / "ssh_config", chosen.state / "known_hosts"
    replace(known_hosts, _known_hosts(chosen, everything).encode())
    replace(config, _config(chosen, everything, known_hosts).encode())
    hosts = [
        alias(chosen, researcher)
        for machine in everything.values()
        for researcher in machine.researchers
    ]
    if as_json:
        echo_json(
            {
                "stack": chosen.name,
                "ssh_config": config,
                "known_hosts": known_hosts,
                "hosts": hosts,
            }
        )
        return
    _hint(everything)
    typer.echo(f"Wrote {shown(config)}. To log in:")
    for host in hosts:
        typer.echo(f"  ssh -F {shown(config)} {host}")
    typer.echo("For Jupyter, on http://127.0.0.1:8888 while it runs:")
    for host in hosts:
        typer.echo(f"  ssh -F {shown(config)} {host}.jupyter")


def alias(stack: Stack, researcher: str) -> str:
    """What a researcher types after `ssh`."""
    return f"{researcher}.{stack.name}"


def host_key_alias(stack: Stack, machine: str) -> str:
    """The name under which known_hosts has the machine: it survives another port."""
    return f"{machine}.{stack.name}.secondlock"


def own_key(stack: Stack, researcher: str) -> Path | None:
    """The demo's private key if it is this researcher's; without one ssh uses the person's own."""
    public, request = stack.key.with_suffix(".pub"), stack.request(researcher)
    if not stack.key.exists():
        return None
    try:
        body = key_blob(read_text(public))
        return stack.key if body and body in read_text(request, inside=stack.requests) else None
    except (FileNotFoundError, UnreadableError):
        return None


def _known_hosts(stack: Stack, everything: dict[str, Machine]) -> str:
    return "".join(
        f"{host_key_alias(stack, name)} {machine.host_key.strip()}\n"
        for name, machine in everything.items()
    )


def _config(stack: Stack, everything: dict[str, Machine], known_hosts: Path) -> str:
    control_path = _quoted(_control_folder() / "%C", tokens=True)
    text = _HEADER.format(path=_quoted(stack.state / "ssh_config", tokens=True))
    for name, machine in everything.items():
        for researcher in machine.researchers:
            key = own_key(stack, researcher)
            identity = f"  IdentityFile {_quoted(key)}\n  IdentitiesOnly yes\n" if key else ""
            for suffix, rest in (("", _SHARED), (".jupyter", _JUPYTER)):
                text += _ENTRY.format(
                    alias=alias(stack, researcher) + suffix,
                    machine=machine,
                    host=machine.address if machine.public else machine.instance_id,
                    proxy=_proxy(stack, machine),
                    researcher=researcher,
                    host_key_alias=host_key_alias(stack, name),
                    known_hosts=_quoted(known_hosts),
                    identity=identity,
                )
                text += rest.format(control_path=control_path)
    return text


def _proxy(stack: Stack, machine: Machine) -> str:
    """How a machine without a public address is reached: empty for the others."""
    if machine.public:
        return ""
    profile = stack.value("aws:profile")
    return _SESSION_MANAGER.format(
        region=_word(machine.region or ""),
        profile=f" --profile {_word(profile)}" if profile else "",
    )


def _word(text: str) -> str:
    """`text` as one word of a ProxyCommand: the shell reads it, and ssh its `%` before that."""
    return shlex.quote(text).replace("%", "%%")


def _hint(everything: dict[str, Machine]) -> None:
    """Say what logins to private machines need here and is missing."""
    if all(machine.public for machine in everything.values()):
        return
    missing = [name for name in ("aws", "session-manager-plugin") if shutil.which(name) is None]
    if missing:
        programs = " and ".join(missing)
        typer.echo(
            f"Private machines need {programs} on PATH here: docs/aws.md says how.", err=True
        )


def _quoted(path: Path, *, tokens: bool = False) -> str:
    """`path` as ssh_config(5) reads it: quoted, `%` doubled unless `tokens` are meant.

    Raises ProblemsError for what ssh has no way to write.
    """
    text = str(path)
    if any(sign in text for sign in ('"', "\\", "\n", "${")):
        what = "ssh cannot read a path with a quote, a backslash or ${ in it"
        raise ProblemsError([Problem(path, None, what, "move the project to another folder")])
    return f'"{text}"' if tokens else '"' + text.replace("%", "%%") + '"'


def _control_folder() -> Path:
    """A folder of one's own for the sockets of shared connections.

    Not in $XDG_RUNTIME_DIR: it goes at logout, and ssh refuses to connect (it does not only stop
    sharing) when the folder of ControlPath is not there. A cache folder too deep for a socket's
    name (unix(7)) gives way to /tmp.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "secondlock" / "ssh"
    if len(os.fsencode(folder)) > _LONGEST_FOLDER or "%" in str(folder):
        folder = Path("/tmp") / f"secondlock-{os.geteuid()}"  # noqa: S108 - checked below
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    mine = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    if not mine or stat.S_IMODE(status.st_mode) & 0o077:
        what = "other users could take over shared connections there"
        name = shlex.quote(str(folder))
        mend = f"rm -r {name}" if mine else f"sudo rm -r {name}"
        raise ProblemsError([Problem(folder, None, what, mend)])
    return folder
