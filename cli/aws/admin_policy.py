"""`secondlock admin-policy`: what whoever runs `pulumi up` on aws has to be allowed, and no more.

Service Authorization Reference, for which action knows which resource and condition. A managed
policy holds 6,144 characters (IAM and STS quotas) in every partition, whatever its names' length,
so this is three: machines, who may do what on them, and what watches and makes them.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Annotated, Any

import typer

from cli.options import JsonOption, echo_json
from infra.aws.iam import Document, allow, document
from infra.aws.tags import STACK_TAG

LONGEST = 6144
"""Characters of a managed policy, without white space."""

_PATH = "secondlock"
_REQUEST_TAG = f"aws:RequestTag/{STACK_TAG}"
# A pattern that fits every value asks for no more than that the tag is there.
_OURS = {"StringLike": {f"aws:ResourceTag/{STACK_TAG}": "*"}}
_MADE_OURS = {"StringLike": {_REQUEST_TAG: "*"}}

_REGION = "[a-z]{2,5}(-[a-z]+)+-[0-9]{1,2}"  # the form of all that botocore knows
_ACCOUNT = "[0-9]{12}"

_EC2 = ["ec2.amazonaws.com", "ec2.amazonaws.com.cn"]
"""EC2 as who takes a role, by its partition's name."""


class Part(str, Enum):
    """Which of the policies."""

    MACHINES = "machines"
    ACCESS = "access"
    SERVICES = "services"


PartArgument = Annotated[
    Part, typer.Argument(metavar="|".join(Part), help="Which of the three.", show_default=False)
]
PartitionOption = Annotated[
    str, typer.Option("--partition", help="aws, aws-cn, aws-us-gov ...: the first part of ARNs.")
]
RegionOption = Annotated[str, typer.Option("--region", help="Only this region.")]
AccountOption = Annotated[str, typer.Option("--account", help="Only this account.")]


def admin_policy(
    part: PartArgument,
    partition: PartitionOption = "aws",
    region: RegionOption = "*",
    account: AccountOption = "*",
    as_json: JsonOption = False,
) -> None:
    """Print an IAM policy that `pulumi up` and `destroy` on aws need: one of three.

    All are needed; one would be too long. docs/how-to/machines-in-ec2.md shows how to attach
    them. It is JSON with and without --json, and AWS is not asked.
    """
    del as_json  # for programs that give it to every command
    _check_partition(partition)
    _check("--region", region, _REGION, "a region, such as eu-central-1, or *")
    _check("--account", account, _ACCOUNT, "an account's 12 digits, or *")
    echo_json(documents(partition, region, account)[part.value])


def _check_partition(partition: str) -> None:
    """Raises typer.BadParameter for one that botocore does not know."""
    import botocore.session  # takes a while to load

    known = botocore.session.get_session().get_available_partitions()
    if partition not in known:
        expected = f"expected {', '.join(known[:-1])} or {known[-1]}"
        raise typer.BadParameter(expected, param_hint="--partition")


def _check(option: str, value: str, pattern: str, expected: str) -> None:
    """Raises typer.BadParameter. What is no ARN would be told only by IAM, or allow nothing."""
    if value != "*" and not re.fullmatch(pattern, value):
        raise typer.BadParameter(f"expected {expected}", param_hint=option)


def documents(
    partition: str = "aws", region: str = "*", account: str = "*"
) -> dict[str, dict[str, Any]]:
    """The policies by their part's name."""
    place = _Place(partition, region, account)
    return {
        Part.MACHINES.value: document(*_machines(place)),
        Part.ACCESS.value: document(*_iam(place), *_kms(place)),
        Part.SERVICES.value: document(
            _count(), *_watch(place), *_bundles(place), *_image_builder(place)
        ),
    }


class _Place:
    """Where ARNs lie."""

    def __init__(self, partition: str, region: str, account: str) -> None:
        self.partition, self.region, self.account = partition, region, account

    def arn(self, service: str, *resources: str) -> list[str]:
        where = f"arn:{self.partition}:{service}:{self.region}:{self.account}"
        return [f"{where}:{resource}" for resource in resources]

    def iam(self, *kinds: str) -> list[str]:
        return [f"arn:{self.partition}:iam::{self.account}:{kind}/{_PATH}/*" for kind in kinds]


def _ec2(*actions: str) -> list[str]:
    return [f"ec2:{action}" for action in actions]


def _machines(place: _Place) -> list[Document]:
    made = ["elastic-ip", "instance", "internet-gateway", "natgateway", "route-table"]
    made += ["security-group", "snapshot", "subnet", "volume", "vpc", "vpc-endpoint"]
    made += ["vpc-flow-log"]
    image = f"arn:{place.partition}:ec2:{place.region}::image/*"
    snapshot = f"arn:{place.partition}:ec2:{place.region}::snapshot/*"
    spot = "spot-instances-request/*"
    return [
        allow("Look", ["ec2:Describe*", "ec2:GetConsoleOutput"], ["*"]),
        allow(
            "MakeTagged",
            _ec2("AllocateAddress", "CreateInternetGateway", "CreateNatGateway")
            + _ec2("CreateRouteTable", "CreateSecurityGroup", "CreateSnapshot", "CreateSubnet")
            + _ec2("CreateFlowLogs", "CreateVolume", "CreateVpc", "CreateVpcEndpoint")
            + _ec2("RunInstances"),
            [*place.arn("ec2", *(f"{kind}/*" for kind in made)), snapshot],
            **_MADE_OURS,
        ),
        allow(
            "MakeWithinOurs",
            _ec2("CreateNatGateway", "CreateRouteTable", "CreateSecurityGroup", "CreateSnapshot")
            + _ec2("CreateFlowLogs", "CreateSubnet", "CreateVpcEndpoint", "RunInstances"),
            place.arn("ec2", "elastic-ip/*", "route-table/*", "security-group/*", "subnet/*")
            + place.arn("ec2", "volume/*", "vpc/*"),
            **_OURS,
        ),
        allow(
            "LaunchFromAnyImage",
            ["ec2:RunInstances"],
            [image, snapshot, *place.arn("ec2", "network-interface/*", spot, "volume/*")],
        ),
        # Without tags too; a persistent one that outlives its machine would start another.
        allow("EndSpot", ["ec2:CancelSpotInstanceRequests"], place.arn("ec2", spot)),
        allow("ChangeOurs", _CHANGES, place.arn("ec2", "*"), **_OURS),
        allow(
            "AddressesHaveInterfaces",
            _ec2("AssociateAddress", "DisassociateAddress"),
            place.arn("ec2", "network-interface/*"),
        ),
        allow(
            "RemoveBakedImages",
            _ec2("DeregisterImage", "DeleteSnapshot"),
            [image, snapshot],
            **_OURS,
        ),
        allow(
            # Image Builder's own mark: whether it copies ours to the snapshots is not documented.
            "RemoveBakedSnapshots",
            ["ec2:DeleteSnapshot"],
            [snapshot],
            StringEquals={"aws:ResourceTag/CreatedBy": "EC2 Image Builder"},
        ),
        allow(
            "TagWhatIsMade",
            ["ec2:CreateTags"],
            [*place.arn("ec2", "*"), snapshot],
            StringLike={_REQUEST_TAG: "*", "ec2:CreateAction": "*"},
        ),
        allow(
            # Made by EC2 itself, without tags: a VPC's default group, an instance's root disk.
            "TagWhatEc2Made",
            ["ec2:CreateTags"],
            place.arn("ec2", "security-group/*", "volume/*"),
            **_MADE_OURS,
        ),
    ]


_CHANGES = [
    *_ec2("CreateTags", "DeleteTags"),
    *_ec2("AssociateAddress", "DisassociateAddress", "ReleaseAddress"),
    *_ec2("AssociateRouteTable", "DisassociateRouteTable", "ReplaceRouteTableAssociation"),
    *_ec2("AttachInternetGateway", "DetachInternetGateway", "DeleteInternetGateway"),
    *_ec2("AttachVolume", "DetachVolume", "ModifyVolume", "DeleteVolume", "DeleteSnapshot"),
    *_ec2("AuthorizeSecurityGroupEgress", "AuthorizeSecurityGroupIngress"),
    *_ec2("RevokeSecurityGroupEgress", "RevokeSecurityGroupIngress", "DeleteSecurityGroup"),
    *_ec2("UpdateSecurityGroupRuleDescriptionsEgress"),
    *_ec2("UpdateSecurityGroupRuleDescriptionsIngress"),
    *_ec2("ModifyInstanceAttribute", "ModifyInstanceMetadataOptions"),
    *_ec2("RebootInstances", "StartInstances", "StopInstances", "TerminateInstances"),
    *_ec2("AssociateIamInstanceProfile", "ReplaceIamInstanceProfileAssociation"),
    *_ec2("CreateRoute", "DeleteRoute", "ReplaceRoute", "DeleteRouteTable"),
    *_ec2("DeleteFlowLogs", "DeleteNatGateway", "DeleteSubnet", "DeleteVpc", "DeleteVpcEndpoints"),
    *_ec2("ModifySubnetAttribute", "ModifyVpcAttribute", "ModifyVpcEndpoint"),
]


def _iam(place: _Place) -> list[Document]:
    roles = [f"iam:{verb}Role" for verb in ("Create", "Delete", "Get", "Tag", "Untag", "Update")]
    roles += [f"iam:{verb}RolePolicy" for verb in ("Delete", "Get", "Put")]
    roles += ["iam:UpdateAssumeRolePolicy", "iam:ListRolePolicies", "iam:ListRoleTags"]
    roles += ["iam:ListAttachedRolePolicies", "iam:ListInstanceProfilesForRole"]
    profiles = ["iam:*InstanceProfile", "iam:ListInstanceProfileTags"]
    policies = [f"iam:{verb}Policy" for verb in ("Create", "Delete", "Get", "Tag", "Untag")]
    policies += ["iam:*PolicyVersion", "iam:ListPolicy*", "iam:ListEntitiesForPolicy"]
    return [
        allow("RolesOfOurs", roles + profiles, place.iam("role", "instance-profile")),
        allow(
            "AttachOnlyOurs",
            ["iam:AttachRolePolicy", "iam:DetachRolePolicy"],
            place.iam("role"),
            ArnLike={"iam:PolicyARN": place.iam("policy")},
        ),
        allow("PoliciesOfOurs", policies, place.iam("policy")),
        allow(
            "PassOnlyToMachinesAndFlowLogs",
            ["iam:PassRole"],
            place.iam("role"),
            StringEquals={"iam:PassedToService": [*_EC2, "vpc-flow-logs.amazonaws.com"]},
        ),
        allow(
            "ServiceLinkedRoles",
            ["iam:CreateServiceLinkedRole"],
            ["*"],
            StringEquals={
                "iam:AWSServiceName": ["imagebuilder.amazonaws.com", "spot.amazonaws.com"]
            },
        ),
    ]


def _kms(place: _Place) -> list[Document]:
    keys = place.arn("kms", "key/*")
    aliases = place.arn("kms", f"alias/{_PATH}-*")
    alias = ["kms:CreateAlias", "kms:DeleteAlias", "kms:UpdateAlias"]
    look = ["kms:DescribeKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus"]
    look += ["kms:ListResourceTags"]
    return [
        allow("MakeKeys", ["kms:CreateKey", "kms:TagResource"], ["*"], **_MADE_OURS),
        allow("NameKeys", alias, aliases),
        # KMS may take minutes to see a new key's tags; the provider reads it at once.
        allow("LookAtKeys", look, keys),
        allow(
            "KeysOfOurs",
            [*alias, "kms:TagResource", "kms:UntagResource", "kms:PutKeyPolicy"]
            + ["kms:EnableKeyRotation", "kms:UpdateKeyDescription", "kms:ScheduleKeyDeletion"]
            + ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*"],
            keys,
            **_OURS,
        ),
        allow(
            "KeysForDisks",
            ["kms:CreateGrant"],
            keys,
            **_OURS,
            Bool={"kms:GrantIsForAWSResource": "true"},
        ),
        allow(
            "Rosters",
            ["ssm:PutParameter", "ssm:GetParameter*", "ssm:DeleteParameter*"]
            + ["ssm:AddTagsToResource", "ssm:RemoveTagsFromResource", "ssm:ListTagsForResource"],
            place.arn("ssm", f"parameter/{_PATH}/*"),
        ),
    ]


def _count() -> Document:
    """For `doctor`: quotas, and what is there already."""
    return allow(
        "Count",
        ["iam:GetAccountSummary", "iam:ListRoles", "kms:ListAliases"]
        + ["ssm:DescribeParameters", "logs:Describe*", "servicequotas:Get*"]
        + ["servicequotas:RequestServiceQuotaIncrease"],
        ["*"],
    )


def _watch(place: _Place) -> list[Document]:
    tags = ["TagResource", "UntagResource", "ListTagsForResource"]
    logs = ["CreateLog*", "DeleteLog*", "PutRetentionPolicy", "DeleteRetentionPolicy"]
    logs += ["AssociateKmsKey", "DisassociateKmsKey", "PutMetricFilter", "DeleteMetricFilter"]
    logs += ["GetLogEvents", "FilterLogEvents"]
    topics = ["CreateTopic", "DeleteTopic", "GetTopicAttributes", "SetTopicAttributes", "Subscribe"]
    topics += ["Unsubscribe", "*SubscriptionAttributes", "ListSubscriptionsByTopic"]
    alarms = ["PutMetricAlarm", "DeleteAlarms", "DescribeAlarms"]
    return [
        allow(
            "Logs",
            [f"logs:{action}" for action in logs + tags],
            # The bake's log is where Image Builder may write.
            place.arn("logs", f"log-group:/{_PATH}/*", f"log-group:/aws/imagebuilder/{_PATH}-*"),
        ),
        allow(
            "Alarms",
            [f"cloudwatch:{action}" for action in alarms + tags],
            place.arn("cloudwatch", f"alarm:{_PATH}-*"),
        ),
        allow(
            "Topics",
            [f"sns:{action}" for action in topics + tags],
            place.arn("sns", f"{_PATH}-*"),
        ),
    ]


def _bundles(place: _Place) -> list[Document]:
    """A bucket's name tells whose it is: S3's actions on buckets know no tags."""
    verbs = ["CreateBucket", "DeleteBucket*", "DeleteObject*", "Get*", "List*", "Put*"]
    verbs += ["TagResource", "UntagResource"]
    buckets = f"arn:{place.partition}:s3:::{_PATH}-*"
    return [allow("Bundles", [f"s3:{verb}" for verb in verbs], [buckets])]


def _image_builder(place: _Place) -> list[Document]:
    """Its resources are named by Pulumi after the stack, so tags tell whose they are."""
    kinds = ["component", "image", "image-recipe"]
    kinds += ["infrastructure-configuration", "distribution-configuration"]
    everything = place.arn("imagebuilder", *(f"{kind}/*" for kind in kinds))
    make = [f"imagebuilder:{action}" for action in ("Create*", "TagResource")]
    change = ["Delete*", "Get*", "Update*", "ListImageBuildVersions", "CancelImageCreation"]
    change += ["TagResource", "UntagResource", "ListTagsForResource"]
    return [
        allow("MakeImages", make, everything, **_MADE_OURS),
        # A recipe of ours is made of components of ours, an image of a recipe of ours.
        allow("MakeOfOurs", ["imagebuilder:Create*"], everything, **_OURS),
        allow("Images", [f"imagebuilder:{action}" for action in change], everything, **_OURS),
    ]
