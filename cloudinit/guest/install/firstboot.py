"""The first boot of a machine whose image was not baked: what the bake does, by the same scripts.

They come with the bundle. When they are done, the machine does what a baked one does at once.
"""

import os
import subprocess
import sys
from pathlib import Path

from guest import paths
from guest.system import run, write

SCRIPTS = Path("/usr/local/lib/secondlock/install")
INSTALLED = paths.ETC / "installed"
MODULES = Path("/lib/modules")
TARGET = "secondlock.target"


def main() -> int:
    """Install, then start what an AWS machine does; systemd repeats what failed."""
    for script in sorted(SCRIPTS.iterdir()):
        done = subprocess.run(["/bin/bash", str(script)], check=False)
        if done.returncode:
            print(
                f"secondlock: {script.name} ended with {done.returncode} and is tried again",
                file=sys.stderr,
            )
            return done.returncode
    run("systemctl", "enable", TARGET)
    write(INSTALLED, "", 0o644)
    # The script stops them, so that they do not meet it.
    run("systemctl", "start", "--no-block", "apt-daily.timer", "apt-daily-upgrade.timer")
    # The driver was built for the newest kernel, which a stock image may not have started with.
    if any((MODULES / os.uname().release).glob("updates/dkms/nvidia*")):
        run("systemctl", "start", "--no-block", TARGET)
    else:
        run("systemctl", "reboot")
    return 0
