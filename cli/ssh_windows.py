"""ssh_config for a researcher's own Windows computer: what its OpenSSH has no use for is left out.

It shares no connections (no ControlMaster), and what `Match exec` runs there is no POSIX shell. The
files are sent to the researcher: so no path of this computer stands in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.ssh_file import alias, host_key_alias

if TYPE_CHECKING:
    from cli.engine import Machine

KNOWN_HOSTS = "known_hosts_{stack}"
"""What the file beside it is to be called in `.ssh`."""

_HEADER = """\
# For Windows' own ssh (10 and later). Put this file and {known_hosts} into the folder .ssh of your
# profile, and at the top of .ssh\\config, made if there is none: Include {name}
"""

_ENTRY = """
Host {host}
  HostName {address}
  Port {port}
  User {login}
  HostKeyAlias {alias}
  UserKnownHostsFile ~/.ssh/{known_hosts}
  GlobalKnownHostsFile NUL
  StrictHostKeyChecking yes
  PreferredAuthentications publickey,keyboard-interactive
  ForwardAgent no
"""

_JUPYTER = """\
  LocalForward 127.0.0.1:8888 127.0.0.1:8888
  ExitOnForwardFailure yes
  RequestTTY yes
  RemoteCommand secondlock-jupyter
"""

_CODE = """\
  RequestTTY no
  RemoteCommand secondlock-remember
"""

_DAY = """\
  IdentityFile ~/.ssh/{host}
  IdentitiesOnly yes
# In the morning, in a command prompt in .ssh; then {host} asks for no code for {hours} hours:
#   del {host} {host}.pub
#   ssh-keygen -q -t ed25519 -N "" -f {host}
#   ssh {host}.code < {host}.pub > {host}-cert.pub
"""


def windows_config(stack: str, everything: dict[str, Machine]) -> str:
    """The file's text; machines without a public address are not in it."""
    known_hosts = KNOWN_HOSTS.format(stack=stack)
    text = _HEADER.format(known_hosts=known_hosts, name=f"config_{stack}")
    for name, machine in everything.items():
        for researcher in machine.by_ssh if machine.public else ():
            host, hours = alias(stack, researcher), machine.remember.get(researcher)
            hosts = {host: (researcher, ""), f"{host}.jupyter": (researcher, _JUPYTER)}
            if hours:
                day = f"{host}.day"
                of_day = _DAY.format(host=day, hours=hours)
                hosts[f"{day}.code"] = (researcher, _CODE)
                hosts[day] = (f"{researcher}.day", of_day)
            for each, (login, rest) in hosts.items():
                text += _ENTRY.format(
                    host=each,
                    address=machine.address,
                    port=machine.port,
                    login=login,
                    alias=host_key_alias(stack, name),
                    known_hosts=known_hosts,
                )
                text += rest
    return text
