"""What NVIDIA's library says, and what is made of it: one with two GPUs, which is built here."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

proof: Any = importlib.import_module("guest.gpu.proof")
system: Any = importlib.import_module("guest.system")
share: Any = importlib.import_module("guest.workspace.share")

# As nvml.h declares them (NVML API Reference Guide).
NVML = r"""
#include <stdio.h>
int nvmlInit_v2(void) { return FAILS; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    *device = (void *)(unsigned long)(index + 1); return 0;
}
int nvmlDeviceGetUUID(void *device, char *uuid, unsigned length) {
    snprintf(uuid, length, "GPU-%lu", (unsigned long)device - 1); return 0;
}
"""
EVERY = ["GPU-0", "GPU-1"]


def ask(place: Path, fails: int = 0) -> subprocess.CompletedProcess[str]:
    """What a workspace's Python says with this library."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here")
    library = place / "libnvidia-ml.so.1"
    options = ["-shared", "-fPIC", f"-DFAILS={fails}", "-x", "c", "-", "-o", str(library)]
    subprocess.run([compiler, *options], input=NVML, text=True, check=True)
    return subprocess.run(
        [sys.executable, "-"], input=proof.INSIDE, capture_output=True, text=True, check=False,
        env={**os.environ, "LD_LIBRARY_PATH": str(place)},
    )  # fmt: skip


def test_each_gpu_is_told_by_its_number(tmp_path: Path) -> None:
    assert json.loads(ask(tmp_path).stdout) == EVERY


def test_a_library_that_does_not_work_is_no_library_without_gpus(tmp_path: Path) -> None:
    said = ask(tmp_path, fails=9)
    assert said.returncode != 0
    assert "nvmlInit_v2 answers 9" in said.stderr


@pytest.mark.parametrize(
    ("sees", "code"),
    [
        ({"alice": ["GPU-1"], "bob": ["GPU-0"]}, 0),
        ({"alice": EVERY, "bob": ["GPU-0"]}, 1),
        ({"alice": ["GPU-0"], "bob": ["GPU-1"]}, 1),
        ({"alice": ["GPU-1"], "bob": []}, 1),
        ({"alice": ["GPU-1"]}, 1),
    ],
)
def test_who_sees_anothers_or_lacks_its_own_is_named(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sees: dict[str, list[str]],
    code: int,
) -> None:
    def of_workspace(name: str) -> list[str]:
        if name not in sees:
            raise system.GuestError("Docker refused")
        return sees[name]

    shares = {"alice": (1,), "bob": (0,)}
    monkeypatch.setattr(proof, "seen", lambda: EVERY)
    monkeypatch.setattr(proof, "of_workspace", of_workspace)
    monkeypatch.setattr(share, "of", lambda name: share.Share(shares[name], 1, 1, 1))
    monkeypatch.setattr(sys, "argv", ["gpu-proof", "alice", "bob"])
    assert proof.main() == code
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "machine: GPU-0 GPU-1"
    assert ["(its own)" in line for line in told[1:]].count(False) == sum(
        sees.get(name) != [EVERY[shares[name][0]]] for name in shares
    )


def test_a_machine_without_the_library_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none() -> list[str]:
        raise OSError("libnvidia-ml.so.1: cannot open shared object file")

    monkeypatch.setattr(proof, "seen", none)
    assert proof.main() == 2
    assert "does not answer on this machine" in capsys.readouterr().err
