"""What somebody in a workspace of a shared machine may try, to get out of it or into another's.

`python -m tests.support.attempts` writes the table of docs/reference/attempts.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

TABLE = Path(__file__).parents[2] / "docs" / "reference" / "attempts.md"

SECRET = "the-victims-own-words"
"""In a file of the victim's home, in shared memory, and what their server answers."""

Control = Literal["root", "victim", "none"]


@dataclass(frozen=True)
class Attempt:
    """One way; its script exits with 0 where it has worked.

    `control` says for whom it has to work: root of the machine, the victim in their own workspace,
    or nobody that a test could be (it would end the machine, or there is nobody).
    """

    about: str
    script: str
    control: Control = "root"


def _shell(about: str, script: str, control: Control = "root") -> Attempt:
    return Attempt(about, f"exec 2>/dev/null\n{script}\n", control)


def _python(about: str, script: str, control: Control = "root") -> Attempt:
    return Attempt(about, f"python3 -I - 2>/dev/null <<'END'\n{script}\nEND\n", control)


def _syscall(about: str, call: str, control: Control = "root") -> Attempt:
    script = (
        "import ctypes, os, sys\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "zero, buffer = ctypes.c_void_p(0), ctypes.create_string_buffer(4096)\n"
        f"sys.exit(0 if libc.syscall({call}) >= 0 else 1)"
    )
    return _python(about, script, control)


def _connect(about: str, address: str, port: str, control: Control = "none") -> Attempt:
    script = f'import socket\nsocket.create_connection(("{address}", {port}), 3).close()'
    return _python(about, script, control)


# {victim}, {uid}: whose workspace it is about. {address}, {end}, {jupyter}: of that workspace, of
# the machine's end of its link, of its Jupyter's port. {mine}: of that end of one's own link.
# {pid}: a process of the victim's, as the machine counts. {port}: of a server of theirs.
FILES = (
    _shell("list another's home", "ls /home/{victim}/secret"),
    _shell("read a file there", "grep -q {secret} /home/{victim}/secret"),
    _shell("write one there", "touch /home/{victim}/mine"),
    _shell("list another's /tmp", "ls /home/.tmp/{victim}"),
    _shell("see whose homes there are", 'ls -d /home/r[0-9]* | grep -v "^$HOME$"'),
    _shell("reach another's sockets", "ls /home/.run/{victim}"),
    _shell(
        "reach the machine's files by the first process's root", "ls /proc/1/root/etc/secondlock"
    ),
    _shell("read the machine's state", "ls /var/lib/secondlock"),
    _shell("read the machine's roster of keys", "ls /etc/secondlock/authorized_keys"),
    _shell("read password hashes", "grep -q : /etc/shadow"),
    _shell(
        "link to a file of the machine's and follow it",
        "ln -sf /etc/secondlock/machine.json /tmp/link && cat /tmp/link",
    ),
    _shell("write to the workspace's own image", "touch /usr/bin/mine && rm /usr/bin/mine"),
    _shell("change who one is", "echo x >>/etc/passwd.d && rm /etc/passwd.d"),
    _python(
        "open a file by its handle, past all paths (Shocker)",
        "import ctypes, os, sys\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "handle = (ctypes.c_int * 34)(8, 1, 2, 0)\n"
        "home = os.open('/', os.O_RDONLY)\n"
        "sys.exit(0 if libc.open_by_handle_at(home, handle, os.O_RDONLY) >= 0 else 1)",
    ),
    _shell(
        "have a program of one's own run as root",
        "cp /bin/bash /tmp/bash && chmod u+s /tmp/bash && /tmp/bash -p -c 'test $EUID = 0'",
    ),
)
MOUNTS = (
    _shell("mount a file system", "mkdir -p /tmp/m && mount -t tmpfs none /tmp/m && umount /tmp/m"),
    _shell("mount proc anew", "mkdir -p /tmp/m && mount -t proc none /tmp/m && umount /tmp/m"),
    _shell(
        "bind a folder over another", "mkdir -p /tmp/m && mount --bind /tmp /tmp/m && umount /tmp/m"
    ),
    _shell(
        "mount the machine's disk",
        "mkdir -p /tmp/m && mount /dev/vda /tmp/m && umount /tmp/m",
    ),
    _shell("remount what is read-only", "mount -o remount,rw /"),
    _shell("make a block device", "mknod /tmp/b b 254 0 && rm /tmp/b"),
    _shell("make a device of memory", "mknod /tmp/c c 1 1 && rm /tmp/c"),
    _shell("read the machine's disk", "head -c 512 /dev/vda | grep -qa ."),
    _shell("see disks at all", 'test -n "$(find /dev -type b)"'),
    _shell("read the machine's memory", "head -c 1 /dev/mem || test -r /dev/mem"),
    _shell("read the kernel's memory", "head -c 1 /proc/kcore | grep -qa ."),
    _shell("read the kernel's log", "dmesg | grep -q ."),
    _shell("write to the kernel's log", "echo x >/dev/kmsg"),
)
NAMESPACES = (
    _shell("make a user namespace", "unshare --user true", "none"),
    _shell("make a mount namespace", "unshare --mount true"),
    _shell("make a network namespace", "unshare --net true"),
    _shell("make a namespace of processes", "unshare --pid --fork true"),
    _shell("enter the first process's namespaces", "nsenter --target 1 --mount true"),
    _shell("chroot", "chroot / true"),
    _python(
        "join another's network by a process of theirs",
        "import ctypes, os, sys\n"
        "ns = os.open('/proc/{pid}/ns/net', os.O_RDONLY)\n"
        "sys.exit(0 if ctypes.CDLL(None).setns(ns, 0) == 0 else 1)",
    ),
)
PROCESSES = (
    _shell("see another's processes", "ps -eo uid | grep -qw {uid}"),
    _shell("see them in /proc", "test -d /proc/{pid}"),
    _shell("read another's environment", "test -r /proc/{pid}/environ && cat /proc/{pid}/environ"),
    _shell("send a signal to another's process", "kill -0 {pid}"),
    _python(
        "trace another's process",
        "import ctypes, os, sys\n"
        "libc = ctypes.CDLL(None)\n"
        "if libc.ptrace(16, {pid}, 0, 0) != 0:\n"
        "    sys.exit(1)\n"
        "os.waitpid({pid}, 0)\n"
        "libc.ptrace(17, {pid}, 0, 0)",
    ),
    _python(
        "read another's memory",
        "import sys\nsys.exit(0 if open('/proc/{pid}/maps').read(1) else 1)",
    ),
    _shell("be root by sudo", "sudo -n true", "none"),
    _shell("be root by su", "su -c true root </dev/null"),
    _shell("be another", "setpriv --reuid {uid} --clear-groups true"),
    _shell("take precedence over others", 'test "$(nice -n -5 nice)" -lt "$(nice)"'),
    _shell("have more memory", "echo max >/sys/fs/cgroup/memory.max", "none"),
    _shell("have more processes", "echo max >/sys/fs/cgroup/pids.max", "none"),
    _shell("leave the control group", "echo $$ >/sys/fs/cgroup/../cgroup.procs", "none"),
)
KERNEL = (
    _shell("change how the kernel dumps", "echo core >/proc/sys/kernel/core_pattern"),
    _shell("press a magic key", "test -w /proc/sysrq-trigger && echo h >/proc/sysrq-trigger"),
    _shell("set the clock", "date --set now"),
    _shell("set the machine's name", 'hostname "$(hostname)"'),
    _syscall("load a program into the kernel (bpf)", "321, 5, buffer, 120", "none"),
    _syscall("watch the kernel (perf_event_open)", "298, buffer, -1, 0, -1, 0", "none"),
    _syscall("have page faults in hand (userfaultfd)", "323, 0"),
    _syscall("io_uring", "425, 1, buffer", "none"),
    _syscall("put a key into a keyring", '248, b"user", b"mine", b"x", 1, -4'),
    _syscall("look into another's keyring", "250, 0, -4, 1"),
    _syscall("load a module", "175, buffer, 0, buffer", "none"),
    _syscall("swap on a file", 'ctypes.c_long(167), b"/tmp/none", 0', "none"),
    _syscall("restart the machine", "169, 0xfee1dead, 672274793, 0", "none"),
    _python(
        "open a socket of the kernel's cryptography",
        "import socket\nsocket.socket(38, socket.SOCK_SEQPACKET, 0)",
        "none",
    ),
    _python(
        "type into another's terminal (TIOCSTI)",
        "import fcntl, os, termios\n"
        "fcntl.ioctl(os.open('/dev/pts/0', os.O_RDWR), termios.TIOCSTI, b'x')",
        "none",
    ),
)
MESSAGES = (
    _shell("read another's shared memory", "grep -qs {secret} /dev/shm/secret", "victim"),
    _shell("see another's System V memory", "ipcs -m | grep -q {uid}", "none"),
    _shell("reach Docker", "test -S /run/docker.sock || test -S /var/run/docker.sock"),
    _shell("reach containerd", "test -S /run/containerd/containerd.sock"),
    _shell("reach the system's D-Bus", "test -S /run/dbus/system_bus_socket"),
    _shell("reach systemd", "test -S /run/systemd/private"),
    _shell("write to the machine's journal", "test -S /run/systemd/journal/socket"),
    _shell("meet another on an abstract socket", "grep -q @secret /proc/net/unix", "victim"),
)
NETWORK = (
    _connect("another's server on all of its addresses", "{address}", "{port}", "root"),
    _connect("another's server on its loopback", "{address}", "{inner}"),
    _connect("another's Jupyter", "{jupyter}", "8888", "root"),
    _connect("sshd, by the machine's end of one's link", "{mine}", "22"),
    _connect("sshd, by the machine's end of another's link", "{end}", "22"),
    _connect("sshd, by the machine's own address", "{machine}", "22", "root"),
    _connect("sshd, by the loopback", "127.0.0.1", "22", "root"),
    _connect("the host, by QEMU's gateway", "10.0.2.2", "22"),
    _connect("the metadata service", "169.254.169.254", "80"),
    _python(
        "the metadata service, over IPv6",
        "import socket\nsocket.create_connection(('fd00:ec2::254', 80), 3)",
        "none",
    ),
    _shell("ping another", "ping -c 1 -W 2 {address}", "none"),
    _python("send raw packets", "import socket\nsocket.socket(2, socket.SOCK_RAW, 1)"),
    _python("listen to the wire", "import socket\nsocket.socket(17, socket.SOCK_RAW, 768)"),
    _python(
        "take another's address", "import socket\nsocket.socket().bind(('{address}', 0))", "victim"
    ),
    _shell("change routes", "ip route add 192.0.2.0/24 via {mine}", "none"),
    _shell("change the firewall", "nft list ruleset | grep -q secondlock"),
)
DISK = (
    _shell(
        "fill more of the disk than one's part",
        "fallocate -l 400M /tmp/large; failed=$?; rm -f /tmp/large; exit $failed",
    ),
    _shell(
        "have more files than one's part",
        "mkdir -p /tmp/many && cd /tmp/many && seq 20000 | xargs touch; n=$(ls | wc -l);"
        " cd /; rm -rf /tmp/many; test $n -ge 20000",
    ),
)

GROUPS = {
    "Files": FILES,
    "Mounts and devices": MOUNTS,
    "Namespaces": NAMESPACES,
    "Processes and shares": PROCESSES,
    "The kernel": KERNEL,
    "Messages between processes": MESSAGES,
    "Networks": NETWORK,
    "Disk": DISK,
}
ATTEMPTS = {attempt.about: attempt for group in GROUPS.values() for attempt in group}

RUN = """
import json, subprocess, sys
found = {}
for name, script in json.load(sys.stdin).items():
    try:
        done = subprocess.run(["bash", "-c", script], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30)
        found[name] = done.returncode == 0
    except subprocess.TimeoutExpired:
        found[name] = False
print(json.dumps(found))
"""
"""A program for `python3 -c`: which of the scripts on its standard input have worked."""


def scripts(names: dict[str, str], control: Control | None = None) -> bytes:
    """The scripts for RUN, with what `names` says of the machine; those of one control alone."""
    chosen = {}
    for about, attempt in ATTEMPTS.items():
        if control in (None, attempt.control):
            script = attempt.script
            for name, value in names.items():
                script = script.replace("{" + name + "}", value)
            chosen[about] = script
    return json.dumps(chosen).encode()


def table() -> str:
    """The page of docs/."""
    lines = [
        "# Attempts to get out of a workspace, or into another's",
        "",
        "On a shared machine a test tries each of these from one workspace against another's",
        "(tests/machine/test_neighbours.py), and none may work. A script that works for nobody",
        "proves nothing: on the right stands for whom the same one does, as the test finds. It is",
        "root of the machine or the other person; `not tried` where it would end the machine.",
        "",
        "Written by `python -m tests.support.attempts`.",
    ]
    for title, group in GROUPS.items():
        lines += ["", f"## {title}", "", "| attempt | works for |", "| --- | --- |"]
        lines += [f"| {one.about} | {_WORKS[one.control]} |" for one in group]
    return "\n".join(lines) + "\n"


_WORKS = {"root": "root", "victim": "its owner", "none": "not tried"}

if __name__ == "__main__":
    TABLE.write_text(table())
