"""What an admin asks of AWS: what their policies have to allow, and what they must not."""

from __future__ import annotations

from infra.aws import policies
from infra.aws.facts import Facts
from tests.support.iam import Request

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
"""For stacks, each as it is asked."""

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
