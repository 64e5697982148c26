"""A machine's values -> its user-data: configuration and programs, never a secret."""

import ast
import functools
import json
import re
import zlib
from collections.abc import Iterable, Mapping
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
# A line that is nothing but a comment; not the first of a script.
_COMMENT = re.compile(r"^[ \t]*(#(?!!)|//).*\n", re.MULTILINE)
_INDENT = re.compile(r"^(?: {4})+", re.MULTILINE)

_UNITS = "/etc/systemd/system"
_SSHD = "/etc/ssh/sshd_config.d/00-secondlock.conf"
# Template -> (path on the machine, mode). One template per subsystem.
FILES: dict[str, tuple[str, str]] = {
    "sshd.conf": (_SSHD, "0600"),
    "ssh.service.conf": (f"{_UNITS}/ssh.service.d/secondlock.conf", "0644"),
    "user@.service.conf": (f"{_UNITS}/user@.service.d/secondlock.conf", "0644"),
    "pam-sshd": ("/etc/pam.d/sshd", "0644"),
    "fail2ban-jail.conf": ("/etc/fail2ban/jail.d/secondlock.conf", "0644"),
    "fail2ban-filter.conf": ("/etc/fail2ban/filter.d/secondlock-sshd.conf", "0644"),
    "nftables.conf": ("/etc/nftables.conf", "0755"),
    "chrony.conf": ("/etc/chrony/chrony.conf", "0644"),
    "docker-daemon.json": ("/etc/docker/daemon.json", "0644"),
    "docker.service.conf": (f"{_UNITS}/docker.service.d/secondlock.conf", "0644"),
    "sudoers": ("/etc/sudoers.d/secondlock", "0440"),
    "unattended-upgrades.conf": ("/etc/apt/apt.conf.d/52secondlock", "0644"),
    "resolved.conf": ("/etc/systemd/resolved.conf.d/secondlock.conf", "0644"),
    "journald.conf": ("/etc/systemd/journald.conf.d/secondlock.conf", "0644"),
}
UNITS = (
    "secondlock-boot.service",
    "secondlock-status.service",
    "secondlock-status.timer",
    "secondlock-jupyter@.service",
    "secondlock-jupyter-proxy@.service",
    "secondlock-jupyter-proxy@.socket",
)
# Program on the machine -> its module in cloudinit/guest/.
PROGRAMS: dict[str, str] = {
    "/usr/local/sbin/secondlock-sync": "sync",
    "/usr/local/sbin/secondlock-status": "status",
    f"{LIBRARY}/enter": "enter",
    f"{LIBRARY}/jupyter": "jupyter",
}


class Kind(NamedTuple):
    """A kind of machine. What one kind alone needs is in no other's user-data."""

    target: Literal["local", "aws"]
    baked: bool

    @property
    def programs(self) -> tuple[str, ...]:
        """Modules of its own that are programs in `LIBRARY`."""
        if self.target == "local":
            return ("hostclock",)
        return () if self.baked else ("firstboot",)

    @property
    def modules(self) -> tuple[str, ...]:
        """All modules of its own. On aws, cloudinit/install.py brings more to the image."""
        return (*self.programs, *(() if self.target == "local" else ("aws", "ssm")))

    @property
    def units(self) -> tuple[str, ...]:
        """Templates of units of its own."""
        if self.target == "local":
            return ("secondlock-hostclock.service",)
        units = ("secondlock-fetch.service", "secondlock-fetch.timer")
        return units if self.baked else (*units, "secondlock-install.service")

    @property
    def commands(self) -> dict[str, Any]:
        """What cloud-init runs: a local machine waits for its roster, this one goes for it."""
        if self.target == "local":
            return {"cloud_config_modules": [], "cloud_final_modules": []}
        reload = ["systemctl", "daemon-reload"]
        if self.baked:
            start = ["systemctl", "enable", "--now", "--no-block", *_FROM_THE_START]
            return {"runcmd": [reload, start]}
        # A stock image's sshd would start in this boot: not with its own configuration, and not
        # with ours before there is a roster.
        shut = "systemctl mask sshd-keygen.service; systemctl disable --now ssh.service ssh.socket"
        install = "secondlock-install.service"
        return {
            "bootcmd": [["cloud-init-per", "instance", "shut", "sh", "-c", shut]],
            "runcmd": [
                reload,
                ["systemctl", "enable", install],
                ["systemctl", "start", "--no-block", install],
            ],
        }


_OF_SOME_KIND = {"hostclock", "firstboot", "aws", "ssm", "ebs", "ship", "spot"}
_FROM_THE_START = tuple(
    f"secondlock-{unit}"
    for unit in ("fetch.service", "fetch.timer", "ship.timer", "status.timer", "spot.service")
)


# Of cloud-init's first stage only these: without `ssh` and `users_groups` it makes no host key, no
# account and lets in no key of EC2's.
_INIT_MODULES = (
    "seed_random",
    "bootcmd",
    "growpart",
    "resizefs",
    "set_hostname",
    "update_hostname",
    "update_etc_hosts",
)


@dataclass(frozen=True)
class MachineValues:
    """What one machine's files differ by.

    `image` is the workspace image as the machine's Docker knows it: a tag of the golden image's,
    or `name@sha256:digest`. The others are for the target aws: `parameter` is the name of the SSM
    parameter that holds the roster, `log_group` that of CloudWatch Logs, `baked` whether the
    machine's image has everything that cloudinit/install.py installs; `endpoint` is a URL that
    stands in for AWS (tests).
    """

    stack: str
    machine: str
    target: Literal["local", "aws"] = "local"
    image: str = "secondlock/tensorflow:2.9.3"
    region: str = ""
    parameter: str = ""
    log_group: str = ""
    baked: bool = True
    endpoint: str = ""


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


File = tuple[str, str, str]
"""Path on the machine, mode, content."""


def templates(target: str, files: Mapping[str, tuple[str, str]]) -> tuple[File, ...]:
    """Templates as files of a machine; they differ by target alone, none knows which machine."""
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
        (path, mode, uncommented(environment.get_template(f"{name}.j2").render(context)))
        for name, (path, mode) in files.items()
    )


def units(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Units as `templates` takes them."""
    return {name: (f"{_UNITS}/{name}", "0644") for name in names}


def uncommented(text: str) -> str:
    """A file without its comments: they stay here, 16 KB is little."""
    return _COMMENT.sub("", text)


class _Bare(ast.NodeTransformer):
    """A program without its docstrings and annotations, but for those that make a data class."""

    def visit(self, node: ast.AST) -> Any:
        """Look at statements alone: no expression has anything to take off."""
        if isinstance(node, (ast.mod, ast.stmt, ast.excepthandler)):
            return super().visit(node)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """Take off a function's docstring and annotations."""
        self.generic_visit(node)
        every = (*node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg)
        for argument in every:
            if argument is not None:
                argument.annotation = None
        node.returns = None
        _undocument(node)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        """Keep what stands directly in a class as it is."""
        for each in node.body:
            if isinstance(each, ast.FunctionDef):
                self.visit_FunctionDef(each)
        _undocument(node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        """A plain assignment, or nothing where nothing is assigned."""
        if node.value is None:
            return None
        return ast.Assign([node.target], node.value, lineno=0)


def _undocument(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> None:
    if ast.get_docstring(node):
        node.body = node.body[1:] or [ast.Pass()]


def _compact(source: str) -> str:
    """A program without what only a reader needs: that stays here, 16 KB is little."""
    tree = ast.parse(source)
    _undocument(tree)
    text = ast.unparse(_Bare().visit(tree)) + "\n"
    # No string of ours goes over lines once docstrings are gone: every indent is the program's.
    return _INDENT.sub(lambda match: " " * (len(match[0]) // 4), text)


def modules(names: Iterable[str]) -> tuple[File, ...]:
    """Modules of cloudinit/guest as files of a machine."""
    return tuple(
        (
            f"{LIBRARY}/guest/{name}.py",
            "0644",
            _compact((HERE / "guest" / f"{name}.py").read_text()),
        )
        for name in names
    )


def launchers(programs: Mapping[str, str]) -> tuple[File, ...]:
    """Programs, by path, of modules."""
    return tuple((path, "0755", _launcher(module)) for path, module in programs.items())


@functools.cache
def _files(kind: Kind) -> tuple[File, ...]:
    absent = _OF_SOME_KIND - set(kind.modules)
    present = sorted({source.stem for source in (HERE / "guest").glob("*.py")} - absent)
    return (
        *templates(kind.target, FILES | units((*UNITS, *kind.units))),
        *modules(present),
        *launchers(PROGRAMS | {f"{LIBRARY}/{name}": name for name in kind.programs}),
    )


# Two parts (RFC 2046, 5.1). The files come as a boothook, which cloud-init runs at the beginning of
# its network stage, long before sshd: as `write_files` it would read each of their characters a
# dozen times, which takes seconds under emulation. The last file says that all others are there.
_HEAD = """\
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="{boundary}"

--{boundary}
Content-Type: text/cloud-boothook

#cloud-boothook
#!/usr/bin/python3 -I
import os

def write(files):
    os.umask(0o022)
    for path, mode, content in files:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        new = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(new, "w") as file:
            file.write(content)
        os.chmod(path + ".new", int(mode, 8))
        if path == files[-1][0]:
            os.sync()
        os.rename(path + ".new", path)

files = [
{files},
"""
_TAIL = """\
{last}
]
if not os.path.exists(files[-1][0]):
    write(files)

--{boundary}
Content-Type: text/cloud-config

{config}

--{boundary}--
"""
_BOUNDARY = "secondlock"  # begins no line of ours


@functools.cache
def _head(kind: Kind) -> str:
    """What every machine of a kind begins with; its list of files is left open."""
    return _HEAD.format(boundary=_BOUNDARY, files=",\n".join(map(json.dumps, _files(kind))))


def _tail(values: MachineValues) -> str:
    known = {name: value for name, value in asdict(values).items() if value != ""}
    kind = Kind(values.target, values.baked)
    config = {
        # RFC 1123 knows no underscore; a POSIX user name does.
        "hostname": values.machine.replace("_", "-"),
        "manage_etc_hosts": "localhost",
        "cloud_init_modules": _INIT_MODULES,
        # The local root disk has no partitions.
        "growpart": {"mode": "off" if kind.target == "local" else "auto"},
        "resize_rootfs": True,
        **kind.commands,
    }
    return _TAIL.format(
        boundary=_BOUNDARY,
        last=json.dumps(["/etc/secondlock/machine.json", "0644", json.dumps(known) + "\n"]),
        config=json.dumps(config),
    )


@functools.cache
def _packed_head(kind: Kind) -> _Packed:
    """The head compressed once for all machines: it counts with a thousand requests."""
    packer = zlib.compressobj(9, zlib.DEFLATED, GZIP)
    return _Packed(packer.compress(_head(kind).encode()), packer)


def render_user_data(values: MachineValues) -> bytes:
    """The machine's user-data, gzip-compressed; the same bytes for the same values.

    Raises ValueError when it exceeds EC2's limit of 16 KiB.
    """
    head = _packed_head(Kind(values.target, values.baked))
    packer = head.packer.copy()
    packed: bytes = head.data + packer.compress(_tail(values).encode()) + packer.flush()
    if len(packed) > LIMIT:
        raise ValueError(f"user-data of {values.machine} is {len(packed)} bytes, over {LIMIT}")
    return packed
