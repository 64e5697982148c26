"""The machines: EC2 instances on their data, each behind its own door.

The bundle reaches a living machine by its roster. The image, and what user-data says of a machine,
are not followed there: the plan says who is behind, and which number to raise.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws

from cloudinit.boot import render_user_data
from infra.aws.inventory import machines as machines_there
from infra.aws.policies import log_group_name, roster_name
from infra.aws.spot import SpotRequest
from infra.aws.strays import OneEach
from infra.aws.tags import MADE_WITH_TAG, REBUILD_TAG, SPOT_TAG, machine_tags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudinit.boot import MachineValues
    from infra.aws.access import Access
    from infra.aws.bundles import Bundles
    from infra.aws.data import Data
    from infra.aws.facts import Facts
    from infra.aws.image import Image
    from infra.aws.keys import Keys
    from infra.aws.network import Network
    from infra.aws.roster import Rosters
    from infra.aws.strays import Strays
    from infra.model.settings import AwsSettings
    from infra.plan import MachinePlan

SSH_PORT = 22
# EBS-optimised they all are; to say it later of one would make it anew.
_NOT_FOLLOWED = ["ami", "ebsOptimized", "userDataBase64", f'tags["{MADE_WITH_TAG}"]']
# A change of these makes another machine, as on the target local.
_MADE_OF = [
    *(f'tags["{tag}"]' for tag in (REBUILD_TAG, SPOT_TAG)),
    "instanceType",
    "rootBlockDevice.volumeSize",
]


@dataclass(frozen=True)
class Parts:
    """What a stack has and its machines use."""

    facts: Facts
    key: Keys
    network: Network
    data: Data
    rosters: Rosters
    access: Access
    image: Image
    bundles: Bundles
    strays: Strays


@dataclass(frozen=True)
class AwsMachine:
    """What there is to say of a machine: `known` by the plan, or `now`, by AWS alone."""

    known: dict[str, Any]
    now: pulumi.Output[dict[str, Any]]


class Machines(pulumi.ComponentResource):
    """The instances of a stack, with their Elastic IPs. By name in `made`."""

    def __init__(
        self,
        settings: AwsSettings,
        machines: Sequence[MachinePlan],
        parts: Parts,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("secondlock:aws:Machines", settings.stack, None, opts)
        self._settings, self._parts = settings, parts
        self._inside = pulumi.ResourceOptions(parent=self)
        one_each = OneEach(machines_there, settings.stack, parts.facts.region)
        self._one_each = pulumi.ResourceHook("one machine each", one_each.check)
        self.made = {machine.name: self._make(machine) for machine in machines}
        self.register_outputs({})

    def _make(self, machine: MachinePlan) -> AwsMachine:
        instance = self._instance(machine)
        attached = self._inside
        if machine.size.spot:
            request = SpotRequest(
                machine.name,
                request=instance.spot_instance_request_id,
                region=self._parts.facts.region,
                opts=self._inside,
            )
            # Detaching stops the instance, which EC2 does as long as the request is there.
            attached = pulumi.ResourceOptions(parent=self, depends_on=[request])
        aws.ec2.VolumeAttachment(
            machine.name,
            device_name="/dev/sdf",
            instance_id=instance.id,
            volume_id=self._parts.data.volume(machine.name),
            # Detaching a mounted volume would cut its file systems off in the middle of a write.
            stop_instance_before_detaching=True,
            opts=attached,
        )
        address: pulumi.Output[str] = instance.id
        if machine.size.public:
            address = aws.ec2.Eip(
                machine.name,
                domain="vpc",
                instance=instance.id,
                tags=machine_tags(self._settings, machine),
                opts=self._inside,
            ).public_ip
        return AwsMachine(self._known(machine), self._now(machine, instance, address))

    def _instance(self, machine: MachinePlan) -> aws.ec2.Instance:
        parts, size = self._parts, machine.size
        tags = machine_tags(self._settings, machine)
        values = self._values(machine)
        made_with = pulumi.Output.from_input(parts.image.ami).apply(partial(_made_with, values))
        zone = parts.data.zone(machine.name)
        instance = aws.ec2.Instance(
            machine.name,
            ami=parts.image.ami,
            instance_type=size.instance_type or self._settings.instance_type,
            instance_market_options=SPOT if size.spot else None,
            subnet_id=parts.network.subnet(zone, public=size.public),
            vpc_security_group_ids=[parts.network.security_group(machine.name)],
            iam_instance_profile=parts.access.profile(machine.name),
            user_data_base64=base64.b64encode(render_user_data(values)).decode(),
            metadata_options=METADATA,
            ebs_optimized=True,
            root_block_device={
                "encrypted": True,
                "kms_key_id": parts.key.arn,
                "volume_type": "gp3",
                "volume_size": size.root_disk_gib,
                "delete_on_termination": True,
            },
            # In the call that makes it. The provider tags a root device by itself only later, so
            # that an `up` that is killed leaves one of nobody's. The data volume has the same.
            volume_tags=tags,
            tags={
                **tags,
                REBUILD_TAG: str(machine.rebuild),
                MADE_WITH_TAG: made_with,
                **({SPOT_TAG: "true"} if size.spot else {}),
            },
            opts=pulumi.ResourceOptions(
                parent=self,
                # Its first boot asks for bundle and roster; that names the volume by then.
                depends_on=[
                    parts.bundles.made,
                    parts.network.to_s3,
                    parts.rosters.parameter(machine.name),
                    parts.strays,
                ],
                ignore_changes=_NOT_FOLLOWED,
                replace_on_changes=_MADE_OF,
                # Its volume can be in one machine only.
                delete_before_replace=True,
                hooks=pulumi.ResourceHookBinding(before_create=[self._one_each]),
            ),
        )
        pulumi.Output.all(instance.tags, made_with).apply(
            partial(_tell_if_behind, instance, machine)
        )
        if pulumi.runtime.is_dry_run():
            pulumi.Output.all(parts.data.volume(machine.name), instance.id).apply(
                partial(_tell_if_replaced, instance, machine), run_with_unknowns=True
            )
        return instance

    def _values(self, machine: MachinePlan) -> MachineValues:
        return replace(
            machine.values,
            bundles=self._parts.bundles.place,
            region=self._settings.region,
            parameter=roster_name(self._settings.stack, machine.name),
            log_group=log_group_name(self._settings.stack),
        )

    def _known(self, machine: MachinePlan) -> dict[str, Any]:
        return {
            "port": SSH_PORT,
            "host_key": machine.host_key,
            "directory": "",
            "region": self._parts.facts.region,
            "log_group": log_group_name(self._settings.stack),
            "public": machine.size.public,
        }

    def _now(
        self, machine: MachinePlan, instance: aws.ec2.Instance, address: pulumi.Output[str]
    ) -> pulumi.Output[dict[str, Any]]:
        return pulumi.Output.all(
            address=address,
            instance_id=instance.id,
            zone=instance.availability_zone,
            running=instance.instance_state.apply(lambda state: state == "running"),
            serial=self._parts.rosters.parameter(machine.name).version,
        )


METADATA: aws.ec2.InstanceMetadataOptionsArgsDict = {
    "http_endpoint": "enabled",
    "http_tokens": "required",
    "http_put_response_hop_limit": 1,
    "instance_metadata_tags": "disabled",
}
# One that is stopped comes back by itself when there is capacity, with its root disk.
SPOT: aws.ec2.InstanceInstanceMarketOptionsArgsDict = {
    "market_type": "spot",
    "spot_options": {
        "spot_instance_type": "persistent",
        "instance_interruption_behavior": "stop",
    },
}


def _made_with(values: MachineValues, ami: str) -> str:
    """Of what a living machine keeps."""
    text = json.dumps([asdict(values), ami])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _tell_if_behind(instance: aws.ec2.Instance, machine: MachinePlan, values: list[Any]) -> None:
    tags, wanted = values
    if (tags or {}).get(MADE_WITH_TAG) != wanted:
        pulumi.log.info(
            f"{machine.name} is behind: it keeps the set-up and the image that it was made with "
            f"until `rebuild:` in its request is raised from {machine.rebuild}",
            instance,
        )


def _tell_if_replaced(instance: aws.ec2.Instance, machine: MachinePlan, ids: list[Any]) -> None:
    """A machine that will be made although its data is there: it was there too."""
    volume, itself = ids
    if isinstance(volume, str) and not isinstance(itself, str):
        pulumi.log.warn(
            f"{machine.name} would be shut down and made anew: who is logged in is thrown out, "
            "what is not in the home or on the state volume is lost",
            instance,
        )
