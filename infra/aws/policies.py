"""Who may do what: every IAM, KMS, S3 and SNS policy of a stack, as plain documents.

No Pulumi here, so that a test can evaluate what is granted and what is not. The names that the
documents bind to are made here too: a grant and its resource cannot drift apart.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from infra.aws.iam import Document, allow, document, statement
from infra.aws.tags import RESEARCHER_TAG, STACK_TAG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.aws.facts import Facts

MACHINE_TAG = "secondlock:machine"
"""On a machine's role: it says which roster and which log streams the role is for."""

SHARED_TAG = "secondlock:shared-machine"
"""On a person: the machine that they share; whose own machine they reach says RESEARCHER_TAG."""

_OWN_MACHINE = f"${{aws:PrincipalTag/{MACHINE_TAG}}}"
_OWN_RESEARCHER = f"${{aws:PrincipalTag/{RESEARCHER_TAG}}}"
_OWN_SHARE = f"${{aws:PrincipalTag/{SHARED_TAG}}}"
# What the key does for a service that holds data encrypted with it.
_USE = ("kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*")


def iam_path(stack: str) -> str:
    """Where a stack's roles, profiles and policies are."""
    return f"/secondlock/{stack}/"


def roster_name(stack: str, machine: str) -> str:
    """The SSM parameter that holds a machine's roster."""
    return f"/secondlock/{stack}/roster/{machine}"


def bucket_name(facts: Facts, stack: str) -> str:
    """The S3 bucket of the stack's bundle: one name for all accounts of a partition.

    At most 63 of a-z, 0-9 and - (Amazon S3 User Guide, "Bucket naming rules").
    """
    whose = f"{facts.partition} {facts.account_id} {facts.region} {stack}"
    readable = stack.replace("_", "-").strip("-")[:30].strip("-")
    return f"secondlock-{readable}-{hashlib.sha256(whose.encode()).hexdigest()[:16]}"


def bundle_key(digest: str) -> str:
    """The object's name: what it is, so that it never changes."""
    return f"bundle/{digest}"


def bundle_place(facts: Facts, stack: str) -> str:
    """The URL of the folder that has the bundle (Amazon S3 User Guide, "Virtual hosting")."""
    host = f"{bucket_name(facts, stack)}.s3.{facts.region}.{facts.dns_suffix}"
    return f"https://{host}/{bundle_key('')}".rstrip("/")


def log_group_name(stack: str) -> str:
    """The log group of all machines; a stream is `<machine>/auth`, `/status` or `/sync`."""
    return f"/secondlock/{stack}"


def bake_log_group_name(stack: str) -> str:
    """The log group of the image's making.

    Image Builder's service-linked role writes nowhere but here (AWSServiceRoleForImageBuilder; EC2
    Image Builder API reference, CreateImage, "loggingConfiguration").
    """
    return f"/aws/imagebuilder/secondlock-{stack}"


def flow_log_group_name(stack: str) -> str:
    """The log group of the VPC's flow logs."""
    return f"/secondlock/{stack}/flows"


def audit_log_group_name(stack: str) -> str:
    """The log group of who did what; a stream is a machine's."""
    return f"/secondlock/{stack}/audit"


def topic_name(stack: str) -> str:
    """The SNS topic of the stack's alarms."""
    return f"secondlock-{stack}-alarms"


def roster_arn(facts: Facts, stack: str, machine: str) -> str:
    """The ARN of a machine's roster: also the encryption context that SSM gives to KMS."""
    return _arn(facts, "ssm", f"parameter{roster_name(stack, machine)}")


def assumed_by_ec2(facts: Facts) -> Document:
    """Trust: instances may take the role, nobody else."""
    service = {"Service": f"ec2.{facts.dns_suffix}"}
    return document(statement("Allow", "Instances", "sts:AssumeRole", principal=service))


def assumed_by_flow_logs(facts: Facts) -> Document:
    """Trust: the flow logs of this account and region alone may take the role."""
    return document(
        statement(
            "Allow",
            "FlowLogs",
            "sts:AssumeRole",
            # The same name in every partition.
            principal={"Service": "vpc-flow-logs.amazonaws.com"},
            StringEquals={"aws:SourceAccount": facts.account_id},
            ArnLike={"aws:SourceArn": _arn(facts, "ec2", "vpc-flow-log/*")},
        )
    )


def flow_policy(facts: Facts, stack: str) -> Document:
    """What the VPC's flow logs may do: write to their own log group."""
    group = _arn(facts, "logs", f"log-group:{flow_log_group_name(stack)}")
    return document(
        allow(
            "OwnLog",
            ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
            [group, f"{group}:*"],
        ),
        # A list of groups is of all or of none (Service Authorization Reference).
        allow("FindLog", ["logs:DescribeLogGroups"], "*"),
    )


def machine_policy(facts: Facts, stack: str, key_arn: str) -> Document:
    """What the machines of a stack may do, each for what its role's tag names alone.

    One policy for all of them: a principal without the tag matches none of these resources. SSM
    gives KMS the parameter's ARN as encryption context (AWS KMS Developer Guide, "How AWS Systems
    Manager Parameter Store uses AWS KMS"). The bundle is the same for all of them.
    """
    own_roster = roster_arn(facts, stack, _OWN_MACHINE)
    # A long one is in parts (infra/aws/roster.py).
    with_parts = [own_roster, f"{own_roster}/{16 * '?'}"]
    streams = (
        f"log-group:{log_group_name(stack)}:log-stream:{_OWN_MACHINE}/*",
        f"log-group:{audit_log_group_name(stack)}:log-stream:{_OWN_MACHINE}",
    )
    return document(
        allow("OwnRoster", ["ssm:GetParameter"], with_parts),
        allow(
            "Bundle",
            ["s3:GetObject"],
            f"{_bucket_arn(facts, stack)}/{bundle_key('*')}",
            StringEquals={"aws:ResourceAccount": facts.account_id},
        ),
        allow(
            "DecryptOwnRoster",
            ["kms:Decrypt"],
            key_arn,
            StringLike={"kms:EncryptionContext:PARAMETER_ARN": with_parts},
            StringEquals={"kms:ViaService": _service(facts, "ssm")},
        ),
        allow(
            "OwnLogStreams",
            ["logs:CreateLogStream", "logs:PutLogEvents"],
            [_arn(facts, "logs", each) for each in streams],
        ),
        _session_manager(),
    )


def researcher_policy(facts: Facts, stack: str) -> Document:
    """SSH over Session Manager, to the instance that bears a name which the caller is tagged with.

    The two tags have a statement each: where a caller lacks one, IAM may take a statement that
    names it for invalid as a whole (IAM User Guide, "Variables and tags").

    The document check stands in every statement that allows StartSession, as Session Manager
    wants it; without it a call that names no document opens a root shell (Systems Manager User
    Guide, "Start a session with a document").
    """
    instances = _arn(facts, "ec2", "instance/*")
    own, shared = (
        {f"ssm:resourceTag/{RESEARCHER_TAG}": name} for name in (_OWN_RESEARCHER, _OWN_SHARE)
    )
    return document(
        _start("SshToOwnMachine", instances, stack, own),
        _start("SshToSharedMachine", instances, stack, shared),
        _start("SshDocument", _aws_document(facts, "AWS-StartSSHSession")),
        *_own_sessions(facts),
    )


def admin_policy(facts: Facts, stack: str) -> Document:
    """Break-glass: a root shell on the machines of this stack, by the account's own document."""
    shell = _arn(facts, "ssm", "document/SSM-SessionManagerRunShell")
    return document(
        _start("ShellOnMachines", _arn(facts, "ec2", "instance/*"), stack),
        _start("ShellDocument", shell),
        *_own_sessions(facts),
    )


def key_policy(facts: Facts, stack: str) -> Document:
    """The stack's key: for the account's IAM, its volumes, its log groups and its alarms alone."""
    groups = (
        log_group_name(stack),
        bake_log_group_name(stack),
        flow_log_group_name(stack),
        audit_log_group_name(stack),
    )
    by_volumes = {
        "kms:CallerAccount": facts.account_id,
        "kms:ViaService": _service(facts, "ec2"),
    }
    everybody = {"AWS": "*"}
    return document(
        statement(
            "Allow",
            "AccountsOwnPolicies",
            "kms:*",
            "*",
            principal={"AWS": f"arn:{facts.partition}:iam::{facts.account_id}:root"},
        ),
        # As the key policy of EBS's own key: also EC2's roles for spot and Image Builder need it.
        _key("Volumes", everybody, _USE, StringEquals=by_volumes),
        _key(
            "VolumesOfInstances",
            everybody,
            ["kms:CreateGrant"],
            StringEquals=by_volumes,
            Bool={"kms:GrantIsForAWSResource": "true"},
        ),
        _key(
            "LogGroups",
            {"Service": f"logs.{facts.region}.{facts.dns_suffix}"},
            _USE,
            ArnEquals={
                "kms:EncryptionContext:aws:logs:arn": [
                    _arn(facts, "logs", f"log-group:{group}") for group in groups
                ]
            },
        ),
        _key(
            "Alarms",
            {"Service": "cloudwatch.amazonaws.com"},  # the same name in every partition
            ["kms:Decrypt", "kms:GenerateDataKey*"],
            StringEquals={"kms:EncryptionContext:aws:sns:topicArn": _topic_arn(facts, stack)},
        ),
    )


def topic_policy(facts: Facts, stack: str) -> Document:
    """Alarms of this account and region may be published, nothing else."""
    return document(
        statement(
            "Allow",
            "Alarms",
            "sns:Publish",
            _topic_arn(facts, stack),
            principal={"Service": "cloudwatch.amazonaws.com"},
            StringEquals={"aws:SourceAccount": facts.account_id},
            ArnLike={"aws:SourceArn": _arn(facts, "cloudwatch", "alarm:*")},
        )
    )


def bucket_policy(facts: Facts, stack: str) -> Document:
    """Nobody by plain HTTP. It allows nothing: who reads is said by the reader's own policy."""
    bucket = _bucket_arn(facts, stack)
    return document(
        statement(
            "Deny",
            "TlsAlone",
            "s3:*",
            [bucket, f"{bucket}/*"],
            principal={"AWS": "*"},
            Bool={"aws:SecureTransport": "false"},
        )
    )


def bake_policy(facts: Facts, stack: str) -> Document:
    """What the instance that makes the image may do.

    Narrower than AWS's EC2InstanceProfileForImageBuilder and AmazonSSMManagedInstanceCore, which
    let it read every parameter of the account.
    """
    builder = f"arn:{facts.partition}:imagebuilder:{facts.region}:{facts.account_id}"
    return document(
        allow("Components", ["imagebuilder:GetComponent"], f"{builder}:component/*"),
        allow(
            "BuildersPrograms",
            ["s3:GetObject"],
            f"arn:{facts.partition}:s3:::ec2imagebuilder*",
        ),
        allow(
            "OwnLog",
            ["logs:CreateLogStream", "logs:PutLogEvents"],
            _arn(facts, "logs", f"log-group:{bake_log_group_name(stack)}:*"),
        ),
        _session_manager(),
        allow(
            "RunCommand",
            [
                "ec2messages:AcknowledgeMessage",
                "ec2messages:DeleteMessage",
                "ec2messages:FailMessage",
                "ec2messages:GetEndpoint",
                "ec2messages:GetMessages",
                "ec2messages:SendReply",
            ],
            "*",
        ),
    )


def _session_manager() -> Document:
    """The agent's own channels; none of these actions knows a resource worth naming."""
    return allow(
        "SessionManager",
        [
            "ssm:UpdateInstanceInformation",
            "ssmmessages:CreateControlChannel",
            "ssmmessages:CreateDataChannel",
            "ssmmessages:OpenControlChannel",
            "ssmmessages:OpenDataChannel",
        ],
        "*",
    )


def _start(
    sid: str, resource: str, stack: str = "", tags: dict[str, str] | None = None
) -> Document:
    conditions: dict[str, Any] = {"BoolIfExists": {"ssm:SessionDocumentAccessCheck": "true"}}
    if stack:
        conditions["StringEquals"] = {f"ssm:resourceTag/{STACK_TAG}": stack, **(tags or {})}
    return allow(sid, ["ssm:StartSession"], resource, **conditions)


def _own_sessions(facts: Facts) -> list[Document]:
    """To go on with and to end what one has started oneself.

    By Session Manager's own tag, which also fits callers that have assumed a role: their
    sessions' ids do not begin with their aws:userid. The channel has no such tag.
    """
    sessions = _arn(facts, "ssm", "session/")
    return [
        allow(
            "OwnSessions",
            ["ssm:ResumeSession", "ssm:TerminateSession"],
            f"{sessions}*",
            StringLike={"ssm:resourceTag/aws:ssmmessages:session-id": "${aws:userid}"},
        ),
        allow(
            "OwnChannels",
            ["ssmmessages:OpenDataChannel"],
            [f"{sessions}${{aws:userid}}-*", f"{sessions}${{aws:username}}-*"],
        ),
    ]


def _key(
    sid: str, principal: Document, actions: Sequence[str], **conditions: dict[str, Any]
) -> Document:
    """In a key's policy "*" is that key."""
    return {**allow(sid, actions, "*", **conditions), "Principal": principal}


def _arn(facts: Facts, service: str, resource: str) -> str:
    return f"arn:{facts.partition}:{service}:{facts.region}:{facts.account_id}:{resource}"


def _bucket_arn(facts: Facts, stack: str) -> str:
    """Names of buckets are a partition's: no region, no account."""
    return f"arn:{facts.partition}:s3:::{bucket_name(facts, stack)}"


def _aws_document(facts: Facts, name: str) -> str:
    """A Systems Manager document that AWS owns: its ARN has no account."""
    return f"arn:{facts.partition}:ssm:{facts.region}::document/{name}"


def _topic_arn(facts: Facts, stack: str) -> str:
    return _arn(facts, "sns", topic_name(stack))


def _service(facts: Facts, name: str) -> str:
    """A service as kms:ViaService names it."""
    return f"{name}.{facts.region}.{facts.dns_suffix}"
