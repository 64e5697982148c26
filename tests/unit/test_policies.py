"""Least privilege, by evaluating the policies as they are rendered: moto asks nobody's leave."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.aws.admin_policy import documents
from infra.aws import policies
from infra.aws.facts import Facts
from tests.support import cfn
from tests.support.iam import (
    Document,
    Request,
    UnknownElementError,
    allows,
    leaving_the_rest,
    resource_allows,
)

EUROPE = Facts("aws", "amazonaws.com", "111122223333", "eu-west-1")
CHINA = Facts("aws-cn", "amazonaws.com.cn", "444455556666", "cn-north-1")
STACK = "trial"


@pytest.fixture(params=[EUROPE, CHINA], ids=["aws", "aws-cn"])
def facts(request: pytest.FixtureRequest) -> Facts:
    """Both partitions."""
    found: Facts = request.param
    return found


def _arn(facts: Facts, service: str, resource: str, account: str | None = None) -> str:
    account = facts.account_id if account is None else account
    return f"arn:{facts.partition}:{service}:{facts.region}:{account}:{resource}"


def _key_arn(facts: Facts) -> str:
    return _arn(facts, "kms", "key/0a1b")


def _roster(facts: Facts, machine: str, stack: str = STACK) -> str:
    return _arn(facts, "ssm", f"parameter/secondlock/{stack}/roster/{machine}")


class _Machine:
    """A machine's calls, by the role that its instance has."""

    def __init__(self, facts: Facts, name: str | None) -> None:
        self.facts = facts
        tags = {"secondlock:stack": STACK, "secondlock:researcher": "alice"}
        if name is not None:
            tags["secondlock:machine"] = name
        self.context = {f"aws:PrincipalTag/{key}": value for key, value in tags.items()}
        self.policies = [policies.machine_policy(facts, STACK, _key_arn(facts))]

    def may(self, action: str, resource: str, **context: str) -> bool:
        return allows(self.policies, Request(action, resource, {**self.context, **context}))

    def may_decrypt(self, context: dict[str, str], key: str | None = None) -> bool:
        """With the stack's key, whose policy has a say as well."""
        role = f"arn:{self.facts.partition}:sts::{self.facts.account_id}:assumed-role/alice/i-1"
        request = Request(
            "kms:Decrypt",
            key or _key_arn(self.facts),
            {**self.context, "kms:CallerAccount": self.facts.account_id, **context},
            ("AWS", role),
        )
        return resource_allows(policies.key_policy(self.facts, STACK), self.policies, request)


@pytest.fixture
def alice(facts: Facts) -> _Machine:
    """The machine alice."""
    return _Machine(facts, "alice")


def test_a_machine_reads_its_own_roster_and_no_other(alice: _Machine, facts: Facts) -> None:
    assert alice.may("ssm:GetParameter", _roster(facts, "alice"))
    assert alice.may("ssm:GetParameter", _roster(facts, "alice/0123456789abcdef"))
    for other in ("bob", "alice2", "alic", "*", "alice/x"):
        assert not alice.may("ssm:GetParameter", _roster(facts, other)), other
    assert not alice.may("ssm:GetParameter", _roster(facts, "alice", "production"))
    assert not alice.may("ssm:GetParameter", _arn(facts, "ssm", "parameter/secondlock"))
    other_account = _roster(facts, "alice").replace(facts.account_id, "999999999999")
    assert not alice.may("ssm:GetParameter", other_account)


@pytest.mark.parametrize(
    "action",
    [
        "ssm:GetParameters",
        "ssm:GetParametersByPath",
        "ssm:GetParameterHistory",
        "ssm:DescribeParameters",
        "ssm:PutParameter",
        "ssm:DeleteParameter",
        "ssm:AddTagsToResource",
        "ssm:SendCommand",
        "ssm:StartSession",
        "iam:TagRole",
        "iam:PutRolePolicy",
        "sts:AssumeRole",
        "ec2:CreateTags",
        "ec2:DescribeInstances",
        "ec2:AttachVolume",
        "s3:GetObject",
        "kms:Encrypt",
        "kms:CreateGrant",
        "kms:PutKeyPolicy",
    ],
)
def test_a_machine_may_do_nothing_else(alice: _Machine, facts: Facts, action: str) -> None:
    places = [
        _roster(facts, "alice"),
        _key_arn(facts),
        _arn(facts, "ec2", "instance/i-1"),
        f"arn:{facts.partition}:iam::{facts.account_id}:role/secondlock/{STACK}/alice",
        "*",
    ]
    ways = {"kms:ViaService": f"ssm.{facts.region}.{facts.dns_suffix}"}
    ways["kms:EncryptionContext:PARAMETER_ARN"] = _roster(facts, "alice")
    assert not any(alice.may(action, place, **ways) for place in places)


def test_a_roster_is_decrypted_for_its_own_machine_by_systems_manager_alone(
    alice: _Machine, facts: Facts
) -> None:
    ssm = {"kms:ViaService": f"ssm.{facts.region}.{facts.dns_suffix}"}
    own = {"kms:EncryptionContext:PARAMETER_ARN": _roster(facts, "alice")}
    other = {"kms:EncryptionContext:PARAMETER_ARN": _roster(facts, "bob")}
    assert alice.may_decrypt({**ssm, **own})
    assert not alice.may_decrypt({**ssm, **other})
    assert not alice.may_decrypt(ssm)
    assert not alice.may_decrypt(own)
    assert not alice.may_decrypt({})
    assert not alice.may_decrypt({**own, "kms:ViaService": f"s3.{facts.region}.{facts.dns_suffix}"})
    elsewhere = {"kms:ViaService": f"ssm.us-east-1.{facts.dns_suffix}"}
    assert not alice.may_decrypt({**own, **elsewhere})
    assert not alice.may_decrypt({**ssm, **own}, key=_arn(facts, "kms", "key/ffff"))


def test_a_machine_reads_the_bundle_of_its_stack_and_nothing_else_in_s3(
    alice: _Machine, facts: Facts
) -> None:
    bucket = f"arn:{facts.partition}:s3:::{policies.bucket_name(facts, STACK)}"
    bundle = f"{bucket}/{policies.bundle_key('0a1b')}"
    ours = {"aws:ResourceAccount": facts.account_id}
    assert alice.may("s3:GetObject", bundle, **ours)
    assert not alice.may("s3:GetObject", bundle)
    # A bucket of that name that is another account's.
    assert not alice.may("s3:GetObject", bundle, **{"aws:ResourceAccount": "999999999999"})
    other_stack = f"arn:{facts.partition}:s3:::{policies.bucket_name(facts, 'production')}"
    for other in (f"{bucket}/other", bucket, f"{other_stack}/bundle/0a1b", f"{bucket}-2/bundle/0"):
        assert not alice.may("s3:GetObject", other, **ours), other
    for action in ("PutObject", "DeleteObject", "ListBucket", "GetBucketPolicy", "GetObjectAcl"):
        assert not alice.may(f"s3:{action}", bundle, **ours), action
        assert not alice.may(f"s3:{action}", bucket, **ours), action


def test_the_bucket_is_reached_by_tls_alone(facts: Facts) -> None:
    bucket = f"arn:{facts.partition}:s3:::{policies.bucket_name(facts, STACK)}"
    account = f"arn:{facts.partition}:iam::{facts.account_id}"
    policy = leaving_the_rest(policies.bucket_policy(facts, STACK), f"{account}:root")
    everything = [
        {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
        }
    ]
    for action, place in (
        ("s3:GetObject", f"{bucket}/{policies.bundle_key('0a1b')}"),
        ("s3:PutObject", f"{bucket}/other"),
        ("s3:ListBucket", bucket),
    ):
        for by_tls in ("true", "false"):
            context = {"aws:SecureTransport": by_tls}
            asked = Request(action, place, context, ("AWS", f"{account}:user/admin"))
            assert resource_allows(policy, everything, asked) is (by_tls == "true")
            assert not resource_allows(policy, [], asked)


def test_a_buckets_name_is_one_and_s3_takes_it() -> None:
    stacks = [STACK, "a_b", "a-b", "_", "x" * 63, "x" * 62, "-x-"]
    places = [EUROPE, CHINA, replace(EUROPE, region="us-east-1"), replace(EUROPE, account_id="9")]
    names = [policies.bucket_name(place, stack) for place in places for stack in stacks]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", name) for name in names)


def test_a_machine_writes_its_own_log_streams_alone(alice: _Machine, facts: Facts) -> None:
    group = f"log-group:/secondlock/{STACK}"
    for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
        for stream in ("auth", "status", "sync"):
            assert alice.may(action, _arn(facts, "logs", f"{group}:log-stream:alice/{stream}"))
        for other in ("bob/auth", "alice2/auth", "alice", "x/alice/auth"):
            assert not alice.may(action, _arn(facts, "logs", f"{group}:log-stream:{other}")), other
        foreign = f"{group}-2:log-stream:alice/auth"
        assert not alice.may(action, _arn(facts, "logs", foreign))
    own = _arn(facts, "logs", f"{group}:log-stream:alice/auth")
    for action in ("GetLogEvents", "FilterLogEvents", "DeleteLogStream", "PutRetentionPolicy"):
        assert not alice.may(f"logs:{action}", own)
    assert not alice.may("logs:CreateLogGroup", _arn(facts, "logs", group))


def test_a_machine_adds_to_its_own_record_and_neither_reads_nor_shortens_it(
    alice: _Machine, facts: Facts
) -> None:
    group = f"log-group:{policies.audit_log_group_name(STACK)}"
    own = _arn(facts, "logs", f"{group}:log-stream:alice")
    for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
        assert alice.may(action, own)
        for other in ("bob", "alice/x", "alice2", "*"):
            assert not alice.may(action, _arn(facts, "logs", f"{group}:log-stream:{other}")), other
    for action in ("GetLogEvents", "DeleteLogStream", "DeleteLogGroup", "PutRetentionPolicy"):
        assert not alice.may(f"logs:{action}", own)
        assert not alice.may(f"logs:{action}", _arn(facts, "logs", group))


def test_break_glass_needs_the_agents_channels(alice: _Machine, facts: Facts) -> None:
    for action in (
        "ssm:UpdateInstanceInformation",
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel",
    ):
        assert alice.may(action, "*")


def test_a_role_that_names_no_machine_may_read_nothing(facts: Facts) -> None:
    nobody = _Machine(facts, None)
    assert not nobody.may("ssm:GetParameter", _roster(facts, "alice"))
    assert not nobody.may("ssm:GetParameter", _roster(facts, ""))
    stream = _arn(facts, "logs", f"log-group:/secondlock/{STACK}:log-stream:alice/auth")
    assert not nobody.may("logs:PutLogEvents", stream)
    ways = {"kms:ViaService": f"ssm.{facts.region}.{facts.dns_suffix}"}
    for machine in ("alice", "", "${aws:PrincipalTag/secondlock:machine}"):
        own = {"kms:EncryptionContext:PARAMETER_ARN": _roster(facts, machine)}
        assert not nobody.may_decrypt({**ways, **own})


def test_a_tag_with_a_wildcard_is_no_wildcard(facts: Facts) -> None:
    star = _Machine(facts, "*")
    assert not star.may("ssm:GetParameter", _roster(facts, "bob"))
    ways = {"kms:ViaService": f"ssm.{facts.region}.{facts.dns_suffix}"}
    own = {"kms:EncryptionContext:PARAMETER_ARN": _roster(facts, "bob")}
    assert not star.may_decrypt({**ways, **own})


def test_only_instances_take_a_machines_role(facts: Facts) -> None:
    trust = policies.assumed_by_ec2(facts)
    for kind, name, allowed in (
        ("Service", f"ec2.{facts.dns_suffix}", True),
        ("Service", f"lambda.{facts.dns_suffix}", False),
        ("AWS", f"arn:{facts.partition}:iam::{facts.account_id}:user/eve", False),
    ):
        request = Request("sts:AssumeRole", "*", principal=(kind, name))
        assert resource_allows(trust, [], request) is allowed


SSH, SHELL = "AWS-StartSSHSession", "SSM-SessionManagerRunShell"


class _Person:
    """Someone's StartSession and the like, as Systems Manager has them checked."""

    def __init__(
        self, facts: Facts, policy: Document, researcher: str | None, shared: str | None = None
    ) -> None:
        self.facts, self.policies = facts, [policy]
        self.context = {"aws:userid": "AIDA1", "aws:username": "alice"}
        if researcher is not None:
            self.context["aws:PrincipalTag/secondlock:researcher"] = researcher
        if shared is not None:
            self.context["aws:PrincipalTag/secondlock:shared-machine"] = shared

    def may(self, action: str, resource: str, **context: str) -> bool:
        return allows(self.policies, Request(action, resource, {**self.context, **context}))

    def may_start(self, instance: dict[str, str], document: str | None) -> bool:
        """A call that names no document is checked against the instance alone, unless a policy
        wants the document checked ("Start a session with a document", Systems Manager User
        Guide); the key is not there when the document itself is looked at."""
        tags = {f"ssm:resourceTag/{name}": value for name, value in instance.items()}
        place = _arn(self.facts, "ec2", "instance/i-1")
        check = "ssm:SessionDocumentAccessCheck"
        if document is None and self.may("ssm:StartSession", place, **tags, **{check: "false"}):
            return True
        return self.may("ssm:StartSession", place, **tags, **{check: "true"}) and self.may(
            "ssm:StartSession", self._document(document or SHELL)
        )

    def _document(self, name: str) -> str:
        return _arn(self.facts, "ssm", f"document/{name}", "" if name.startswith("AWS-") else None)


OWN = {"secondlock:stack": STACK, "secondlock:researcher": "alice"}


@pytest.fixture
def researcher(facts: Facts) -> _Person:
    """Alice at her own computer."""
    return _Person(facts, policies.researcher_policy(facts, STACK), "alice")


@pytest.fixture
def admin(facts: Facts) -> _Person:
    """Whoever holds the admin's policy."""
    return _Person(facts, policies.admin_policy(facts, STACK), None)


@pytest.mark.parametrize(
    ("instance", "document", "allowed"),
    [
        (OWN, SSH, True),
        (OWN, None, False),
        (OWN, SHELL, False),
        (OWN, "AWS-StartPortForwardingSession", False),
        (OWN, "AWS-StartInteractiveCommand", False),
        (OWN, "AWS-StartNonInteractiveCommand", False),
        (OWN, "alices-own-document", False),
        ({**OWN, "secondlock:researcher": "bob"}, SSH, False),
        ({**OWN, "secondlock:researcher": "alice2"}, SSH, False),
        ({**OWN, "secondlock:stack": "production"}, SSH, False),
        ({"secondlock:researcher": "alice"}, SSH, False),
        ({"secondlock:stack": STACK}, SSH, False),
        ({}, SSH, False),
    ],
)
def test_a_researcher_starts_ssh_to_their_own_machine_and_nothing_else(
    researcher: _Person, instance: dict[str, str], document: str | None, allowed: bool
) -> None:
    assert researcher.may_start(instance, document) is allowed


@pytest.mark.parametrize(
    ("instance", "document", "allowed"),
    [
        ("gpu1", SSH, True),
        ("gpu1", SHELL, False),
        ("gpu1", None, False),
        ("gpu2", SSH, False),
        ("bob", SSH, False),
    ],
)
@pytest.mark.parametrize("researcher", [None, "alice"])
def test_who_shares_a_machine_starts_ssh_to_it(
    facts: Facts, researcher: str | None, instance: str, document: str | None, allowed: bool
) -> None:
    someone = _Person(facts, policies.researcher_policy(facts, STACK), researcher, "gpu1")
    there = {"secondlock:stack": STACK, "secondlock:researcher": instance}
    assert someone.may_start(there, document) is allowed
    assert not someone.may_start({**there, "secondlock:stack": "production"}, document)
    assert someone.may_start(OWN, SSH) is (researcher == "alice")


@pytest.mark.parametrize("tag", [None, "", "*", "${aws:username}"])
def test_a_principal_that_is_no_researcher_starts_nothing(facts: Facts, tag: str | None) -> None:
    someone = _Person(facts, policies.researcher_policy(facts, STACK), tag, tag)
    instances: list[dict[str, str]] = [OWN, {"secondlock:stack": STACK}, {}]
    for instance in instances:
        assert not someone.may_start(instance, SSH)


@pytest.mark.parametrize(
    ("instance", "document", "allowed"),
    [
        (OWN, SHELL, True),
        (OWN, None, True),  # the shell is what a call without a document means
        ({"secondlock:stack": STACK}, SHELL, True),
        (OWN, SSH, False),
        (OWN, "AWS-StartNonInteractiveCommand", False),
        ({**OWN, "secondlock:stack": "production"}, SHELL, False),
        ({}, SHELL, False),
    ],
)
def test_break_glass_is_a_shell_on_the_machines_of_the_stack(
    admin: _Person, instance: dict[str, str], document: str | None, allowed: bool
) -> None:
    assert admin.may_start(instance, document) is allowed


def test_people_end_their_own_sessions_alone(
    researcher: _Person, admin: _Person, facts: Facts
) -> None:
    session = _arn(facts, "ssm", "session/alice-0123")
    tag = "ssm:resourceTag/aws:ssmmessages:session-id"
    for person in (researcher, admin):
        for action in ("ssm:TerminateSession", "ssm:ResumeSession"):
            assert person.may(action, session, **{tag: "AIDA1"})
            assert not person.may(action, session, **{tag: "AIDA2"})
            assert not person.may(action, session, **{tag: "AIDA12"})
            assert not person.may(action, session)
        channel = "ssmmessages:OpenDataChannel"
        assert person.may(channel, session)
        assert person.may(channel, _arn(facts, "ssm", "session/AIDA1-0123"))
        assert not person.may(channel, _arn(facts, "ssm", "session/bob-0123"))


@pytest.mark.parametrize(
    "action",
    ["ssm:SendCommand", "ssm:GetParameter", "kms:Decrypt", "ec2:TerminateInstances", "iam:TagUser"],
)
def test_people_may_do_nothing_else(
    researcher: _Person, admin: _Person, facts: Facts, action: str
) -> None:
    for person in (researcher, admin):
        for place in ("*", _arn(facts, "ec2", "instance/i-1"), _roster(facts, "alice")):
            tags = {f"ssm:resourceTag/{name}": value for name, value in OWN.items()}
            assert not person.may(action, place, **tags)


def _key_allows(
    facts: Facts, principal: tuple[str, str], action: str, context: dict[str, str]
) -> bool:
    request = Request(action, _key_arn(facts), context, principal)
    return resource_allows(policies.key_policy(facts, STACK), [], request)


def test_the_key_encrypts_the_stacks_log_groups_and_no_other(facts: Facts) -> None:
    service = ("Service", f"logs.{facts.region}.{facts.dns_suffix}")
    name = "kms:EncryptionContext:aws:logs:arn"
    for group, allowed in (
        (f"/secondlock/{STACK}", True),
        (policies.bake_log_group_name(STACK), True),
        (policies.flow_log_group_name(STACK), True),
        (policies.audit_log_group_name(STACK), True),
        (f"/secondlock/{STACK}/other", False),
        ("/aws/imagebuilder/another", False),
        ("/secondlock/production", False),
    ):
        context = {name: _arn(facts, "logs", f"log-group:{group}")}
        for action in ("kms:GenerateDataKey", "kms:Decrypt"):
            assert _key_allows(facts, service, action, context) is allowed
        assert not _key_allows(facts, service, "kms:CreateGrant", context)
        elsewhere = ("Service", f"logs.us-east-1.{facts.dns_suffix}")
        assert not _key_allows(facts, elsewhere, "kms:Decrypt", context)
    assert not _key_allows(facts, service, "kms:Decrypt", {})


def test_volumes_take_the_key_by_ec2_for_this_account_alone(facts: Facts) -> None:
    someone = ("AWS", f"arn:{facts.partition}:iam::{facts.account_id}:role/spot")
    ec2 = {
        "kms:CallerAccount": facts.account_id,
        "kms:ViaService": f"ec2.{facts.region}.{facts.dns_suffix}",
    }
    grant = {**ec2, "kms:GrantIsForAWSResource": "true"}
    assert _key_allows(facts, someone, "kms:CreateGrant", grant)
    assert _key_allows(facts, someone, "kms:GenerateDataKeyWithoutPlaintext", ec2)
    assert not _key_allows(facts, someone, "kms:CreateGrant", ec2)
    stranger = {**grant, "kms:CallerAccount": "999999999999"}
    assert not _key_allows(facts, someone, "kms:CreateGrant", stranger)
    by_ssm = {**grant, "kms:ViaService": f"ssm.{facts.region}.{facts.dns_suffix}"}
    for action in ("kms:Decrypt", "kms:CreateGrant"):
        assert not _key_allows(facts, someone, action, by_ssm)
        assert not _key_allows(facts, someone, action, {"kms:CallerAccount": facts.account_id})
    assert not _key_allows(facts, someone, "kms:PutKeyPolicy", grant)


def test_alarms_reach_the_stacks_topic(facts: Facts) -> None:
    service = ("Service", "cloudwatch.amazonaws.com")
    topic = _arn(facts, "sns", f"secondlock-{STACK}-alarms")
    name = "kms:EncryptionContext:aws:sns:topicArn"
    assert _key_allows(facts, service, "kms:GenerateDataKey", {name: topic})
    assert not _key_allows(facts, service, "kms:GenerateDataKey", {name: f"{topic}-2"})
    assert not _key_allows(facts, service, "kms:GenerateDataKey", {})
    policy = policies.topic_policy(facts, STACK)
    mine = {
        "aws:SourceAccount": facts.account_id,
        "aws:SourceArn": _arn(facts, "cloudwatch", "alarm:x"),
    }
    theirs = {
        "aws:SourceAccount": "999999999999",
        "aws:SourceArn": _arn(facts, "cloudwatch", "alarm:x", "999999999999"),
    }
    for context, principal, allowed in (
        (mine, service, True),
        (theirs, service, False),
        ({**mine, "aws:SourceArn": theirs["aws:SourceArn"]}, service, False),
        ({**mine, "aws:SourceAccount": theirs["aws:SourceAccount"]}, service, False),
        ({}, service, False),
        (mine, ("AWS", f"arn:{facts.partition}:iam::{facts.account_id}:user/eve"), False),
    ):
        request = Request("sns:Publish", topic, context, principal)
        assert resource_allows(policy, [], request) is allowed


def test_the_bake_reads_no_parameter_and_writes_its_own_log_alone(facts: Facts) -> None:
    policy = policies.bake_policy(facts, STACK)
    group = policies.bake_log_group_name(STACK)
    log = _arn(facts, "logs", f"log-group:{group}:log-stream:1.0.0/1")
    bucket = f"arn:{facts.partition}:s3:::ec2imagebuilder-managed-resources-{facts.region}-prod/x"
    for action, resource, allowed in (
        ("imagebuilder:GetComponent", _arn(facts, "imagebuilder", "component/x/1.0.0/1"), True),
        ("imagebuilder:CreateImage", _arn(facts, "imagebuilder", "image/x"), False),
        ("s3:GetObject", bucket, True),
        ("s3:GetObject", f"arn:{facts.partition}:s3:::somebodys-data/x", False),
        ("s3:PutObject", bucket, False),
        ("logs:PutLogEvents", log, True),
        ("logs:PutLogEvents", log.replace(group, f"/secondlock/{STACK}"), False),
        ("logs:PutLogEvents", log.replace(group, f"{group}-2"), False),
        ("ssm:GetParameter", _roster(facts, "alice"), False),
        ("kms:Decrypt", _key_arn(facts), False),
        ("ssm:SendCommand", "*", False),
        ("ec2messages:GetMessages", "*", True),
    ):
        assert allows([policy], Request(action, resource)) is allowed, action


def test_flow_logs_of_this_account_write_to_their_own_group_alone(facts: Facts) -> None:
    trust = policies.assumed_by_flow_logs(facts)
    service = ("Service", "vpc-flow-logs.amazonaws.com")
    mine = {
        "aws:SourceAccount": facts.account_id,
        "aws:SourceArn": _arn(facts, "ec2", "vpc-flow-log/fl-1"),
    }
    other = {**mine, "aws:SourceAccount": "999999999999"}
    ec2 = ("Service", f"ec2.{facts.dns_suffix}")
    for principal, context, allowed in (
        (service, mine, True),
        (service, other, False),
        (service, {}, False),
        (ec2, mine, False),
    ):
        request = Request("sts:AssumeRole", "*", context, principal)
        assert resource_allows(trust, [], request) is allowed
    policy = policies.flow_policy(facts, STACK)
    group = policies.flow_log_group_name(STACK)
    for place, allowed in (
        (f"log-group:{group}:log-stream:eni-1-all", True),
        (f"log-group:{group}-2:log-stream:eni-1-all", False),
        (f"log-group:/secondlock/{STACK}:log-stream:alice/auth", False),
    ):
        request = Request("logs:PutLogEvents", _arn(facts, "logs", place))
        assert allows([policy], request) is allowed, place


def _documents(facts: Facts) -> dict[str, Document]:
    return {
        "assumed_by_ec2": policies.assumed_by_ec2(facts),
        "machine": policies.machine_policy(facts, STACK, _key_arn(facts)),
        "researcher": policies.researcher_policy(facts, STACK),
        "admin": policies.admin_policy(facts, STACK),
        "key": policies.key_policy(facts, STACK),
        "topic": policies.topic_policy(facts, STACK),
        "bake": policies.bake_policy(facts, STACK),
        "assumed_by_flow_logs": policies.assumed_by_flow_logs(facts),
        "flows": policies.flow_policy(facts, STACK),
        "bucket": policies.bucket_policy(facts, STACK),
    }


def test_nothing_but_the_facts_says_which_partition(facts: Facts) -> None:
    for name, document in _documents(facts).items():
        text = json.dumps(document)
        assert set(re.findall(r"arn:([a-z-]+):", text)) <= {facts.partition}, name
        for everywhere in ("cloudwatch.amazonaws.com", "vpc-flow-logs.amazonaws.com"):
            text = text.replace(everywhere, "")
        regional = text.replace(facts.dns_suffix, "")
        assert "amazonaws" not in regional, name


def test_cfn_lint_knows_every_action_and_condition(tmp_path: Path) -> None:
    """It has AWS's own lists: a misspelt action grants nothing, and nobody would notice."""
    found = _documents(EUROPE)
    key = {"Type": "AWS::KMS::Key", "Properties": {"KeyPolicy": found.pop("key")}}
    topic = {"Topics": [_arn(EUROPE, "sns", "x")], "PolicyDocument": found.pop("topic")}
    bucket = {"Bucket": "secondlock-x", "PolicyDocument": found.pop("bucket")}
    roles = {
        name.title().replace("_", ""): {
            "Type": "AWS::IAM::Role",
            "Properties": {"AssumeRolePolicyDocument": found.pop(name)},
        }
        for name in ("assumed_by_ec2", "assumed_by_flow_logs")
    }
    admins = documents("aws", EUROPE.region, EUROPE.account_id)
    resources = {
        "Key": key,
        "Topic": {"Type": "AWS::SNS::TopicPolicy", "Properties": topic},
        "Bucket": {"Type": "AWS::S3::BucketPolicy", "Properties": bucket},
        **roles,
        **{name.title(): cfn.policy(document) for name, document in found.items()},
        **{f"Admin{name.title()}": cfn.policy(document) for name, document in admins.items()},
    }
    assert cfn.faults(resources, tmp_path) == ""


def test_documents_are_what_iam_takes(facts: Facts) -> None:
    """Sids and sizes: "IAM and AWS STS quotas", for the longest stack name."""
    for name, document in _documents(facts).items():
        sids = [statement["Sid"] for statement in document["Statement"]]
        assert len(set(sids)) == len(sids), name
        assert all(re.fullmatch("[A-Za-z0-9]+", sid) for sid in sids), name
    long = "x" * 63
    managed: list[Any] = [
        policies.machine_policy(facts, long, _key_arn(facts)),
        policies.researcher_policy(facts, long),
        policies.admin_policy(facts, long),
        policies.bake_policy(facts, long),
    ]
    assert all(len(json.dumps(each, separators=(",", ":"))) <= 6144 for each in managed)


@pytest.mark.parametrize(
    "statement",
    [
        {"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"},
        {"Effect": "Allow", "Action": "*", "NotResource": "x"},
        {"Effect": "Allow", "Action": "*", "Resource": "*", "Principal": {"AWS": "*"}},
        {
            "Effect": "Allow",
            "Action": "*",
            "Resource": "*",
            "Condition": {"IpAddress": {"aws:SourceIp": "::/0"}},
        },
    ],
)
def test_the_evaluator_refuses_what_it_does_not_know(statement: dict[str, Any]) -> None:
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    with pytest.raises((UnknownElementError, KeyError)):
        allows([policy], Request("s3:GetObject", "x"))


@pytest.mark.parametrize(
    ("condition", "context", "allowed"),
    [
        ({"StringEquals": {"k": "a*"}}, {"k": "abc"}, False),
        ({"StringLike": {"k": "a*"}}, {"k": "abc"}, True),
        ({"StringLike": {"k": "${v}*"}}, {"k": "a*b", "v": "a*"}, True),
        ({"StringLike": {"k": "${v}"}}, {"k": "abc", "v": "a*"}, False),
        ({"StringEquals": {"K": ["x", "a"]}}, {"k": "a"}, True),
        ({"StringEquals": {"k": "a", "l": "b"}}, {"k": "a", "l": "c"}, False),
        ({"Bool": {"k": "true"}}, {}, False),
        ({"BoolIfExists": {"k": "true"}}, {}, True),
        ({"BoolIfExists": {"k": "true"}}, {"k": "false"}, False),
        ({"ArnLike": {"k": "arn:aws:s3:*:x"}}, {"k": "arn:aws:s3:::x"}, False),
        ({"ArnLike": {"k": "arn:aws:s3:::x*"}}, {"k": "arn:aws:s3:::xyz"}, True),
    ],
)
def test_the_evaluator_knows_conditions(
    condition: dict[str, Any], context: dict[str, str], allowed: bool
) -> None:
    statement = {"Effect": "Allow", "Action": "s3:Get*", "Resource": "*", "Condition": condition}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    assert allows([policy], Request("s3:getobject", "x", context)) is allowed
    deny = {"Version": "2012-10-17", "Statement": [{**statement, "Effect": "Deny"}]}
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    both = [deny, {"Version": "2012-10-17", "Statement": [everything]}]
    assert allows(both, Request("s3:getobject", "x", context)) is not allowed
