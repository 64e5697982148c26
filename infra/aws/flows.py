"""Who talked to whom: the VPC's flow logs, as a security officer wants to read them afterwards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from infra.aws import policies

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.aws.facts import Facts
    from infra.aws.keys import Keys


class FlowLogs(pulumi.ComponentResource):
    """Every connection in the VPC `vpc_id`, let in or refused, in a log group of its own.

    "Publish flow logs to CloudWatch Logs" (Amazon VPC User Guide).
    """

    def __init__(
        self,
        stack: str,
        retention_days: int,
        *,
        vpc_id: pulumi.Input[str],
        key: Keys,
        facts: Facts,
        tags: Mapping[str, str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("secondlock:aws:FlowLogs", stack, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        group = aws.cloudwatch.LogGroup(
            "flows",
            name=policies.flow_log_group_name(stack),
            kms_key_id=key.arn,
            retention_in_days=retention_days,
            tags=dict(tags),
            opts=inside,
        )
        role = aws.iam.Role(
            "flows",
            path=policies.iam_path(stack),
            description="Writes the flow logs of the VPC",
            assume_role_policy=json.dumps(policies.assumed_by_flow_logs(facts)),
            tags=dict(tags),
            opts=inside,
        )
        granted = aws.iam.RolePolicy(
            "flows",
            role=role.name,
            policy=json.dumps(policies.flow_policy(facts, stack)),
            opts=inside,
        )
        aws.ec2.FlowLog(
            stack,
            vpc_id=vpc_id,
            traffic_type="ALL",
            log_destination=group.arn,
            iam_role_arn=role.arn,
            tags=dict(tags),
            # Not before the role may write: a flow log that once failed says so for long.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[granted]),
        )
        self.register_outputs({})
