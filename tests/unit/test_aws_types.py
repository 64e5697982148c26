"""EC2 instance types: those that run TensorFlow 2.9, and a reason for each other."""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from infra.model.instance_types import BAKING, TYPES, Hardware, check_instance_type
from infra.model.problems import RefusedError

# What TensorFlow 2.9 runs on, and a machine with Debian's driver needs nothing more for.
GPUS = {"T4", "A10G", "V100"}
_MOTO = importlib.util.find_spec("moto")
assert _MOTO is not None
assert _MOTO.origin is not None
_DATA = Path(_MOTO.origin).parent / "ec2" / "resources" / "instance_types.json.gz"
# AWS's own data, as DescribeInstanceTypes gives it.
WITH_GPU: dict[str, dict[str, Any]] = {
    name: each
    for name, each in json.loads(gzip.decompress(_DATA.read_bytes())).items()
    if any(gpu["Manufacturer"] == "NVIDIA" for gpu in each.get("GpuInfo", {}).get("Gpus", []))
}


def _suits(data: dict[str, Any]) -> bool:
    """Whether a machine of ours runs on it: x86-64, Nitro or bare metal, NVMe, such a GPU."""
    return (
        data["ProcessorInfo"]["SupportedArchitectures"] == ["x86_64"]
        and data.get("Hypervisor", "nitro") == "nitro"
        and data["EbsInfo"]["NvmeSupport"] == "required"
        and {gpu["Name"] for gpu in data["GpuInfo"]["Gpus"]} <= GPUS
    )


@pytest.mark.parametrize("name", sorted(WITH_GPU))
def test_a_type_with_a_gpu_is_taken_as_awss_data_says(name: str) -> None:
    data = WITH_GPU[name]
    if _suits(data):
        assert check_instance_type(name) == name
    else:
        with pytest.raises(RefusedError):
            check_instance_type(name)


def test_the_table_is_awss_own() -> None:
    theirs = {
        name: Hardware(
            data["VCpuInfo"]["DefaultVCpus"],
            data["MemoryInfo"]["SizeInMiB"] // 1024,
            sum(gpu["Count"] for gpu in data["GpuInfo"]["Gpus"]),
        )
        for name, data in WITH_GPU.items()
        if name in TYPES
    }
    assert theirs == TYPES


def test_one_quota_serves_for_all_that_the_image_is_baked_on() -> None:
    assert len(BAKING) > 1
    assert len({TYPES[name] for name in BAKING}) == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("p5.48xlarge", "Hopper"),
        ("p5en.48xlarge", "Hopper"),
        ("p6-b200.48xlarge", "Blackwell"),
        ("g6.xlarge", "Ada"),
        ("g6e.xlarge", "Ada"),
        ("gr6.4xlarge", "Ada"),
        ("g5g.xlarge", "Graviton"),
        ("g4ad.xlarge", "AMD"),
        ("p2.xlarge", "Kepler"),
        ("p3.2xlarge", "without NVMe"),
        ("p3.16xlarge", "without NVMe"),
        ("p4d.24xlarge", "Fabric Manager"),
        ("p4de.24xlarge", "Fabric Manager"),
        ("trn1.2xlarge", "Trainium"),
        ("inf2.xlarge", "Inferentia"),
        ("t3.micro", "not known to have an NVIDIA GPU"),
        ("m7i.large", "not known to have an NVIDIA GPU"),
        ("g4dn.huge", "is no size of g4dn (there are xlarge, "),
        ("g4dn", "is no size of g4dn"),
        ("p3dn.2xlarge", "is no size of p3dn (there are 24xlarge)"),
        ("", "not known"),
    ],
)
def test_a_reason_for_the_others(name: str, reason: str) -> None:
    with pytest.raises(RefusedError) as caught:
        check_instance_type(name)
    assert reason in str(caught.value)
