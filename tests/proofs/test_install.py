"""The whole install script on a stock Debian, against Debian's archive: as a bake runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudinit import install

if TYPE_CHECKING:
    from tests.proofs.stock import Installed


def test_the_driver_is_built_for_the_kernel_that_machines_run(installed: Installed) -> None:
    assert installed.found["kernel"].endswith("-cloud-amd64")
    assert {"nvidia-current", "nvidia-current-uvm"} <= set(installed.found["modules"])


def test_every_module_finds_its_symbols_in_that_kernel(installed: Installed) -> None:
    # Without a GPU only the first is tried by a kernel that runs (test_first_boot.py).
    assert installed.found["faults"] == []


def test_the_driver_is_loaded_without_gsp_firmware(installed: Installed) -> None:
    assert "nvidia-current.ko" in installed.found["loading"]
    assert "NVreg_EnableGpuFirmware=0" in installed.found["loading"]


def test_every_package_is_there_in_its_version(installed: Installed) -> None:
    versions = dict(line.split(" ") for line in installed.found["packages"].splitlines())
    assert set(install.AWS_PACKAGES) <= set(versions)
    for wanted in (*install.DRIVER_PACKAGES, *install.TOOLKIT_PACKAGES):
        name, _, version = wanted.partition("=")
        assert versions[name].startswith(version.rstrip("*")), name
    assert versions["amazon-ssm-agent"] == install.AGENT_VERSION


def test_the_door_is_shut_and_no_host_key_is_baked_in(installed: Installed) -> None:
    assert "enabled" not in installed.found["sshd"].replace("disabled", "")
    assert "masked" in installed.found["sshd"]
    assert installed.found["host_keys"] == []
    assert installed.log.count("secondlock: installed") == 2
