"""What every resource is marked with: whose it is, and who pays."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infra.model.settings import AwsSettings
    from infra.plan import MachinePlan

STACK_TAG = "secondlock:stack"
RESEARCHER_TAG = "secondlock:researcher"
"""By this one IAM tells whose machine a session may go to; see `infra.aws.policies`."""

REBUILD_TAG = "secondlock:rebuild"
SPOT_TAG = "secondlock:spot"
"""On machines of spare capacity. The AWS provider (7.51) sees no change where a machine is to be
bought as any other again (hashicorp/terraform-provider-aws#38141); of a tag it does."""

IMAGE_TAG = "Ec2ImageBuilderArn"
"""Image Builder's own: it marks every AMI with the image version that it comes from, also those
that it copied to encrypt them."""

MADE_WITH_TAG = "secondlock:made-with"
"""What a machine was made with: a digest of its user-data and image."""

BUNDLE_TAG = "secondlock:bundle"
"""On a machine's parameter: the bundle that its roster names, which is what the machine runs."""


def security_group_name(stack: str, machine: str) -> str:
    """Of a machine's door: by it a spot request, which has no tags, tells whose it is."""
    return f"secondlock/{stack}/{machine}"


def stack_tags(settings: AwsSettings) -> dict[str, str]:
    """For what the machines of a stack share."""
    tags = {"Name": f"secondlock-{settings.stack}", STACK_TAG: settings.stack}
    return tags | _paid_by(settings.cost_centre)


def machine_tags(settings: AwsSettings, machine: MachinePlan) -> dict[str, str]:
    """For what belongs to one machine."""
    tags = {
        **stack_tags(settings),
        "Name": f"secondlock-{settings.stack}-{machine.name}",
        RESEARCHER_TAG: machine.name,
    }
    if machine.until is not None:
        tags["secondlock:until"] = machine.until.isoformat()
    return tags | _paid_by(machine.cost_centre)


def _paid_by(cost_centre: str) -> dict[str, str]:
    return {"secondlock:cost-centre": cost_centre} if cost_centre else {}
