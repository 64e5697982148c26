"""The list of GPUs that Docker gets, made by NVIDIA's own library from Debian's driver packages."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudinit.install import DRIVER
from image.packages import RELEASE
from image.rootfs import KEYS, mirror

gpu: Any = importlib.import_module("guest.gpu.devices")

SOURCE = Path(__file__).parent / "cdi"
# What `libcuda1` and `nvidia-smi` bring by their dependencies, and a GPU's program loads.
PACKAGES = ("libcuda1", "libnvidia-ml1", "libnvidia-ptxjitcompiler1")
SHARED = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools")
GPUS = 8
"""That the mock has: a DGX A100."""


@pytest.fixture(scope="module")
def lister(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that asks NVIDIA's library."""
    if lack := _go_lacks():
        pytest.skip(lack)
    program = tmp_path_factory.mktemp("lister") / "cdi"
    subprocess.run(["go", "build", "-o", program, "."], cwd=SOURCE, check=True)
    return program


def _go_lacks() -> str | None:
    """Why the program cannot be built here; a Go that fetches a newer one by itself counts as
    that one."""
    (needed,) = re.findall(r"(?m)^go (\S+)$", (SOURCE / "go.mod").read_text())
    if shutil.which("go") is None:
        return f"no Go here: NVIDIA's library takes Go {needed} or later"
    argv = ["go", "env", "GOVERSION"]
    done = subprocess.run(argv, cwd=SOURCE, capture_output=True, text=True, check=False)
    found = done.stdout.strip().removeprefix("go")
    if done.returncode == 0 and _numbers(found) >= _numbers(needed):
        return None
    return f"Go {found or done.stderr.strip()}: NVIDIA's library takes Go {needed} or later"


def _numbers(version: str) -> list[int]:
    return [int(each) for each in re.findall(r"\d+", version)]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the driver's packages, as they lie on a machine."""
    place = tmp_path_factory.mktemp("driver")
    apt = ("lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d")
    for folder in (*apt, "root/dev", "packages"):
        (place / folder).mkdir(parents=True)
    (place / "status").touch()
    (place / "etc" / "sources.list").write_text(
        f"deb [signed-by={shutil.copy(KEYS, place)}] {mirror()} {RELEASE} main contrib non-free\n"
    )
    (place / "apt.conf").write_text(
        f'Dir::State::Lists "{place}/lists"; Dir::State::status "{place}/status";\n'
        f'Dir::Cache "{place}/cache"; Dir::Etc "{place}/etc"; APT::Architecture "amd64";\n'
        'APT::Sandbox::User "";\n'
    )
    environment = {**os.environ, "APT_CONFIG": f"{place}/apt.conf"}
    for command in (["update"], ["download", *PACKAGES]):
        subprocess.run(
            ["apt-get", "-qq", *command], cwd=place / "packages", env=environment, check=True
        )
    for package in (place / "packages").glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", package, place / "root"], check=True)
    for name in (*SHARED, *(f"nvidia{number}" for number in range(GPUS))):
        (place / "root" / "dev" / name).touch()
    return place / "root"


def test_nvidias_library_lists_debians_driver(lister: Path, driver: Path) -> None:
    (library,) = driver.rglob(f"libcuda.so.{DRIVER}.*")
    version = library.name.removeprefix("libcuda.so.")
    done = subprocess.run(
        [lister, driver, version],
        # Making devices takes root; the library's own tests take files for them.
        env={**os.environ, "__NVCT_TESTING_DEVICES_ARE_FILES": "true"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    listed = yaml.safe_load(done.stdout)
    names = {f"{listed['kind']}={device['name']}" for device in listed["devices"]}
    assert gpu.ALL in names
    edits = listed["containerEdits"]
    mounted = {Path(mount["hostPath"]).name for mount in edits["mounts"]}
    wanted = {f"lib{name}.so.{version}" for name in ("cuda", "nvidia-ml", "nvidia-ptxjitcompiler")}
    assert wanted <= mounted
    assert {f"/dev/{name}" for name in SHARED} == {one["path"] for one in edits["deviceNodes"]}
    # Debian's folder is none that a container's linker looks into.
    (update,) = (hook["args"] for hook in edits["hooks"] if "update-ldcache" in hook["args"])
    assert any(part.endswith("/nvidia/current") for part in update)
