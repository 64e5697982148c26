"""A machine, as people ask for it."""

from __future__ import annotations

from pydantic import Field, PrivateAttr

from infra.model.fields import InstanceType, LastDay, MachineImage, Model, Payer, Rebuild, Zone
from infra.model.yaml_lines import Document

LOCAL_ONLY = ("cpus", "memory_gib")
AWS_ONLY = ("instance_type", "spot", "public", "zone")
"""The fields that say something on one target alone."""


class MachineSize(Model):
    """A machine's size."""

    cpus: int = Field(default=2, ge=1, le=192, description="Virtual CPUs; target local.")
    memory_gib: int = Field(default=4, ge=1, le=2048, description="Memory in GiB; target local.")
    root_disk_gib: int = Field(
        default=20,
        ge=8,
        le=4096,
        description="System disk in GiB; lost when the machine is replaced.",
    )
    home_disk_gib: int = Field(
        default=20,
        ge=1,
        le=16383,
        description="Home disk in GiB; survives that, can grow and not shrink.",
    )
    instance_type: InstanceType | None = Field(
        default=None,
        description="EC2 instance type: g4dn.*, g5.* or p3dn.24xlarge; without it, the stack's."
        " Target aws.",
    )
    spot: bool = Field(
        default=False,
        description="Spare capacity: cheaper, stops when EC2 needs it. Target aws.",
    )
    public: bool = Field(
        default=True,
        description="A public address; false: SSH over Session Manager. Target aws.",
    )
    zone: Zone | None = Field(
        default=None,
        description="Availability zone of a new machine's data, where it stays; without it, one of"
        " the stack's. Target aws.",
    )


class SharedMachine(MachineSize):
    """A machine that several researchers name: `machines/<name>.yaml` in the stack's folder."""

    rebuild: Rebuild = 0
    tensorflow_image: MachineImage = None
    cost_centre: Payer = None
    until: LastDay = None

    _document: Document | None = PrivateAttr(default=None)


OF_THE_MACHINE = tuple(n for n in SharedMachine.model_fields if n not in MachineSize.model_fields)
"""What a request says of its researcher's own machine, and a shared machine's file of that one."""
