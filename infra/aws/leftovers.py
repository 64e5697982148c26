"""What Image Builder leaves when its image is destroyed: AMIs and their snapshots.

In an importable module, so that the state holds a reference to the provider and no pickled code.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from pulumi import dynamic

from infra.aws.client import client_of
from infra.aws.tags import IMAGE_TAG
from infra.model.problems import Problem
from infra.provider import Props, ProviderError, QuietProvider, changed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pulumi
    from mypy_boto3_ec2 import EC2Client

TRIES, PAUSE_SECONDS = 15, 2.0


class _LeftoversProvider(QuietProvider):
    def create(self, props: Props) -> dynamic.CreateResult:
        return dynamic.CreateResult(props["image"], props)

    def diff(self, _id: str, olds: Props, news: Props) -> dynamic.DiffResult:
        replaces = changed(olds, news, ("image", "ami", "region"))
        return dynamic.DiffResult(changes=bool(replaces), replaces=replaces)

    def delete(self, _id: str, props: Props) -> None:
        with _in_words(props):
            remove(client_of(self.config.get, props["region"]), props["image"], props["ami"])


class Leftovers(dynamic.Resource, module="secondlock", name="ImageLeftovers"):
    """Removes with the stack what its image left. Who starts from the image takes `ami` here.

    `image` is the ARN of Image Builder's image version, `region` where its AMI is.
    """

    ami: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        image: pulumi.Input[str],
        ami: pulumi.Input[str],
        region: str,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            _LeftoversProvider(), name, {"image": image, "ami": ami, "region": region}, opts
        )


def remove(ec2: EC2Client, image: str, ami: str) -> None:
    """Deregister the AMIs of the image version `image`, and `ami`; delete their snapshots.

    What is gone already is none the worse. Raises botocore's errors.
    """
    found = {}
    for name, value in ((f"tag:{IMAGE_TAG}", image), ("image-id", ami)):
        ours = ec2.describe_images(Owners=["self"], Filters=[{"Name": name, "Values": [value]}])
        found.update({each["ImageId"]: each for each in ours["Images"]})
    for each in found.values():
        with _gone_is_fine():
            ec2.deregister_image(ImageId=each["ImageId"])
        for device in each["BlockDeviceMappings"]:
            snapshot = device.get("Ebs", {}).get("SnapshotId")
            if snapshot:
                _delete_snapshot(ec2, snapshot)


def _delete_snapshot(ec2: EC2Client, snapshot: str) -> None:
    """EC2 may take it for a part of its AMI for some seconds more."""
    for _ in range(TRIES):
        try:
            with _gone_is_fine():
                ec2.delete_snapshot(SnapshotId=snapshot)
            return
        except ClientError as error:
            if error.response["Error"]["Code"] != "InvalidSnapshot.InUse":
                raise
            time.sleep(PAUSE_SECONDS)
    ec2.delete_snapshot(SnapshotId=snapshot)


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if not code.endswith((".NotFound", ".Unavailable")):
            raise


@contextmanager
def _in_words(props: Mapping[str, Any]) -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        image = f"{props['ami']} in {props['region']}"
        what = f"{image} and its snapshot could not be removed: {error}"
        mend = "grant ec2:DescribeImages, ec2:DeregisterImage and ec2:DeleteSnapshot, then: "
        raise ProviderError(Problem(None, None, what, f"{mend}pulumi destroy")) from None
