"""The whole install script on a stock Debian, against Debian's archive: as a bake runs it."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from cloudinit import install
from cloudinit.packages import RELEASE
from tests.proofs.standins import StandIns
from tools.image.rootfs import KEYS, mirror, namespace_env, sources

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Of an official AMI's packages those that the script meets.
STOCK = "systemd-sysv,openssh-server,cloud-init,linux-image-cloud-amd64,ca-certificates,python3"
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
# What is to be known of the system afterwards, as JSON.
LOOK = r"""
import glob, json, os, subprocess

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
    "loading": said("modprobe", "--set-version", kernel, "--show-depends", "nvidia-current"),
    "sshd": said("systemctl", "is-enabled", "ssh.service", "ssh.socket", "sshd-keygen.service"),
    "host_keys": glob.glob("/etc/ssh/ssh_host_*"),
    "packages": said("dpkg-query", "--show", "--showformat", "${Package} ${Version}\n"),
}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A stock Debian on which the script ran twice, as systemd would after a failure."""
    place = tmp_path_factory.mktemp("install")
    place.chmod(0o755)
    stand_ins = StandIns(place)
    try:
        yield _run(place, stand_ins.in_place(install.render_install(None)))
    finally:
        stand_ins.end()


def _run(place: Path, script: str) -> dict[str, Any]:
    (place / "install.sh").write_text(script)
    (place / "look.py").write_text(LOOK)
    command = ["mmdebstrap", "--variant=important", f"--include={STOCK}"]
    (place / "debian.sources").write_text(SOURCES)
    command += ['--customize-hook=rm -f "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*']
    command += [f"--customize-hook=upload {place}/{name} {path}" for name, path in _FILES.items()]
    command += ['--customize-hook=chroot "$1" bash /root/install.sh'] * 2
    command += ['--customize-hook=chroot "$1" python3 /root/look.py >"$1/root/found"']
    command += [f"--customize-hook=download /root/found {place}/found"]
    command += [RELEASE, "/dev/null", *sources(RELEASE, KEYS)]
    with (place / "log").open("w") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=namespace_env())
    assert done.returncode == 0, (place / "log").read_text()[-4000:]
    found: dict[str, Any] = json.loads((place / "found").read_text())
    return {**found, "log": (place / "log").read_text()}


_FILES = {
    "install.sh": "/root/install.sh",
    "look.py": "/root/look.py",
    "debian.sources": "/etc/apt/sources.list.d/debian.sources",
}


def test_the_driver_is_built_for_the_kernel_that_machines_run(installed: dict[str, Any]) -> None:
    assert installed["kernel"].endswith("-cloud-amd64")
    assert {"nvidia-current", "nvidia-current-uvm"} <= set(installed["modules"])


def test_the_driver_is_loaded_without_gsp_firmware(installed: dict[str, Any]) -> None:
    assert "nvidia-current.ko" in installed["loading"]
    assert "NVreg_EnableGpuFirmware=0" in installed["loading"]


def test_every_package_is_there_in_its_version(installed: dict[str, Any]) -> None:
    versions = dict(line.split(" ") for line in installed["packages"].splitlines())
    assert set(install.AWS_PACKAGES) <= set(versions)
    for wanted in (*install.DRIVER_PACKAGES, *install.TOOLKIT_PACKAGES):
        name, _, version = wanted.partition("=")
        assert versions[name].startswith(version.rstrip("*")), name
    assert versions["amazon-ssm-agent"] == install.AGENT_VERSION


def test_the_door_is_shut_and_no_host_key_is_baked_in(installed: dict[str, Any]) -> None:
    assert "enabled" not in installed["sshd"].replace("disabled", "")
    assert "masked" in installed["sshd"]
    assert installed["host_keys"] == []
    assert installed["log"].count("secondlock: installed") == 2
