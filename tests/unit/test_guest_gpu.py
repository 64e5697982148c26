"""What a machine says of its GPUs."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

gpu: Any = importlib.import_module("guest.gpu.devices")

# What NVIDIA's driver writes in /proc/driver/nvidia, the closed module and the open one.
VERSIONS = [
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.163.01  Tue Apr  8 12:41:17 UTC 2025\n",
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.163.01  Release Build\n",
]
T4 = "Model: \t\t Tesla T4\nIRQ:   \t\t 10\nGPU Firmware: \t 550.163.01\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a GPU: a network card and a bridge."""
    for name, path in (("PCI", "pci"), ("DRIVER", "driver"), ("LIST", "nvidia.yaml")):
        monkeypatch.setattr(gpu, name, tmp_path / path)
    _device(tmp_path, "0000:00:03.0", "0x1d0f", "0x020000")
    _device(tmp_path, "0000:00:1a.0", "0x10de", "0x068000")  # NVSwitch: no GPU
    return tmp_path


def _device(place: Path, address: str, vendor: str, kind: str) -> None:
    device = place / "pci" / address
    device.mkdir(parents=True)
    (device / "vendor").write_text(f"{vendor}\n")
    (device / "class").write_text(f"{kind}\n")


def test_a_machine_without_a_gpu_says_nothing_and_tells_nobody(place: Path) -> None:
    assert gpu.report() is None
    assert gpu.complaint([]) is None


@pytest.mark.parametrize("version", VERSIONS)
def test_model_driver_and_list(place: Path, version: str) -> None:
    for address in ("0000:00:1b.0", "0000:00:1c.0"):
        _device(place, address, "0x10de", "0x030200")
    assert gpu.report() == {"count": 2, "models": [], "driver": None, "listed": False}
    for address in ("0000:00:1b.0", "0000:00:1c.0"):
        information = place / "driver" / "gpus" / address / "information"
        information.parent.mkdir(parents=True)
        information.write_text(T4)
    (place / "driver" / "version").write_text(version)
    (place / "nvidia.yaml").touch()
    assert gpu.report() == {
        "count": 2,
        "models": ["Tesla T4", "Tesla T4"],
        "driver": "550.163.01",
        "listed": True,
    }
