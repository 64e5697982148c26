"""What is ours on the machines, where they get it: one object in one private bucket a stack."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from cloudinit.bundle import bundle
from infra.aws import policies

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.aws.facts import Facts


class Bundles(pulumi.ComponentResource):
    """The bucket and the bundle of today in it. `place` is the URL of its folder.

    No bundle of yesterday is kept: a machine reads its own once, at its first boot. `made` is
    there when a machine can.
    """

    def __init__(
        self,
        stack: str,
        facts: Facts,
        tags: Mapping[str, str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("secondlock:aws:Bundles", stack, None, opts)
        self.place = policies.bundle_place(facts, stack)
        self._stack, self._tags = stack, dict(tags)
        bucket = aws.s3.Bucket(
            stack,
            bucket=policies.bucket_name(facts, stack),
            force_destroy=True,
            tags=self._tags,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.made = self._put(bucket, self._shut(bucket, facts))
        self.register_outputs({})

    def _shut(self, bucket: aws.s3.Bucket, facts: Facts) -> pulumi.Resource:
        """Nobody but this account, by TLS alone. One after the other: S3 refuses two at once."""
        stack, name = self._stack, bucket.id
        block = aws.s3.BucketPublicAccessBlock(
            stack,
            bucket=name,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        owner = aws.s3.BucketOwnershipControls(
            stack,
            bucket=name,
            rule={"object_ownership": "BucketOwnerEnforced"},
            opts=pulumi.ResourceOptions(parent=self, depends_on=[block]),
        )
        # By S3's own key: there is no secret in it, and a machine needs no key for it.
        encrypted = aws.s3.BucketServerSideEncryptionConfiguration(
            stack,
            bucket=name,
            rules=[{"apply_server_side_encryption_by_default": {"sse_algorithm": "AES256"}}],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[owner]),
        )
        return aws.s3.BucketPolicy(
            stack,
            bucket=name,
            policy=json.dumps(policies.bucket_policy(facts, stack)),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[encrypted]),
        )

    def _put(self, bucket: aws.s3.Bucket, shut: pulumi.Resource) -> aws.s3.BucketObjectv2:
        ours = bundle("aws")
        return aws.s3.BucketObjectv2(
            self._stack,
            bucket=bucket.id,
            key=policies.bundle_key(ours.digest),
            content_base64=base64.b64encode(ours.data).decode(),
            content_type="application/x-xz",
            tags=self._tags,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[shut]),
        )
