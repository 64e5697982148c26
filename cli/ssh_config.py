"""`secondlock ssh-config`: what stock OpenSSH needs to ask nothing but the code."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import zlib
from pathlib import Path
from typing import Annotated

import typer

from cli.engine import Machine, machines
from cli.options import JsonOption, StackOption, echo_json
from cli.project import Stack, choose_stack, command, shown
from cli.ssh_windows import KNOWN_HOSTS, windows_config
from infra.files import cache_folder, write_whole
from infra.local.qemu import port_file
from infra.model.problems import Problem, ProblemsError
from infra.model.reading import UnreadableError, read_text
from infra.model.ssh_keys import key_blob
from infra.model.text import shell_word
from infra.ssh_file import MOST_BYTES, alias, host_key_alias

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
{port}\
  Port {machine.port}
  User {researcher}
  HostKeyAlias {host_key_alias}
  UserKnownHostsFile {known_hosts}
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  PreferredAuthentications publickey,keyboard-interactive
  ForwardAgent no
  SendEnv COLORTERM NO_COLOR
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

_ALONE = """\
  ControlMaster no
  ControlPath none
"""

# A connection of its own: through a shared one the tunnel would outlive the command.
_JUPYTER = """\
  ControlMaster no
  ControlPath none
  ExitOnForwardFailure yes
  RequestTTY yes
"""

# Which port of this computer: ssh asks as it connects. With the address: ssh would otherwise be
# content with ::1 where another program has 127.0.0.1, and that program would be sent the token.
# Where there is no bash to ask, 8888 it is; a port that is taken all the same ends ssh.
_JUPYTER_PORTS = """
Match originalhost {alias} exec "{taken}"
  LocalForward 127.0.0.1:{other} 127.0.0.1:8888
  RemoteCommand secondlock-jupyter {other}
Match originalhost {alias} !exec "{taken}"
  LocalForward 127.0.0.1:{port} 127.0.0.1:8888
  RemoteCommand secondlock-jupyter
"""
# Where a certificate of today lies beside a key, that account, which is asked nothing. It stands
# before the rest, since ssh takes the first value of what it is told twice. Whether it may be good
# still, find(1) tells by its age.
_REMEMBERED = """
Match originalhost {alias},{alias}.jupyter exec "{young}"
  User {researcher}.day
  IdentityFile {key}
  IdentitiesOnly yes
"""
_YOUNG = "find {certificate} -mmin -{minutes} 2>/dev/null | grep -q ."

# One command: a new key of today's, and a certificate for it by a login that asks for a code.
# Then, whether it opens the door; without one nothing more is tried.
_REMEMBER = """
Match originalhost {alias}.remember exec "{ask}"
  User {researcher}.day
  IdentityFile {key}
  IdentitiesOnly yes
  RemoteCommand true
Match originalhost {alias}.remember !exec "test -s {certificate_word}"
  ProxyCommand sh -c 'echo "secondlock: not remembered: no certificate came" >&2; exit 1'
"""
_ASK = (
    "umask 077; rm -f {key} {key}.pub {certificate} && ssh-keygen -q -t ed25519 -N '' -C {alias} "
    "-f {key} && ssh -F {config} {alias}.code <{key}.pub >{certificate}.new "
    "&& mv {certificate}.new {certificate}"
)
_CODE = """\
  ControlMaster no
  ControlPath none
  RequestTTY no
  RemoteCommand secondlock-remember
"""

_TAKEN = "bash -c '</dev/tcp/127.0.0.1/{port}' 2>/dev/null"
_PORT = 8888
_FIRST_OTHER, _OTHERS = 10000, 10000  # not where machines' own ports are (infra.local.qemu)


CheckOption = Annotated[
    bool,
    typer.Option("--check", help="Write nothing; exit code 1 where what is written is outdated."),
]


WindowsOption = Annotated[
    bool,
    typer.Option(
        "--windows",
        help="Write config_STACK and known_hosts_STACK for researchers' Windows computers instead.",
    ),
]


def ssh_config(
    stack: StackOption = None,
    check: CheckOption = False,
    windows: WindowsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write .secondlock/STACK/ssh_config and known_hosts for `ssh -F`.

    Hosts RESEARCHER.STACK (the workspace), RESEARCHER.STACK.jupyter (its Jupyter, at the address
    that it prints) and, for who may be remembered, RESEARCHER.STACK.remember (after one code no
    other is asked for some hours). Host keys are pinned: ssh asks for nothing but the code.
    """
    chosen = choose_stack(stack)
    everything = machines(chosen)
    if windows:
        _for_windows(chosen, everything, as_json=as_json)
        return
    if check:
        _check(chosen, everything, as_json=as_json)
        return
    chosen.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _remembered(everything):
        _days(chosen).mkdir(mode=0o700, exist_ok=True)
    config, known_hosts = _files(chosen)
    for path, text in ssh_files(chosen, everything).items():
        write_whole(path, text.encode())
    hosts = [
        alias(chosen.name, researcher)
        for machine in everything.values()
        for researcher in machine.by_ssh
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
    typer.echo("For Jupyter, at the address that it prints, while it runs:")
    for host in hosts:
        typer.echo(f"  ssh -F {shown(config)} {host}.jupyter")
    remembered = _remembered(everything)
    if remembered:
        typer.echo("To be asked for no other code today:")
    for researcher, hours in remembered.items():
        host = alias(chosen.name, researcher)
        typer.echo(f"  ssh -F {shown(config)} {host}.remember  ({hours} h)")


def _for_windows(stack: Stack, everything: dict[str, Machine], *, as_json: bool) -> None:
    """Files that can be sent to a researcher: no path of this computer is in them."""
    stack.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    config = stack.state / f"config_{stack.name}"
    known_hosts = stack.state / KNOWN_HOSTS.format(stack=stack.name)
    text = windows_config(stack.name, everything)
    write_whole(config, text.encode())
    write_whole(known_hosts, _known_hosts(stack, everything).encode())
    if as_json:
        echo_json({"stack": stack.name, "ssh_config": config, "known_hosts": known_hosts})
        return
    typer.echo(f"Wrote {shown(config)} and {shown(known_hosts)}: send both to the researcher.")
    typer.echo(f"In Windows both go into the folder .ssh; in .ssh\\config: Include {config.name}")


def _remembered(everything: dict[str, Machine]) -> dict[str, int]:
    """For how many hours whose code stands for the next ones."""
    return {name: hours for each in everything.values() for name, hours in each.remember.items()}


def _files(stack: Stack) -> tuple[Path, Path]:
    return stack.state / "ssh_config", stack.state / "known_hosts"


def ssh_files(stack: Stack, everything: dict[str, Machine]) -> dict[Path, str]:
    """The files of `ssh-config` and what is in them. Raises ProblemsError."""
    config, known_hosts = _files(stack)
    return {
        known_hosts: _known_hosts(stack, everything),
        config: _config(stack, everything, known_hosts),
    }


def outdated(stack: Stack, everything: dict[str, Machine]) -> list[Problem]:
    """The files of `ssh-config` that are there and would be others today. Raises ProblemsError."""
    anew = command("ssh-config", stack=stack)
    found = []
    for path, text in ssh_files(stack, everything).items():
        try:
            if read_text(path, limit=MOST_BYTES) == text:
                continue
            what = "is of before: what ssh has to know of the machines has changed since"
            found.append(Problem(path, None, what, anew))
        except FileNotFoundError:
            continue
        except UnreadableError as error:
            found.append(Problem(path, error.problem.line, error.problem.what, anew))
    return found


def _check(stack: Stack, everything: dict[str, Machine], *, as_json: bool) -> None:
    """Raises ProblemsError for files that are not those of today."""
    absent = [path for path in _files(stack) if not path.exists()]
    mend = command("ssh-config", stack=stack)
    found = [Problem(path, None, "is not written yet", mend) for path in absent]
    if found := [*found, *outdated(stack, everything)]:
        raise ProblemsError(found)
    config, known_hosts = _files(stack)
    if as_json:
        echo_json({"stack": stack.name, "ssh_config": config, "known_hosts": known_hosts})
    else:
        typer.echo(f"{shown(config)} fits the machines of today.")


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
        f"{host_key_alias(stack.name, name)} {machine.host_key.strip()}\n"
        for name, machine in everything.items()
    )


def _config(stack: Stack, everything: dict[str, Machine], known_hosts: Path) -> str:
    control_path = _quoted(_control_folder() / "%C", tokens=True)
    text = _HEADER.format(path=_quoted(stack.state / "ssh_config", tokens=True))
    for machine_name, machine in everything.items():
        for researcher in machine.by_ssh:
            key = own_key(stack, researcher)
            identity = f"  IdentityFile {_quoted(key)}\n  IdentitiesOnly yes\n" if key else ""
            host = alias(stack.name, researcher)
            hosts = {host: _SHARED, f"{host}.jupyter": _JUPYTER}
            if researcher in machine.remember:
                text += _for_the_day(stack, researcher, machine.remember[researcher])
                hosts |= {f"{host}.code": _CODE, f"{host}.remember": _ALONE}
            for name, rest in hosts.items():
                text += _ENTRY.format(
                    alias=name,
                    machine=machine,
                    host=machine.address if machine.public else machine.instance_id,
                    proxy=_proxy(stack, machine),
                    port=_port(machine),
                    researcher=researcher,
                    host_key_alias=host_key_alias(stack.name, machine_name),
                    known_hosts=_quoted(known_hosts),
                    identity=identity,
                )
                text += rest.format(control_path=control_path)
            text += _jupyter_ports(f"{host}.jupyter")
    return text


def _days(stack: Stack) -> Path:
    """The folder of keys and certificates that are good for a day."""
    return stack.state / "day"


def _for_the_day(stack: Stack, researcher: str, hours: int) -> str:
    """How ssh comes by a certificate of today, and where it uses one that is there."""
    host = alias(stack.name, researcher)
    key = _days(stack) / host
    certificate = _days(stack) / f"{host}-cert.pub"
    config = stack.state / "ssh_config"
    if "'" in str(_days(stack)):
        what = "ssh cannot run commands in a path with an apostrophe (rememberHours needs some)"
        raise ProblemsError([Problem(stack.state, None, what, "move the project")])
    words = {"key": _word(str(key)), "certificate": _word(str(certificate))}
    young = _YOUNG.format(certificate=words["certificate"], minutes=hours * 60)
    ask = _ASK.format(alias=host, config=_word(str(config)), **words)
    known = {"alias": host, "researcher": researcher, "key": _quoted(key)}
    return _REMEMBERED.format(young=young, **known) + _REMEMBER.format(
        ask=ask, certificate_word=words["certificate"], **known
    )


def _jupyter_ports(alias: str) -> str:
    """On which port of this computer a Jupyter is: 8888, or where that is taken one of its own."""
    other = _FIRST_OTHER + zlib.crc32(alias.encode()) % _OTHERS
    taken = _TAKEN.format(port=_PORT)
    return _JUPYTER_PORTS.format(alias=alias, taken=taken, other=other, port=_PORT)


def _port(machine: Machine) -> str:
    """The port that a local machine has today, before the one that it had when this was written."""
    if machine.directory is None:
        return ""
    return f"  Include {_quoted(port_file(machine.directory), tokens=True)}\n"


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


def missing_programs() -> str:
    """Those of Session Manager's that logins to private machines need and PATH lacks, in words."""
    names = ("aws", "session-manager-plugin")
    return " and ".join(name for name in names if shutil.which(name) is None)


def _hint(everything: dict[str, Machine]) -> None:
    """Say what logins to private machines need here and is missing."""
    if all(machine.public for machine in everything.values()):
        return
    if programs := missing_programs():
        typer.echo(
            f"Private machines need {programs} on PATH here: docs/how-to/private-machines.md "
            "says how.",
            err=True,
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
    folder = cache_folder() / "ssh"
    if len(os.fsencode(folder)) > _LONGEST_FOLDER or "%" in str(folder):
        folder = Path("/tmp") / f"secondlock-{os.geteuid()}"  # noqa: S108 - checked below
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    mine = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    if not mine or stat.S_IMODE(status.st_mode) & 0o077:
        what = "other users could take over shared connections there"
        name = shell_word(str(folder))
        mend = f"rm -r {name}" if mine else f"sudo rm -r {name}"
        raise ProblemsError([Problem(folder, None, what, mend)])
    return folder
