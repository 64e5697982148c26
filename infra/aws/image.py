"""The machines' image: EC2 Image Builder makes it on the pinned Debian, once for a recipe."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from image.components import render_agent, render_components
from infra.aws import policies
from infra.aws.leftovers import Leftovers
from infra.aws.limits import ROOT_GIB
from infra.aws.network import EGRESS
from infra.model.instance_types import BAKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from infra.aws.facts import Facts
    from infra.aws.keys import Keys
    from infra.aws.strays import Strays

_VERSION = "1.0.0"  # what has changed is a new resource, under a new name
_ROOT_DEVICE = "/dev/xvda"  # of Debian's AMIs
_MINUTES = 120


class Image(pulumi.ComponentResource):
    """What machines start from: `ami`, an id.

    With `bake` an image that Image Builder makes, which goes with the stack; without, `base_image`
    itself: its machines install the rest at their first boot. `tensorflow_image` is
    `name@sha256:digest`. The instance that bakes has a GPU, so that TensorFlow is tried on it; it
    is in the subnet `subnet_id`, which must give it a public address.
    """

    def __init__(
        self,
        stack: str,
        *,
        base_image: str,
        tensorflow_image: str,
        bake: bool,
        log_retention_days: int,
        facts: Facts,
        key: Keys,
        vpc_id: pulumi.Input[str],
        subnet_id: pulumi.Input[str],
        strays: Strays,
        tags: Mapping[str, str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("secondlock:aws:Image", stack, None, opts)
        self._strays = strays
        self._stack, self._facts, self._key, self._tags = stack, facts, key, dict(tags)
        self._inside = pulumi.ResourceOptions(parent=self)
        self.ami: pulumi.Output[str] = pulumi.Output.from_input(base_image)
        if bake:
            place = self._place(vpc_id, subnet_id)
            recipe = self._recipe(base_image, tensorflow_image)
            self.ami = self._bake(recipe, place, log_retention_days)
        self.register_outputs({})

    def _bake(
        self,
        recipe: aws.imagebuilder.ImageRecipe,
        place: aws.imagebuilder.InfrastructureConfiguration,
        log_retention_days: int,
    ) -> pulumi.Output[str]:
        log = aws.cloudwatch.LogGroup(
            "image",
            name=policies.bake_log_group_name(self._stack),
            kms_key_id=self._key.arn,
            retention_in_days=log_retention_days,
            tags=self._tags,
            opts=self._inside,
        )
        image = aws.imagebuilder.Image(
            self._stack,
            image_recipe_arn=recipe.arn,
            infrastructure_configuration_arn=place.arn,
            distribution_configuration_arn=self._distribution().arn,
            # On by default: an association of Systems Manager's for a list of packages, for which
            # the instance would need the rights that AmazonSSMManagedInstanceCore has.
            enhanced_image_metadata_enabled=False,
            image_tests_configuration={
                "image_tests_enabled": True,
                "timeout_minutes": _MINUTES // 2,
            },
            logging_configuration={"log_group_name": log.name},
            tags=self._tags,
            opts=pulumi.ResourceOptions(
                parent=self,
                custom_timeouts=pulumi.CustomTimeouts(create=f"{_MINUTES}m"),
            ),
        )
        return Leftovers(
            self._stack,
            image=image.arn,
            ami=image.output_resources.apply(_only_ami),
            region=self._facts.region,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self._strays]),
        ).ami

    def _recipe(self, base_image: str, tensorflow_image: str) -> aws.imagebuilder.ImageRecipe:
        components = [
            aws.imagebuilder.Component(
                name,
                platform="Linux",
                version=_VERSION,
                data=document,
                tags=self._tags,
                opts=self._inside,
            )
            for name, document in render_components(tensorflow_image).items()
        ]
        return aws.imagebuilder.ImageRecipe(
            self._stack,
            parent_image=base_image,
            version=_VERSION,
            components=[{"component_arn": component.arn} for component in components],
            block_device_mappings=[
                {
                    "device_name": _ROOT_DEVICE,
                    "ebs": {
                        "encrypted": "true",
                        "kms_key_id": self._key.arn,
                        "volume_size": ROOT_GIB,
                        "volume_type": "gp3",
                        "delete_on_termination": "true",
                    },
                }
            ],
            # For break-glass, and for the machines that are reached by it alone.
            systems_manager_agent={"uninstall_after_build": False},
            user_data_base64=base64.b64encode(render_agent(tensorflow_image).encode()).decode(),
            tags=self._tags,
            opts=self._inside,
        )

    def _place(
        self, vpc_id: pulumi.Input[str], subnet_id: pulumi.Input[str]
    ) -> aws.imagebuilder.InfrastructureConfiguration:
        """Where the bake is done: by a role of its own, behind a group that lets nobody in."""
        group = aws.ec2.SecurityGroup(
            "image",
            # No machine's group can have this name: theirs have no blank.
            name=f"secondlock-{self._stack} image",
            description=f"The making of the image of {self._stack}",
            vpc_id=vpc_id,
            ingress=[],
            egress=EGRESS,
            tags=self._tags,
            opts=self._inside,
        )
        return aws.imagebuilder.InfrastructureConfiguration(
            self._stack,
            instance_profile_name=self._profile(),
            instance_types=list(BAKING),
            instance_metadata_options={"http_tokens": "required", "http_put_response_hop_limit": 1},
            security_group_ids=[group.id],
            subnet_id=subnet_id,
            terminate_instance_on_failure=True,
            resource_tags=self._tags,
            tags=self._tags,
            opts=self._inside,
        )

    def _profile(self) -> pulumi.Output[str]:
        path = policies.iam_path(self._stack)
        role = aws.iam.Role(
            "image",
            path=path,
            description="The instance that bakes the image",
            assume_role_policy=json.dumps(policies.assumed_by_ec2(self._facts)),
            tags=self._tags,
            opts=self._inside,
        )
        granted = aws.iam.RolePolicy(
            "image",
            role=role.name,
            policy=json.dumps(policies.bake_policy(self._facts, self._stack)),
            opts=self._inside,
        )
        profile = aws.iam.InstanceProfile(
            "image",
            path=path,
            # Not before it may do anything.
            role=granted.role,
            tags=self._tags,
            opts=self._inside,
        )
        return profile.name

    def _distribution(self) -> aws.imagebuilder.DistributionConfiguration:
        """To the stack's own region and account alone, encrypted with the stack's key."""
        name = f"secondlock-{self._stack}-{{{{ imagebuilder:buildDate }}}}"
        return aws.imagebuilder.DistributionConfiguration(
            self._stack,
            distributions=[
                {
                    "region": self._facts.region,
                    "ami_distribution_configuration": {
                        "name": name,
                        "kms_key_id": self._key.arn,
                        "ami_tags": self._tags,
                    },
                }
            ],
            tags=self._tags,
            opts=self._inside,
        )


def _only_ami(made: Sequence[aws.imagebuilder.outputs.ImageOutputResource]) -> str:
    """Of the one region that the image goes to."""
    (ami,) = (ami.image for each in made for ami in each.amis or [])
    return str(ami)
