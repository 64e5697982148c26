"""The stack's key: rosters, volumes, logs and images are encrypted with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from infra.aws.policies import key_policy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.aws.facts import Facts

DELETION_DAYS = 7
"""KMS's shortest: for so long a destroyed stack's key can still be brought back."""


class Keys(pulumi.ComponentResource):
    """One customer-managed key for the stack, rotated yearly. `arn` and `key_id`.

    `keep` it when the stack goes: snapshots that outlive the stack are encrypted with it.
    """

    def __init__(
        self,
        stack: str,
        tags: Mapping[str, str],
        facts: Facts,
        *,
        keep: bool = False,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("secondlock:aws:Keys", stack, None, opts)
        key = aws.kms.Key(
            stack,
            description=f"Secondlock, stack {stack}",
            deletion_window_in_days=DELETION_DAYS,
            enable_key_rotation=True,
            policy=json.dumps(key_policy(facts, stack)),
            tags=dict(tags),
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=keep),
        )
        aws.kms.Alias(
            stack,
            name=f"alias/secondlock-{stack}",
            target_key_id=key.key_id,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.arn, self.key_id = key.arn, key.key_id
        self.register_outputs({})
