"""The machines' data volumes: what outlives a machine."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from infra.aws.inventory import data_volumes
from infra.aws.limits import first_zone
from infra.aws.strays import OneEach
from infra.aws.tags import machine_tags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.aws.keys import Keys
    from infra.aws.strays import Strays
    from infra.model.settings import AwsSettings
    from infra.plan import MachinePlan

STATE_GIB = 1
"""Of each volume, for what the machine knows of second factors; the guest cuts it off."""


class Data(pulumi.ComponentResource):
    """An encrypted volume for each machine. The guest makes of it `state` and `home`."""

    def __init__(
        self,
        settings: AwsSettings,
        machines: Sequence[MachinePlan],
        key: Keys,
        strays: Strays,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("secondlock:aws:Data", settings.stack, None, opts)
        one_each = OneEach(data_volumes, settings.stack, settings.region)
        unknown = pulumi.ResourceHook("one volume each", one_each.check)
        sizes = pulumi.ResourceHook(
            "size of the data", _only_larger, pulumi.ResourceHookOptions(on_dry_run=True)
        )
        self._volumes: dict[str, aws.ebs.Volume] = {}
        for machine in machines:
            volume = aws.ebs.Volume(
                machine.name,
                availability_zone=machine.size.zone or first_zone(machine.name, settings.zones),
                size=machine.size.home_disk_gib + STATE_GIB,
                type="gp3",
                encrypted=True,
                kms_key_id=key.arn,
                final_snapshot=settings.on_destroy == "snapshot",
                tags=machine_tags(settings, machine),
                opts=pulumi.ResourceOptions(
                    parent=self,
                    depends_on=[strays],
                    # Data cannot move: where it was made is where the machine is.
                    ignore_changes=["availabilityZone"],
                    hooks=pulumi.ResourceHookBinding(
                        before_create=[unknown], before_update=[sizes]
                    ),
                ),
            )
            self._volumes[machine.name] = volume
            wanted = machine.size.zone
            if wanted is not None:
                volume.availability_zone.apply(partial(_tell_zone, volume, machine.name, wanted))
        self.register_outputs({})

    def volume(self, machine: str) -> pulumi.Output[str]:
        """The id of the machine's volume."""
        return self._volumes[machine].id

    def zone(self, machine: str) -> pulumi.Output[str]:
        """Where the machine's volume is."""
        return self._volumes[machine].availability_zone


def _only_larger(args: pulumi.ResourceHookArgs) -> None:
    """Known to the engine alone, that has the last size: EBS would say so in the middle of `up`."""
    old, new = (inputs["size"] for inputs in (args.old_inputs, args.new_inputs) if inputs)
    if new < old:
        raise pulumi.RunError(
            f"{args.name}: its home has {old - STATE_GIB:.0f} GiB and cannot shrink to "
            f"{new - STATE_GIB:.0f} (raise home_disk_gib in its request)"
        )


def _tell_zone(volume: aws.ebs.Volume, machine: str, wanted: str, zone: str) -> None:
    if zone != wanted:
        pulumi.log.info(
            f"{machine} stays in {zone}, where its data is: machine.zone ({wanted}) counts for a "
            "new machine only",
            volume,
        )
