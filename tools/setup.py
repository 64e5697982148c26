"""Set-up: Debian packages, uv, the Python environment and the Pulumi CLI, each only if missing.

Run by tools/setup.sh (`make setup`). Python's standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from infra.files import cache_folder
from tools.hub import ensure_hub
from tools.packages import ensure_packages
from tools.pulumi_cli import PULUMI_VERSION, ensure_pulumi
from tools.steps import (
    ROOT,
    VENV,
    Step,
    StepError,
    appears_whole,
    exit_code,
    locked,
    run_logged,
    uv_install,
    uv_run,
)

UV_REQUIREMENTS = ROOT / "tools" / "uv-requirements.txt"
STAMP = VENV / ".secondlock"
NETWORK_MEND = "check that this computer reaches its package index, then run the command again"


def uv_version() -> str:
    """The version that tools/uv-requirements.txt pins."""
    for line in UV_REQUIREMENTS.read_text().splitlines():
        if line.startswith("uv=="):
            return line.removeprefix("uv==").split()[0]
    raise StepError(f"{UV_REQUIREMENTS} pins no uv", f"git checkout -- {UV_REQUIREMENTS}")


def ensure_uv(title: str) -> Path:
    """Install the pinned uv into the cache by pip, verified by hash; return its path."""
    step = Step(title)
    folder = cache_folder() / f"uv-{uv_version()}"
    uv = folder / "uv"
    if uv.exists():
        step.done("there")
        return uv
    with appears_whole(folder) as part, tempfile.TemporaryDirectory() as scratch:
        with step.heartbeat("installing by pip"):
            python = make_venv(Path(scratch) / "venv")
            flags = ["--quiet", "--disable-pip-version-check", "--only-binary=:all:"]
            flags += ["--require-hashes", f"--requirement={UV_REQUIREMENTS}"]
            run_logged(
                [python, "-m", "pip", "install", *flags],
                what="pip could not install uv",
                mend=NETWORK_MEND,
            )
        # uv is one program without a shebang, so it alone moves; pip and the rest go.
        shutil.move(python.parent / "uv", part / "uv")
    step.done("installed")
    return uv


def make_venv(folder: Path) -> Path:
    """Make a plain virtual environment with pip; return its Python."""
    run_logged(
        [sys.executable, "-m", "venv", folder],
        what=f"{sys.executable} cannot make a virtual environment",
        mend="sudo apt-get install python3-venv",
    )
    return folder / "bin" / "python"


def ensure_environment(title: str, uv: Path, *, tests: bool) -> None:
    """Make `.venv` hold what the requirement files pin; the stamp tells when it already does."""
    step = Step(title)
    installed = _fill_environment(step, uv, tests=tests)
    if tests:
        installed |= ensure_hub(step, uv, NETWORK_MEND)
    step.done("installed" if installed else "there")


def _fill_environment(step: Step, uv: Path, *, tests: bool) -> bool:
    files = [ROOT / "requirements.txt"] + ([ROOT / "requirements-dev.txt"] if tests else [])
    usable = environment_usable()
    if usable and stamps(files) <= read_stamp():
        return False
    if not usable:
        with step.heartbeat("making .venv"):
            # --seed: Pulumi's language host calls `pip list`.
            flags = ["--quiet", "--clear", "--seed", f"--python={sys.executable}"]
            uv_run(uv, "venv", *flags, VENV, mend=NETWORK_MEND)
    STAMP.unlink(missing_ok=True)
    with step.heartbeat(f"installing {' '.join(file.name for file in files)}"):
        uv_install(uv, [f"--python={VENV / 'bin' / 'python'}"], files[-1], mend=NETWORK_MEND)
    STAMP.write_text("\n".join(sorted(stamps(files))) + "\n")
    return True


def environment_usable() -> bool:
    """Whether `.venv` runs (its Python may be gone) and is new enough."""
    code = "import sys, pip; sys.exit(sys.version_info < (3, 10))"
    try:
        result = subprocess.run(
            [VENV / "bin" / "python", "-c", code], capture_output=True, check=False
        )
    except OSError:
        return False
    return result.returncode == 0


def stamps(files: list[Path]) -> set[str]:
    """One line for each requirement file, with its SHA-256."""
    return {f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}" for file in files}


def read_stamp() -> set[str]:
    """The lines of the last complete installation."""
    try:
        return set(STAMP.read_text().splitlines())
    except FileNotFoundError:
        return set()


def main() -> int:
    """Run every step in order; 1 when one failed, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="tools/setup.sh", description=__doc__)
    parser.add_argument("--tests", action="store_true", help="also what only the tests need")
    parser.add_argument(
        "--clients", action="store_true", help="also what `make clients`, `proofs` and `bench` need"
    )
    parser.add_argument("--without-pulumi", action="store_true", help="what comes before it")
    options = parser.parse_args()
    lock = cache_folder() / "setup.lock"

    def work() -> None:
        with locked(lock, "Another set-up is running; waiting for it to end ..."):
            packages = "[1/4] Debian packages"
            ensure_packages(packages, tests=options.tests, clients=options.clients)
            uv = ensure_uv(f"[2/4] uv {uv_version()}")
            ensure_environment("[3/4] Python environment .venv", uv, tests=options.tests)
            if not options.without_pulumi:
                ensure_pulumi(f"[4/4] Pulumi CLI {PULUMI_VERSION}", uv)

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
