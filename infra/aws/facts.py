"""What AWS says of itself and of us: whose account, where, and in which partition."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi_aws as aws


@dataclass(frozen=True)
class Facts:
    """Known at plan; every ARN and service name is built from them."""

    partition: str
    """`aws`, `aws-cn`, `aws-us-gov`, ..."""
    dns_suffix: str
    """Of service names: `amazonaws.com`, in China `amazonaws.com.cn`."""
    account_id: str
    region: str


def facts() -> Facts:
    """Those of the stack's default provider. Three calls: once a stack."""
    partition = aws.get_partition()
    return Facts(
        partition=partition.partition,
        dns_suffix=partition.dns_suffix,
        account_id=aws.get_caller_identity().account_id,
        region=aws.get_region().region,
    )
