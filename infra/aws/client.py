"""Talking to EC2 as the stack's AWS provider does: for what that provider leaves undone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_ec2 import EC2Client
    from pulumi.dynamic import Config

# What boto3 calls what the stack's configuration says of the provider, under `aws:`.
_SESSION = {
    "profile": "profile_name",
    "accessKey": "aws_access_key_id",
    "secretKey": "aws_secret_access_key",
    "token": "aws_session_token",
}


def client_of(config: Config, region: str) -> EC2Client:
    """A client with the credentials and the endpoint of the stack's AWS provider."""
    import boto3  # here, not in every plan: it takes half a second

    given = {ours: config.get(f"aws:{name}") for name, ours in _SESSION.items()}
    if not given["aws_access_key_id"]:
        given = {"profile_name": given["profile_name"]}  # boto3 takes the pair or neither
    session = boto3.Session(
        region_name=region, **{name: value for name, value in given.items() if value}
    )
    session = _assumed(session, json.loads(config.get("aws:assumeRoles") or "[]"))
    endpoint = None
    for places in json.loads(config.get("aws:endpoints") or "[]"):
        endpoint = places.get("ec2", endpoint)
    return session.client("ec2", endpoint_url=endpoint)


def _assumed(session: boto3.Session, roles: list[dict[str, Any]]) -> boto3.Session:
    """The session of the last of `roles`, each assumed by the one before."""
    import boto3

    for role in roles:
        wanted = {"RoleArn": role["roleArn"], "ExternalId": role.get("externalId")}
        wanted["RoleSessionName"] = role.get("sessionName") or "secondlock"
        call = session.client("sts").assume_role
        given = call(**{name: value for name, value in wanted.items() if value})["Credentials"]
        session = boto3.Session(
            aws_access_key_id=given["AccessKeyId"],
            aws_secret_access_key=given["SecretAccessKey"],
            aws_session_token=given["SessionToken"],
            region_name=session.region_name,
        )
    return session
