"""A stock Debian on which the install script ran, as a bake runs it; and a disk made of that."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudinit import install
from image.kernel import write_vmlinux
from image.packages import RELEASE
from image.rootfs import FOLDER, KEYS, mirror, namespace_env, sources, write_disk
from image.store import GoldenImage
from tools.steps import Step, run_logged

if TYPE_CHECKING:
    from tests.proofs.standins import StandIns

# Of an official AMI's packages those that the script meets and that a boot needs; of the golden
# image's the guest agent, by which tests are root there.
STOCK = (
    "systemd-sysv,openssh-server,cloud-init,netplan.io,linux-image-cloud-amd64,ca-certificates,"
    "python3,qemu-guest-agent"
)
# With another spelling of Debian's keyring than the script's own.
SOURCES = f"""\
Types: deb
URIs: {mirror()}
Suites: {RELEASE} {RELEASE}-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: {mirror()}-security
Suites: {RELEASE}-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
# Debian's cloud images have systemd's network instead.
NETWORK = """
set -eu
chroot "$1" dpkg --purge ifupdown
chroot "$1" systemctl --quiet enable systemd-networkd.service
"""
# What is to be known of the system afterwards, as JSON.
LOOK = r"""
import glob, json, os, re, subprocess

def said(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout + done.stderr

# The newest: the script may bring one.
kernel = max(os.listdir("/lib/modules"), key=lambda name: [int(part) for part in
             name.partition("+")[0].split(".")])
print(json.dumps({
    "kernel": kernel,
    "modules": sorted(os.path.basename(each).partition(".")[0]
                      for each in glob.glob(f"/lib/modules/{kernel}/updates/dkms/*")),
    # Foremost symbols that a module needs and neither this kernel nor another module has.
    "faults": re.findall("(?m)^depmod: .*", said(
        "depmod", "--dry-run", "--errsyms",
        f"--symvers=/lib/modules/{kernel}/build/Module.symvers", kernel)),
    "loading": said("modprobe", "--set-version", kernel, "--show-depends", "nvidia-current"),
    "sshd": said("systemctl", "is-enabled", "ssh.service", "ssh.socket", "sshd-keygen.service"),
    "host_keys": glob.glob("/etc/ssh/ssh_host_*"),
    "packages": said("dpkg-query", "--show", "--showformat", "${Package} ${Version}\n"),
}))
"""
# Loading about a hundred profiles of desktop programs is the slowest part of an emulated boot, as
# image/customize.sh says, which does the same.
PROFILES = r"""
for profile in $(chroot "$1" dpkg -L apparmor | grep -x '/etc/apparmor\.d/[^/]*'); do
    [ ! -f "$1$profile" ] || rm "$1$profile"
done
"""
# The least that a login enters, from the system's own files; image/docker.sh takes it for the
# workspaces' image, under that one's name.
WORKSPACE = r"""
set -eu
files='ldd /bin/bash /bin/sh /usr/bin/head /usr/bin/sleep | grep -o "/[^ :]*" | sort -u'
chroot "$1" sh -c "tar -c --dereference --hard-dereference -f /root/workspace.tar \$($files)" 2>&1
exec 8<"$1/root/workspace.tar"
rm "$1/root/workspace.tar"
"""


@dataclass(frozen=True)
class Installed:
    """The system after the script."""

    found: dict[str, Any]
    """What LOOK says."""
    log: str
    image: GoldenImage
    """To boot it."""


def install_on_stock(place: Path, stand_ins: StandIns) -> Installed:
    """Run the script twice, as systemd would after a failure, in a Debian of today.

    Raises StepError.
    """
    script = stand_ins.in_place(install.render_install(None))
    log = _system(place, script, Step("[1/2] The install script on a stock Debian, twice"))
    found: dict[str, Any] = json.loads((place / "found").read_text())
    image = _image(place, found["kernel"], Step("[2/2] A disk with that system"))
    return Installed(found, log, image)


def _system(place: Path, script: str, step: Step) -> str:
    """The system as `place`/rootfs.tar; what was said meanwhile."""
    for name, text in (("install.sh", script), ("look.py", LOOK), ("debian.sources", SOURCES)):
        (place / name).write_text(text)
    command = ["mmdebstrap", "--variant=important", f"--include={STOCK}"]
    command += ['--customize-hook=rm -f "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*']
    command += [f"--customize-hook={NETWORK}"]
    command += [f"--customize-hook=upload {place}/{name} {path}" for name, path in _FILES.items()]
    command += ['--customize-hook=chroot "$1" bash /root/install.sh'] * 2
    command += ['--customize-hook=chroot "$1" python3 /root/look.py >"$1/root/found"']
    command += [f"--customize-hook=download /root/found {place}/found"]
    command += [f"--customize-hook={PROFILES}"]
    # In a booted machine this computer has another address.
    command += ['--customize-hook=rm "$1"/etc/apt/sources.list.d/secondlock-nvidia-toolkit.list']
    command += [f"--customize-hook={WORKSPACE}{(FOLDER / 'docker.sh').read_text()}"]
    # The namespace's root may not be able to read our folder.
    keys = Path(shutil.copy(KEYS, place))
    keys.chmod(0o644)
    command += [RELEASE, str(place / "rootfs.tar"), *sources(RELEASE, keys)]
    said = ["starting mmdebstrap"]

    def listen(line: str) -> None:
        if line.startswith("secondlock: "):
            said[0] = line.removeprefix("secondlock: ")

    with step.heartbeat(lambda: said[0]):
        lines = run_logged(
            command,
            what="the script did not run to its end",
            mend=f"see above, and whether this computer reaches {mirror()}",
            env=namespace_env(),
            on_line=listen,
        )
    step.done()
    return "\n".join(lines)


_FILES = {
    "install.sh": "/root/install.sh",
    "look.py": "/root/look.py",
    "debian.sources": "/etc/apt/sources.list.d/debian.sources",
}


def _image(place: Path, kernel: str, step: Step) -> GoldenImage:
    image = GoldenImage(place / "image")
    image.directory.mkdir()
    archive = place / "rootfs.tar"
    names = [f"./boot/{name}-{kernel}" for name in ("vmlinuz", "initrd.img")]
    unpack = ["tar", f"--file={archive}", f"--directory={place}", "--no-same-owner", "--extract"]
    subprocess.run([*unpack, *names], check=True)
    write_vmlinux(place / names[0], image.kernel)
    (place / names[1]).rename(image.initrd)
    write_disk(step, archive, image.disk)
    archive.unlink()
    step.done()
    return image
