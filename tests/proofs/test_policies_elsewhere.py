"""Every request of our own evaluator's tests, and more, in an evaluator that others wrote.

`@cloud-copilot/iam-simulate` has AWS's lists of actions, resources and condition keys.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from cli.aws.admin_policy import documents
from infra.aws import policies
from infra.aws.facts import Facts
from tests.support.admin_requests import ALLOWED, DENIED
from tests.support.iam import Document, Request, allows, leaving_the_rest, resource_allows

if TYPE_CHECKING:
    from collections.abc import Sequence

SIMULATOR = "@cloud-copilot/iam-simulate@0.1.173"
FACTS = Facts("aws", "amazonaws.com", "111122223333", "eu-central-1")
STACK = "gpu"
KEY = f"arn:aws:kms:{FACTS.region}:{FACTS.account_id}:key/11112222-3333-4444-5555-666677778888"
ROLE = f"arn:aws:sts::{FACTS.account_id}:assumed-role/alice-1a2b/i-0123456789abcdef0"
ADMIN = f"arn:aws:iam::{FACTS.account_id}:user/lab-admin"
ROOT = f"arn:aws:iam::{FACTS.account_id}:root"
BOB = f"arn:aws:iam::{FACTS.account_id}:user/bob"


class _Case(NamedTuple):
    """A request of somebody with these policies, or of a service, which has none."""

    principal: str
    policies: Sequence[Document]
    request: Request
    own: Document | None = None
    """The policy of the resource itself; a key's is known."""

    @property
    def resource_policy(self) -> Document | None:
        """KMS asks the key, too."""
        if re.match(r"arn:aws:kms:.*:key/", self.request.resource):
            return policies.key_policy(FACTS, STACK)
        return self.own

    def ours(self) -> bool:
        """What our evaluator says."""
        if self.resource_policy is None:
            return allows(self.policies, self.request)
        kind = "AWS" if self.principal.startswith("arn:") else "Service"
        asked = Request(
            self.request.action,
            self.request.resource,
            self.request.context,
            (kind, self.principal),
        )
        policy = self.resource_policy
        if re.match(r"arn:aws:(s3|sns):", self.request.resource):
            policy = leaving_the_rest(policy, ROOT)
        return resource_allows(policy, self.policies, asked)

    def asked(self) -> dict[str, Any]:
        """For the other."""
        return {
            "principal": self.principal,
            "account": FACTS.account_id,
            "action": self.request.action,
            "resource": self.request.resource,
            "context": dict(self.request.context),
            "policies": self.policies,
            "resourcePolicy": self.resource_policy,
        }


def _admin() -> list[_Case]:
    both = list(documents("aws", FACTS.region, FACTS.account_id).values())
    return [_Case(ADMIN, both, request) for request in (*ALLOWED, *DENIED)]


def _arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:{FACTS.region}:{FACTS.account_id}:{resource}"


def _machine() -> list[_Case]:
    rendered = [policies.machine_policy(FACTS, STACK, KEY)]
    tag = {"aws:PrincipalTag/secondlock:machine": "alice"}
    streams = f"log-group:/secondlock/{STACK}:log-stream"
    found = [
        Request("ssm:GetParameter", policies.roster_arn(FACTS, STACK, who), context)
        for who in ("alice", "bob")
        for context in (tag, {})
    ]
    found += [
        Request(f"logs:{action}", _arn("logs", f"{streams}:{who}/status"), tag)
        for action in ("PutLogEvents", "CreateLogStream", "GetLogEvents")
        for who in ("alice", "bob")
    ]
    for action in ("ssmmessages:OpenControlChannel", "ec2:DescribeInstances", "iam:TagRole"):
        found.append(Request(action, "*", tag))
    place = f"arn:aws:s3:::{policies.bucket_name(FACTS, STACK)}"
    found += [
        Request(f"s3:{action}", f"{place}/{key}", {"aws:ResourceAccount": account})
        for action in ("GetObject", "PutObject")
        for key in (policies.bundle_key("0a1b"), "another")
        for account in (FACTS.account_id, "999999999999")
    ]
    return [_Case(ROLE, rendered, request) for request in found]


def _bake() -> list[_Case]:
    rendered = [policies.bake_policy(FACTS, STACK)]
    log = f"log-group:{policies.bake_log_group_name(STACK)}:log-stream:1.0.0/1"
    found = [
        Request("imagebuilder:GetComponent", _arn("imagebuilder", "component/install/1.0.0/1")),
        Request("logs:PutLogEvents", _arn("logs", log)),
        Request("logs:PutLogEvents", _arn("logs", log.replace(STACK, "other"))),
        Request("ec2messages:GetMessages", "*"),
        Request("ssm:GetParameter", policies.roster_arn(FACTS, STACK, "alice")),
        Request("s3:GetObject", "arn:aws:s3:::ec2imagebuilder-toe-eu-central-1-prod/latest/x"),
        Request("s3:GetObject", "arn:aws:s3:::somebodys-data/x"),
    ]
    return [_Case(ROLE, rendered, request) for request in found]


def _researcher() -> list[_Case]:
    rendered = [policies.researcher_policy(FACTS, STACK)]
    instance = _arn("ec2", "instance/i-0123456789abcdef0")
    good = {
        "aws:PrincipalTag/secondlock:researcher": "bob",
        "aws:username": "bob",
        "aws:userid": "AIDAEXAMPLE",
        "ssm:resourceTag/secondlock:researcher": "bob",
        "ssm:resourceTag/secondlock:stack": STACK,
        "ssm:SessionDocumentAccessCheck": "true",
    }
    others = {**good, "ssm:resourceTag/secondlock:researcher": "alice"}
    unchecked = {**good, "ssm:SessionDocumentAccessCheck": "false"}
    found = [Request("ssm:StartSession", instance, each) for each in (good, others, unchecked)]
    # Of documents it knows those of an account alone, not AWS's own.
    return [_Case(BOB, rendered, request) for request in found]


def _bucket() -> list[_Case]:
    """By TLS alone, whatever the caller's own policy says."""
    place = f"arn:aws:s3:::{policies.bucket_name(FACTS, STACK)}"
    callers = {
        ROLE: [policies.machine_policy(FACTS, STACK, KEY)],
        ADMIN: list(documents("aws", FACTS.region, FACTS.account_id).values()),
        BOB: [],
    }
    ours = {"aws:ResourceAccount": FACTS.account_id}
    transports: list[dict[str, str]] = [
        {"aws:SecureTransport": "true"},
        {"aws:SecureTransport": "false"},
        {},
    ]
    return [
        _Case(
            caller,
            own,
            Request(f"s3:{action}", f"{place}{key}", {**ours, **transport}),
            policies.bucket_policy(FACTS, STACK),
        )
        for caller, own in callers.items()
        for action, key in (
            ("GetObject", f"/{policies.bundle_key('0a1b')}"),
            ("PutObject", f"/{policies.bundle_key('0a1b')}"),
            ("ListBucket", ""),
        )
        for transport in transports
    ]


def _from(arn: str, account: str = FACTS.account_id) -> dict[str, str]:
    """What a service says of whom it acts for."""
    return {"aws:SourceAccount": account, "aws:SourceArn": arn}


def _topic() -> list[_Case]:
    """CloudWatch publishes alarms of this account and region."""
    topic, alarm = _arn("sns", policies.topic_name(STACK)), _arn("cloudwatch", "alarm:x")
    contexts = [
        _from(alarm),
        _from(alarm, "999999999999"),
        _from(alarm.replace(FACTS.account_id, "999999999999")),
        _from(alarm.replace(FACTS.region, "us-east-1")),
        {},
    ]
    callers = ("cloudwatch.amazonaws.com", "events.amazonaws.com", BOB)
    return [
        _Case(caller, [], Request(action, topic, context), policies.topic_policy(FACTS, STACK))
        for caller in callers
        for action in ("sns:Publish", "sns:DeleteTopic")
        for context in contexts
    ]


def _flow_logs() -> list[_Case]:
    """Who takes the role that flow logs and machines have, and where flow logs write."""
    role = f"arn:aws:iam::{FACTS.account_id}:role{policies.iam_path(STACK)}flows-1a2b"
    flow = _arn("ec2", "vpc-flow-log/fl-0123456789abcdef0")
    contexts = [
        _from(flow),
        _from(flow, "999999999999"),
        _from(flow.replace("vpc-flow-log", "instance")),
        {},
    ]
    trusts = (policies.assumed_by_flow_logs(FACTS), policies.assumed_by_ec2(FACTS))
    callers = ("vpc-flow-logs.amazonaws.com", "ec2.amazonaws.com", "lambda.amazonaws.com", BOB)
    taken = [
        _Case(caller, [], Request("sts:AssumeRole", role, context), trust)
        for trust in trusts
        for caller in callers
        for context in contexts
    ]
    group = f"log-group:{policies.flow_log_group_name(STACK)}"
    streams = (f"{group}:log-stream:eni-1-all", f"{group}-2:log-stream:eni-1-all")
    places = [*streams, f"log-group:/secondlock/{STACK}:log-stream:alice/auth"]
    rendered = [policies.flow_policy(FACTS, STACK)]
    written = [
        _Case(ROLE, rendered, Request(f"logs:{action}", _arn("logs", place)))
        for action in ("CreateLogStream", "PutLogEvents", "GetLogEvents")
        for place in places
    ]
    look = Request("logs:DescribeLogGroups", "*")
    return [*taken, *written, _Case(ROLE, rendered, look)]


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, beside the package that it uses."""
    if absent := [name for name in ("node", "npm") if shutil.which(name) is None]:
        pytest.skip(f"no {' and no '.join(absent)} here: the other evaluator is a package of npm's")
    place = tmp_path_factory.mktemp("simulator")
    shutil.copy(Path(__file__).parent / "simulate.mjs", place)
    install = ["npm", "install", "--no-audit", "--no-fund", "--silent", SIMULATOR]
    subprocess.run(install, cwd=place, check=True)
    return place / "simulate.mjs"


def test_another_evaluator_says_the_same(simulator: Path) -> None:
    cases = [*_admin(), *_machine(), *_bake(), *_researcher()]
    # It knows no encryption context: what the key's policy says of services is for ours alone.
    cases += [*_bucket(), *_topic(), *_flow_logs()]
    done = subprocess.run(
        ["node", simulator],
        input=json.dumps([case.asked() for case in cases]),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    ours = {True: {"Allowed"}, False: {"ImplicitlyDenied", "ExplicitlyDenied"}}
    different = [
        f"{case.principal}: {case.request}: {theirs}, not {ours[case.ours()]}"
        for case, theirs in zip(cases, json.loads(done.stdout), strict=True)
        if theirs not in ours[case.ours()]
    ]
    assert different == []
    assert {case.ours() for case in cases} == {True, False}
