"""A machine's way to its bundle: the stub's own signature, against a server that checks it."""

from __future__ import annotations

import importlib
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from infra.aws import policies
from infra.aws.facts import Facts
from tests.support.cloud import REGION, Cloud

if TYPE_CHECKING:
    from collections.abc import Iterator

FACTS = Facts("aws", "amazonaws.com", "123456789012", REGION)
STACK, CONTENT = "trial", b"what is ours"
BUCKET, KEY = policies.bucket_name(FACTS, STACK), policies.bundle_key("0a1b")
Role = dict[str, str]

stub: Any = importlib.import_module("guest.stub")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    cloud = Cloud(tmp_path_factory.mktemp("cloud"))
    try:
        yield cloud
    finally:
        cloud.end()


@pytest.fixture(scope="module")
def role(cloud: Cloud) -> Role:
    """A machine's role as its metadata gives it; from now on the server asks for leave."""
    s3, iam = cloud.client("s3"), cloud.client("iam")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=CONTENT)
    trust = json.dumps(policies.assumed_by_ec2(FACTS))
    made = iam.create_role(RoleName="alice", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    own = json.dumps(policies.machine_policy(FACTS, STACK, "arn:aws:kms:::key/0a1b"))
    iam.put_role_policy(RoleName="alice", PolicyName="machines", PolicyDocument=own)
    given = cloud.client("sts").assume_role(RoleArn=made, RoleSessionName="i-1")["Credentials"]
    ask_for_leave = f"{cloud.url}/moto-api/reset-auth"
    urlopen(Request(ask_for_leave, b"0", {"Content-Type": "text/plain"}))  # noqa: S310
    return {
        "AccessKeyId": given["AccessKeyId"],
        "SecretAccessKey": given["SecretAccessKey"],
        "Token": given["SessionToken"],
    }


def _ask(cloud: Cloud, role: Role, method: str = "GET") -> bytes:
    url = f"{cloud.url}/{BUCKET}/{KEY}"
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return bytes(stub.ask(url, stub.sign(url, REGION, role, now), method))


def test_the_role_gets_the_bundle(cloud: Cloud, role: Role) -> None:
    assert _ask(cloud, role) == CONTENT


@pytest.mark.parametrize("part", ["SecretAccessKey", "AccessKeyId", "Token"])
def test_nobody_else_does(cloud: Cloud, role: Role, part: str) -> None:
    with pytest.raises(HTTPError, match=r"40[03]"):
        _ask(cloud, {**role, part: "another"})


def test_a_signature_is_for_one_method_alone(cloud: Cloud, role: Role) -> None:
    with pytest.raises(HTTPError, match="403"):
        _ask(cloud, role, "DELETE")
    assert _ask(cloud, role) == CONTENT
