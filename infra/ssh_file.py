"""What `secondlock ssh-config` writes: its names, and for `up` to say where it misleads by now.

The whole files are compared by `status`, `doctor` and `ssh-config --check`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from infra.model.reading import UnreadableError, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MOST_BYTES = 16 * 1024 * 1024
"""Of such a file: a thousand machines take 1.5 MiB."""

_ENTRY = re.compile(r"(?m)^Host (\S+)\n((?:  .*\n)+)")
_DERIVED = re.compile(r"\.(?:jupyter|code|remember)$")


def alias(stack: str, researcher: str) -> str:
    """What a researcher types after `ssh`."""
    return f"{researcher}.{stack}"


def host_key_alias(stack: str, machine: str) -> str:
    """The name under which known_hosts has the machine: it survives another port."""
    return f"{machine}.{stack}.secondlock"


def misleading(state: Path, stack: str, machines: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Where the files in the stack's folder `state` lead ssh to what is no longer so.

    `machines` are as the program's output of that name has them. None where nothing is written.
    """
    try:
        config, known_hosts = (
            read_text(state / name, limit=MOST_BYTES) for name in ("ssh_config", "known_hosts")
        )
    except (FileNotFoundError, UnreadableError):
        return None
    return next(_differences(config, known_hosts.splitlines(), stack, machines), None)


def _differences(
    config: str, known_hosts: list[str], stack: str, machines: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    there = {host: rest.split("\n") for host, rest in _ENTRY.findall(config)}
    wanted = {}
    for name, machine in machines.items():
        key = f"{host_key_alias(stack, name)} {machine['host_key']}"
        if key not in known_hosts:
            yield f"it does not know {name}'s host key"
        for researcher in machine["researchers"]:
            wanted[alias(stack, researcher)] = machine
    for host, machine in wanted.items():
        if host not in there:
            yield f"it does not know {host}"
            continue
        public = machine.get("public", True)
        address = machine["address"] if public else machine["instance_id"]
        # Where another file is included, that has the port of today.
        included = any(line.startswith("  Include ") for line in there[host])
        port = () if included else (f"  Port {machine['port']}",)
        for line in (f"  HostName {address}", *port):
            if line not in there[host]:
                yield f"it does not have {host} at {address}, port {machine['port']}"
    for host in there:
        if not {host, _DERIVED.sub("", host)} & wanted.keys():
            yield f"it has {host}, who is not there any more"
