"""A machine, as people ask for it."""

from __future__ import annotations

from pydantic import Field, PrivateAttr

from infra.model.fields import (
    ClosedFrom,
    InstanceType,
    LastDay,
    MachineImage,
    Model,
    Name,
    Payer,
    Rebuild,
    Zone,
)
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


class Share(Model):
    """What one member of a shared machine may take of it."""

    gpus: int | None = Field(
        default=None, ge=0, le=16, description="GPUs of their own; which, their request says."
    )
    memory_gib: float | None = Field(
        default=None, ge=0.0625, le=2048, description="Memory in GiB, that of files in it too."
    )
    cpus: float | None = Field(
        default=None,
        ge=0.1,
        le=192,
        description="At most so many processors; without it, all that others leave.",
    )
    pids: int | None = Field(
        default=None, ge=64, le=1_000_000, description="Processes and threads at a time."
    )
    home_gib: float | None = Field(
        default=None, ge=0.0625, le=16383, description="Home and /tmp in GiB, on the home disk."
    )


class SharedMachine(MachineSize):
    """A machine that several researchers name: `machines/<name>.yaml` in the stack's folder."""

    seats: int = Field(
        ge=1,
        le=200,
        description="For how many people it is. Of what nothing is said, each has an equal part.",
    )
    share: Share = Field(
        default=Share(), description="What each member may take, where it is not an equal part."
    )
    members: dict[Name, Share] = Field(
        default={}, description="What some of them may take instead, by their names."
    )
    rebuild: Rebuild = 0
    tensorflow_image: MachineImage = None
    cost_centre: Payer = None
    until: LastDay = None
    closed_from: ClosedFrom = None

    _document: Document | None = PrivateAttr(default=None)


OF_THE_MACHINE = ("rebuild", "tensorflow_image", "cost_centre", "until", "closed_from")
"""What a request says of its researcher's own machine, and a shared machine's file of that one."""
