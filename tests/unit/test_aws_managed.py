"""Our policies against those that AWS manages itself; moto ships them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from moto.iam.aws_managed_policies import aws_managed_policies_data

from infra.aws import policies
from infra.aws.facts import Facts
from tests.support.iam import Request, allows

FACTS = Facts("aws", "amazonaws.com", "111122223333", "eu-west-1")
STACK = "trial"
# What the two policies that AWS wants on a bake's instance have and ours leaves out, and why.
LEFT_OUT = {
    "logs:CreateLogGroup": "the program makes it, encrypted",
    "imagebuilder:GetMarketplaceResource": "no component is from the Marketplace",
    "kms:Decrypt": "no component is encrypted with a key of ours",
    "ec2:DescribeVolumes": "to import ISO files",
    "ec2:DescribeSnapshots": "to import ISO files",
    "ec2:CreateSnapshot": "to import ISO files",
    "ec2:CreateTags": "to import ISO files",
    "ssm:GetParameter": "every parameter of the account, rosters too",
    "ssm:GetParameters": "every parameter of the account, rosters too",
    # Of associations: with "enhanced metadata" Image Builder would make one.
    "ssm:DescribeAssociation": "associations",
    "ssm:ListAssociations": "associations",
    "ssm:ListInstanceAssociations": "associations",
    "ssm:UpdateAssociationStatus": "associations",
    "ssm:UpdateInstanceAssociationStatus": "associations",
    "ssm:GetDocument": "associations",
    "ssm:DescribeDocument": "associations",
    "ssm:PutInventory": "associations",
    "ssm:PutComplianceItems": "associations",
    "ssm:GetDeployablePatchSnapshotForInstance": "patch manager",
    "ssm:GetManifest": "distributor",
    "ssm:PutConfigurePackageResult": "distributor",
}


def _managed(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(aws_managed_policies_data)[name]["Document"]
    return document


def _actions(*documents: dict[str, Any]) -> set[str]:
    return {action for one in documents for each in one["Statement"] for action in each["Action"]}


@pytest.mark.parametrize("action", ["logs:CreateLogStream", "logs:PutLogEvents"])
def test_image_builder_itself_may_write_the_bakes_log(action: str) -> None:
    group = policies.bake_log_group_name(STACK)
    stream = f"arn:aws:logs:{FACTS.region}:{FACTS.account_id}:log-group:{group}:log-stream:1.0.0/1"
    image_builder = _managed("AWSServiceRoleForImageBuilder")
    assert allows([image_builder], Request(action, stream))
    assert allows([policies.bake_policy(FACTS, STACK)], Request(action, stream))


def test_the_bake_may_do_what_aws_wants_but_for_what_it_does_not_use() -> None:
    ours = _actions(policies.bake_policy(FACTS, STACK))
    theirs = _actions(
        _managed("EC2InstanceProfileForImageBuilder"), _managed("AmazonSSMManagedInstanceCore")
    )
    assert ours <= theirs
    assert theirs - ours == set(LEFT_OUT)
