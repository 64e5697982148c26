"""A machine's values -> its user-data: configuration and programs, never a secret."""

import ast
import functools
import json
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jinja2

HERE = Path(__file__).parent
# EC2's limit on user-data before base64 (EC2 User Guide, "Run commands at launch"), bytes.
LIMIT = 16 * 1024
# A stolen key's chance against a six-digit code with three valid steps stays below 0.01% a day.
WRONG_CODES_PER_DAY = 30
# zlib's "window bits" for its largest window in gzip's format (zlib.h, deflateInit2).
GZIP = 31
LIBRARY = "/usr/local/lib/secondlock"

# Template -> (path on the machine, mode). One template per subsystem.
FILES: dict[str, tuple[str, str]] = {
    "sshd.conf": ("/etc/ssh/sshd_config.d/00-secondlock.conf", "0600"),
    "ssh.service.conf": ("/etc/systemd/system/ssh.service.d/secondlock.conf", "0644"),
    "pam-sshd": ("/etc/pam.d/sshd", "0644"),
    "fail2ban-jail.conf": ("/etc/fail2ban/jail.d/secondlock.conf", "0644"),
    "fail2ban-filter.conf": ("/etc/fail2ban/filter.d/secondlock-sshd.conf", "0644"),
    "nftables.conf": ("/etc/nftables.conf", "0755"),
    "chrony.conf": ("/etc/chrony/chrony.conf", "0644"),
    "docker-daemon.json": ("/etc/docker/daemon.json", "0644"),
    "docker.service.conf": ("/etc/systemd/system/docker.service.d/secondlock.conf", "0644"),
    "sudoers": ("/etc/sudoers.d/secondlock", "0440"),
    "unattended-upgrades.conf": ("/etc/apt/apt.conf.d/52secondlock", "0644"),
    "resolved.conf": ("/etc/systemd/resolved.conf.d/secondlock.conf", "0644"),
    "journald.conf": ("/etc/systemd/journald.conf.d/secondlock.conf", "0644"),
    "secondlock-boot.service": ("/etc/systemd/system/secondlock-boot.service", "0644"),
    "secondlock-status.service": ("/etc/systemd/system/secondlock-status.service", "0644"),
    "secondlock-status.timer": ("/etc/systemd/system/secondlock-status.timer", "0644"),
    "secondlock-hostclock.service": ("/etc/systemd/system/secondlock-hostclock.service", "0644"),
    "secondlock-jupyter@.service": ("/etc/systemd/system/secondlock-jupyter@.service", "0644"),
    "secondlock-jupyter-proxy@.service": (
        "/etc/systemd/system/secondlock-jupyter-proxy@.service",
        "0644",
    ),
    "secondlock-jupyter-proxy@.socket": (
        "/etc/systemd/system/secondlock-jupyter-proxy@.socket",
        "0644",
    ),
    "secondlock-jupyter": ("/usr/local/share/secondlock/workspace/secondlock-jupyter", "0755"),
}

# Program on the machine -> its module in cloudinit/guest/.
PROGRAMS: dict[str, str] = {
    "/usr/local/sbin/secondlock-sync": "sync",
    "/usr/local/sbin/secondlock-status": "status",
    f"{LIBRARY}/enter": "enter",
    f"{LIBRARY}/jupyter": "jupyter",
    f"{LIBRARY}/hostclock": "hostclock",
}


@dataclass(frozen=True)
class MachineValues:
    """What one machine's files differ by.

    `image` is the workspace image's tag as the machine's Docker knows it.
    """

    stack: str
    machine: str
    target: Literal["local", "aws"] = "local"
    image: str = "secondlock/tensorflow:2.9.3"


class _Packed(NamedTuple):
    """Compressed so far, and the compressor to copy and go on with."""

    data: bytes
    packer: Any


def _launcher(module: str) -> str:
    """Isolated (`-I`): no variable or folder of the caller's changes what root runs."""
    return (
        "#!/usr/bin/python3 -I\n"
        "import sys\n"
        f'sys.path.insert(0, "{LIBRARY}")\n'
        f"from guest import {module}\n"
        f"sys.exit({module}.main())\n"
    )


@functools.cache
def _templates(target: str) -> tuple[tuple[str, str, str], ...]:
    """The files that differ by target alone; no template may know which machine it is for."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 (configuration files, not HTML; values are validated names)
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    context = {"target": target, "wrong_codes_per_day": WRONG_CODES_PER_DAY}
    return tuple(
        (path, mode, environment.get_template(f"{name}.j2").render(context))
        for name, (path, mode) in FILES.items()
    )


def _compact(source: str) -> str:
    """A program without its comments and docstrings: they stay here, 16 KB is little."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            continue
        if ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree) + "\n"


@functools.cache
def _programs() -> tuple[tuple[str, str, str], ...]:
    modules = [
        (f"{LIBRARY}/guest/{source.name}", "0644", _compact(source.read_text()))
        for source in sorted((HERE / "guest").glob("*.py"))
    ]
    launchers = [(path, "0755", _launcher(module)) for path, module in PROGRAMS.items()]
    return (*modules, *launchers)


def _entry(path: str, mode: str, content: str) -> dict[str, str]:
    return {"path": path, "permissions": mode, "owner": "root:root", "content": content}


@functools.cache
def _head(target: str) -> str:
    """What every machine of a target begins with; its list of files is left open.

    As JSON, which YAML includes: it is written a hundred times quicker.
    """
    config = {
        "manage_etc_hosts": "localhost",
        "users": [],
        "disable_root": True,
        "ssh_deletekeys": False,
        "ssh_genkeytypes": [],
        "ssh": {"emit_keys_to_console": False},
        "no_ssh_fingerprints": True,
        "allow_public_ssh_keys": False,
        "package_update": False,
        "growpart": {"mode": "off"},
        "resize_rootfs": True,
        "write_files": [_entry(*each) for each in (*_templates(target), *_programs())],
    }
    return "#cloud-config\n" + json.dumps(config).removesuffix("]}")


def _tail(values: MachineValues) -> str:
    # The last file says that all the others are there.
    last = _entry("/etc/secondlock/machine.json", "0644", json.dumps(asdict(values)) + "\n")
    # RFC 1123 knows no underscore; a POSIX user name does.
    hostname = values.machine.replace("_", "-")
    return f', {json.dumps(last)}], "hostname": {json.dumps(hostname)}}}\n'


@functools.cache
def _packed_head(target: str) -> _Packed:
    """The head compressed once for all machines: it counts with a thousand requests."""
    packer = zlib.compressobj(9, zlib.DEFLATED, GZIP)
    return _Packed(packer.compress(_head(target).encode()), packer)


def render_user_data(values: MachineValues) -> bytes:
    """The machine's user-data, gzip-compressed; the same bytes for the same values.

    Raises ValueError when it exceeds EC2's limit of 16 KiB.
    """
    head = _packed_head(values.target)
    packer = head.packer.copy()
    packed: bytes = head.data + packer.compress(_tail(values).encode()) + packer.flush()
    if len(packed) > LIMIT:
        raise ValueError(f"user-data of {values.machine} is {len(packed)} bytes, over {LIMIT}")
    return packed
