"""The first boot of a machine whose image was not baked: cloud-init's user-data is too small for
what the bake does, so the script for it comes from SSM parameters of the stack's own.
"""

import base64
import json
import lzma
import os
import subprocess
import sys
from pathlib import Path

from guest import aws, paths
from guest.system import run, write

PART = 4096  # characters, as cloudinit/install.py cuts it
INSTALLED = paths.ETC / "installed"
APT = ("apt-get", "-qy", "-o", "DPkg::Lock::Timeout=900", "-o", "Acquire::Retries=5")
UNITS = (
    "gpu.service",
    "fetch.service",
    "fetch.timer",
    "ship.timer",
    "status.timer",
    "spot.service",
)


def script(machine: dict[str, str]) -> bytes:
    """The script as AWS has it: base85 of LZMA, cut up; the last part alone is shorter."""
    client, text = aws.client("ssm", machine), ""
    while len(text) % PART == 0:
        name = f"/secondlock/{machine['stack']}/install/{len(text) // PART + 1}"
        text += client.get_parameter(Name=name)["Parameter"]["Value"]
    return lzma.decompress(base64.b85decode(text.strip()))


def main() -> int:
    """Install, then do what cloud-init does on a baked machine; systemd repeats what failed."""
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    subprocess.run([*APT, "update"], check=True)
    subprocess.run([*APT, "install", "--no-install-recommends", "python3-botocore"], check=True)
    machine = json.loads(paths.MACHINE.read_text())
    done = subprocess.run(["/bin/bash", "-s"], input=script(machine), check=False)
    if done.returncode:
        print(f"secondlock: it ended with {done.returncode} and is tried again", file=sys.stderr)
        return done.returncode
    write(INSTALLED, "", 0o644)
    # The script stops them, so that they do not meet it.
    run("systemctl", "start", "--no-block", "apt-daily.timer", "apt-daily-upgrade.timer")
    run("systemctl", "enable", *(f"secondlock-{unit}" for unit in UNITS))
    # The driver was built for the newest kernel, which a stock image may not have started with.
    if any(Path("/lib/modules", os.uname().release).glob("updates/dkms/nvidia*")):
        run("systemctl", "start", "--no-block", *(f"secondlock-{unit}" for unit in UNITS))
    else:
        run("systemctl", "reboot")
    return 0
