"""The request that starts a spot machine again and again: it ends before its machine does.

A persistent request whose instance is terminated starts another one, which no state knows (EC2 user
guide, "Manage your Spot Instances"). The AWS provider was seen to leave such a request behind
(hashicorp/terraform-provider-aws#38142). In an importable module, as `infra.aws.leftovers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError
from pulumi import dynamic

from infra.aws.client import client_of
from infra.model.problems import Problem
from infra.provider import Props, ProviderError, QuietProvider, changed

if TYPE_CHECKING:
    import pulumi
    from mypy_boto3_ec2 import EC2Client


class _SpotProvider(QuietProvider):
    def create(self, props: Props) -> dynamic.CreateResult:
        return dynamic.CreateResult(props.get("request") or "none", props)

    def diff(self, _id: str, olds: Props, news: Props) -> dynamic.DiffResult:
        replaces = changed(olds, news, ("request", "region"))
        return dynamic.DiffResult(
            changes=bool(replaces), replaces=replaces, delete_before_replace=True
        )

    def delete(self, _id: str, props: Props) -> None:
        request = props.get("request")
        if not request:
            return
        try:
            cancel(client_of(self.config.get, props["region"]), request)
        except (BotoCoreError, ClientError) as error:
            what = f"{request} in {props['region']} could not be cancelled and would start its "
            what += f"machine again: {error}"
            mend = "grant ec2:CancelSpotInstanceRequests, then do the same again"
            raise ProviderError(Problem(None, None, what, mend)) from None


class SpotRequest(dynamic.Resource, module="secondlock", name="SpotRequest"):
    """Cancels `request`, a spot machine's, when it goes. The instance itself goes after it."""

    def __init__(
        self,
        name: str,
        *,
        request: pulumi.Input[str],
        region: str,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(_SpotProvider(), name, {"request": request, "region": region}, opts)


def cancel(ec2: EC2Client, request: str) -> None:
    """Cancel the spot request with this id, unless it is gone. Raises botocore's errors."""
    try:
        ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[request])
    except ClientError as error:
        if error.response["Error"]["Code"] != "InvalidSpotInstanceRequestID.NotFound":
            raise
