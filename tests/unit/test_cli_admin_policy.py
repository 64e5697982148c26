"""What the admin's policies allow, by our own evaluator, and what they do not."""

from __future__ import annotations

import json
from pathlib import Path

import botocore.session
import pytest

from cli.__main__ import main
from cli.aws.admin_policy import LONGEST, documents
from infra.aws import policies
from infra.aws.facts import Facts
from tests.support.iam import Request, allows

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
ACCOUNT, REGION, STACK = "111122223333", "eu-central-1", "gpu"
HERE = f"{REGION}:{ACCOUNT}"
FACTS = Facts("aws", "amazonaws.com", ACCOUNT, REGION)
OURS = {"aws:ResourceTag/secondlock:stack": STACK}
TAGGED = {"aws:RequestTag/secondlock:stack": STACK}
TO_EC2 = {"iam:PassedToService": "ec2.amazonaws.com"}
PATH = policies.iam_path(STACK)
ROLE = f"arn:aws:iam::{ACCOUNT}:role{PATH}alice-1a2b3c4"
BAKED = {"aws:ResourceTag/CreatedBy": "EC2 Image Builder"}
READ_ONLY = "arn:aws:iam::aws:policy/ReadOnlyAccess"


def ec2(resource: str) -> str:
    return f"arn:aws:ec2:{HERE}:{resource}"


ROSTER = policies.roster_arn(FACTS, STACK, "alice")
KEY = f"arn:aws:kms:{HERE}:key/0a1b"
LOGS = f"arn:aws:logs:{HERE}:log-group:{policies.log_group_name(STACK)}"
BAKE_LOG = f"arn:aws:logs:{HERE}:log-group:{policies.bake_log_group_name(STACK)}"
BUCKET = f"arn:aws:s3:::{policies.bucket_name(FACTS, STACK)}"
BUNDLE = f"{BUCKET}/{policies.bundle_key('0a1b')}"
TOPIC = f"arn:aws:sns:{HERE}:{policies.topic_name(STACK)}"
POLICY = {"iam:PolicyARN": f"arn:aws:iam::{ACCOUNT}:policy{PATH}machines-1a2b"}

ALLOWED = [
    Request("ec2:RunInstances", ec2("instance/*"), TAGGED),
    Request("ec2:RunInstances", f"arn:aws:ec2:{REGION}::image/ami-1"),
    Request("ec2:RunInstances", ec2("subnet/subnet-1"), OURS),
    Request("ec2:CreateFlowLogs", ec2("vpc-flow-log/*"), TAGGED),
    Request("ec2:CreateFlowLogs", ec2("vpc/vpc-1"), OURS),
    Request("ec2:DeleteFlowLogs", ec2("vpc-flow-log/fl-1"), OURS),
    Request("iam:PassRole", ROLE, {"iam:PassedToService": "vpc-flow-logs.amazonaws.com"}),
    Request("ec2:TerminateInstances", ec2("instance/i-1"), OURS),
    Request("ec2:DeleteVolume", ec2("volume/vol-1"), OURS),
    Request("ec2:DeleteSnapshot", f"arn:aws:ec2:{REGION}::snapshot/snap-1", BAKED),
    Request("ec2:CreateTags", ec2("vpc/vpc-1"), {**TAGGED, "ec2:CreateAction": "CreateVpc"}),
    Request("ec2:CancelSpotInstanceRequests", ec2("spot-instances-request/sir-1")),
    Request("iam:CreateRole", ROLE),
    Request("iam:PassRole", ROLE, TO_EC2),
    Request("iam:AttachRolePolicy", ROLE, POLICY),
    Request("kms:CreateKey", "*", TAGGED),
    Request("kms:DescribeKey", KEY),
    Request("kms:ScheduleKeyDeletion", KEY, OURS),
    Request("kms:CreateGrant", KEY, {**OURS, "kms:GrantIsForAWSResource": "true"}),
    Request("kms:CreateAlias", f"arn:aws:kms:{HERE}:alias/secondlock-{STACK}"),
    Request("ssm:PutParameter", ROSTER),
    Request("logs:GetLogEvents", f"{LOGS}:log-stream:alice/status"),
    Request("logs:CreateLogGroup", LOGS),
    Request("logs:CreateLogGroup", BAKE_LOG),
    Request("logs:PutRetentionPolicy", BAKE_LOG),
    Request("logs:AssociateKmsKey", BAKE_LOG),
    Request("sns:CreateTopic", TOPIC),
    Request("ec2:CreateVpcEndpoint", ec2("vpc-endpoint/*"), TAGGED),
    Request("ec2:CreateVpcEndpoint", ec2("route-table/rtb-1"), OURS),
    Request("ec2:DeleteVpcEndpoints", ec2("vpc-endpoint/vpce-1"), OURS),
    *(Request(f"s3:{action}", BUCKET) for action in ("CreateBucket", "PutBucketPolicy")),
    *(Request(f"s3:{action}", BUNDLE) for action in ("PutObject", "GetObject", "DeleteObject")),
    Request("cloudwatch:PutMetricAlarm", f"arn:aws:cloudwatch:{HERE}:alarm:secondlock-gpu-clock"),
    Request("imagebuilder:CreateImage", f"arn:aws:imagebuilder:{HERE}:image/gpu-1/1.0.0/1", TAGGED),
]
DENIED = [
    Request("ec2:RunInstances", ec2("instance/*")),
    Request("ec2:RunInstances", ec2("subnet/subnet-1")),
    Request("ec2:TerminateInstances", ec2("instance/i-1")),
    Request("ec2:ModifyInstanceAttribute", ec2("instance/i-1")),
    Request("ec2:DeleteFlowLogs", ec2("vpc-flow-log/fl-1")),
    Request("ec2:CreateFlowLogs", ec2("vpc/vpc-1")),
    Request("ec2:AuthorizeSecurityGroupIngress", ec2("security-group/sg-1")),
    Request("ec2:CreateTags", ec2("instance/i-1"), TAGGED),
    Request("ec2:DeleteSnapshot", f"arn:aws:ec2:{REGION}::snapshot/snap-1"),
    Request("iam:CreateRole", f"arn:aws:iam::{ACCOUNT}:role/another"),
    Request("iam:PutRolePolicy", f"arn:aws:iam::{ACCOUNT}:role/service-role/another"),
    Request("iam:PassRole", ROLE, {"iam:PassedToService": "lambda.amazonaws.com"}),
    Request("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/another", TO_EC2),
    Request("iam:AttachRolePolicy", ROLE, {"iam:PolicyARN": READ_ONLY}),
    Request("iam:CreateUser", f"arn:aws:iam::{ACCOUNT}:user/mallory"),
    Request("iam:CreateServiceLinkedRole", "*", {"iam:AWSServiceName": "ecs.amazonaws.com"}),
    Request("kms:CreateKey", "*"),
    Request("kms:Decrypt", KEY),
    Request("kms:ScheduleKeyDeletion", KEY),
    Request("kms:CreateGrant", KEY, OURS),
    Request("ssm:GetParameter", f"arn:aws:ssm:{HERE}:parameter/another/secret"),
    Request("ssm:StartSession", ec2("instance/i-1"), OURS),
    Request("ssm:SendCommand", ec2("instance/i-1"), OURS),
    Request("logs:GetLogEvents", f"arn:aws:logs:{HERE}:log-group:/aws/lambda/x:log-stream:y"),
    Request("logs:DeleteLogGroup", f"arn:aws:logs:{HERE}:log-group:/aws/imagebuilder/another"),
    Request("sns:Publish", TOPIC),
    Request("ec2:CreateVpcEndpoint", ec2("vpc/vpc-1")),
    *(Request(f"s3:{action}", "arn:aws:s3:::bucket/key") for action in ("GetObject", "PutObject")),
    Request("s3:DeleteBucket", "arn:aws:s3:::bucket"),
    Request("s3:PutAccountPublicAccessBlock", "*"),
    Request("imagebuilder:DeleteImage", f"arn:aws:imagebuilder:{HERE}:image/other/1.0.0/1"),
]


@pytest.mark.parametrize("request_", ALLOWED, ids=lambda one: one.action)
def test_what_a_stack_needs_is_allowed(request_: Request) -> None:
    assert allows(list(documents().values()), request_)


@pytest.mark.parametrize("request_", DENIED, ids=lambda one: one.action)
def test_nothing_else_is(request_: Request) -> None:
    assert not allows(list(documents().values()), request_)


def test_another_region_or_account_is_out_of_reach() -> None:
    narrow = list(documents("aws", REGION, ACCOUNT).values())
    there = f"arn:aws:ec2:us-east-1:{ACCOUNT}:instance/i-1"
    assert allows(narrow, Request("ec2:TerminateInstances", ec2("instance/i-1"), OURS))
    assert not allows(narrow, Request("ec2:TerminateInstances", there, OURS))


def _regions() -> list[tuple[str, str]]:
    session = botocore.session.get_session()
    return [
        (partition, region)
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("ec2", partition_name=partition)
    ]


def test_iam_takes_them_in_every_region_of_every_partition() -> None:
    lengths = {
        (partition, region, part): len(json.dumps(document, separators=(",", ":")))
        for partition, region in [*_regions(), ("aws-us-gov", "*")]
        for part, document in documents(partition, region, ACCOUNT).items()
    }
    assert {place: length for place, length in lengths.items() if length > LONGEST} == {}
    assert {partition for partition, _, _ in lengths} >= {"aws", "aws-cn", "aws-us-gov"}


def test_docs_have_these_policies(capsys: pytest.CaptureFixture[str]) -> None:
    for part in documents():
        assert main(["admin-policy", part]) == 0
        mend = f"./secondlock admin-policy {part} > docs/reference/aws-admin-policy-{part}.json"
        text = (REFERENCE / f"aws-admin-policy-{part}.json").read_text()
        assert capsys.readouterr().out == text, mend


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--partition", "nonsense"),
        ("--region", 'a"b'),
        ("--account", "12"),
        ("--account", "1" * 13),
    ],
)
def test_no_policy_for_a_place_that_is_none(
    capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    assert main(["admin-policy", "machines", option, value]) == 2
    said = capsys.readouterr()
    assert (said.out, len(said.err.splitlines())) == ("", 1)
    assert f"Invalid value for {option}: expected " in said.err


def test_every_region_that_botocore_knows_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    for partition, region in _regions():
        words = ["--partition", partition, "--region", region, "--account", ACCOUNT]
        assert main(["admin-policy", "machines", *words]) == 0
    capsys.readouterr()


def test_no_arn_is_of_another_partition() -> None:
    for document in documents("aws-cn", "cn-north-1", ACCOUNT).values():
        for statement in document["Statement"]:
            assert all(arn == "*" or arn.startswith("arn:aws-cn:") for arn in statement["Resource"])
