"""EC2 instance types that run TensorFlow 2.9, and why the others do not."""

from __future__ import annotations

from typing import NamedTuple

from infra.model.problems import RefusedError

INSTANCE_TYPE_PATTERN = r"^[a-z][a-z0-9-]*\.[a-z0-9-]+$"


class Hardware(NamedTuple):
    """What an instance type has; memory in GiB."""

    vcpus: int
    memory_gib: int
    gpus: int


# EC2 Instance Types, "Accelerated computing". TensorFlow 2.9 is built for CUDA 11.2, whose
# libraries run on compute capabilities 3.5 to 8.6: T4 is 7.5, A10G 8.6, V100 7.0. All have NVMe: by
# its serial number a machine knows its data volume.
TYPES: dict[str, Hardware] = {
    "g4dn.xlarge": Hardware(4, 16, 1),
    "g4dn.2xlarge": Hardware(8, 32, 1),
    "g4dn.4xlarge": Hardware(16, 64, 1),
    "g4dn.8xlarge": Hardware(32, 128, 1),
    "g4dn.12xlarge": Hardware(48, 192, 4),
    "g4dn.16xlarge": Hardware(64, 256, 1),
    "g4dn.metal": Hardware(96, 384, 8),
    "g5.xlarge": Hardware(4, 16, 1),
    "g5.2xlarge": Hardware(8, 32, 1),
    "g5.4xlarge": Hardware(16, 64, 1),
    "g5.8xlarge": Hardware(32, 128, 1),
    "g5.12xlarge": Hardware(48, 192, 4),
    "g5.16xlarge": Hardware(64, 256, 1),
    "g5.24xlarge": Hardware(96, 384, 4),
    "g5.48xlarge": Hardware(192, 768, 8),
    "p3dn.24xlarge": Hardware(96, 768, 8),
}

BAKING = ("g4dn.xlarge", "g5.xlarge")
"""What the image is baked on, whichever of them is to be had: as large as each other, so that one
quota serves for both."""

_TOO_NEW = "TensorFlow 2.9 is built for CUDA 11.2, which ends at compute capability 8.6"
# By the beginning of the family's name; the first that fits counts.
_REFUSED = {
    "g6": f"its NVIDIA L4 or L40S (Ada) has compute capability 8.9: {_TOO_NEW}",
    "gr6": f"its NVIDIA L4 (Ada) has compute capability 8.9: {_TOO_NEW}",
    "g7": f"its GPU (Blackwell) has compute capability 12.0: {_TOO_NEW}",
    "p5": f"its NVIDIA H100 or H200 (Hopper) has compute capability 9.0: {_TOO_NEW}",
    "p6": f"its GPU (Blackwell) has compute capability 10.0: {_TOO_NEW}",
    "p3": "it runs on Xen, without NVMe: a machine would never find its data volume",
    "p4": "NVSwitch joins its A100s, which takes NVIDIA's Fabric Manager, and Debian has none",
    "p2": "its NVIDIA K80 (Kepler) is no longer supported by the driver in Debian 13 (550)",
    "g3": "its NVIDIA M60 is not among the GPUs that this project was made for",
    "g5g": "its processor is a Graviton (ARM): TensorFlow 2.9 and the image are for x86-64",
    "g4ad": "its GPU is AMD's: TensorFlow 2.9's image needs NVIDIA's",
    "inf": "Inferentia is no GPU: TensorFlow 2.9's image needs NVIDIA's",
    "trn": "Trainium is no GPU: TensorFlow 2.9's image needs NVIDIA's",
}
_MEND = "take a g4dn or g5 type, or p3dn.24xlarge"


def check_instance_type(name: str) -> str:
    """The name of a type that runs TensorFlow 2.9 on a GPU. Raises RefusedError with the reason."""
    if name in TYPES:
        return name
    family = name.partition(".")[0]
    sizes = [known.partition(".")[2] for known in TYPES if known.startswith(f"{family}.")]
    if sizes:
        raise RefusedError(f"`{name:.40}` is no size of {family}", f"there are {', '.join(sizes)}")
    for start in sorted(_REFUSED, key=len, reverse=True):
        if family.startswith(start):
            raise RefusedError(f"`{name:.40}`: {_REFUSED[start]}", _MEND)
    raise RefusedError(f"`{name:.40}` is not known to have an NVIDIA GPU", _MEND)
