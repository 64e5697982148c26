"""Talking to AWS as the stack's AWS provider does, for what that provider leaves undone.

Whose credentials count is said once, in the stack's configuration under `aws:`, and holds for the
program, for the resources of our own and for the command line.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from infra.model.reading import expanded, read_text

if TYPE_CHECKING:
    from collections.abc import Callable

    import boto3
    from mypy_boto3_ec2 import EC2Client

    Setting = Callable[[str], str | None]
    """The value of a key of the stack's configuration, such as `aws:profile`; lists as JSON."""

# What boto3 calls what the stack's configuration says of the provider.
_KEYS = {
    "aws:accessKey": "aws_access_key_id",
    "aws:secretKey": "aws_secret_access_key",
    "aws:token": "aws_session_token",
}
_FILES = {"aws:sharedConfigFiles": "config_file", "aws:sharedCredentialsFiles": "credentials_file"}
_SERVICES = {"logs": "cloudwatchlogs", "service-quotas": "servicequotas"}
"""What the provider's endpoints call services, where boto3 has another name."""

_ROLE = {
    "role_arn": "RoleArn",
    "session_name": "RoleSessionName",
    "external_id": "ExternalId",
    "policy": "Policy",
    "source_identity": "SourceIdentity",
    "transitive_tag_keys": "TransitiveTagKeys",
    "web_identity_token": "WebIdentityToken",
}
_UNITS = {"h": 3600, "m": 60, "s": 1}

CREDENTIALS = ("aws:profile", *_KEYS, *_FILES, "aws:assumeRoles", "aws:assumeRoleWithWebIdentity")
"""The keys of the configuration that say who asks."""


class _Role(BaseModel):
    """A role to take, as the provider is told of it."""

    model_config = ConfigDict(alias_generator=to_camel, hide_input_in_errors=True)

    role_arn: str | None = None
    session_name: str | None = None
    external_id: str | None = None
    policy: str | None = None
    source_identity: str | None = None
    transitive_tag_keys: list[str] = []
    web_identity_token: str | None = None
    web_identity_token_file: str | None = None
    duration: str | None = None
    policy_arns: list[str] = []
    tags: dict[str, str] = {}


_FILE_LIST = TypeAdapter(list[str])
_ENDPOINTS = TypeAdapter(list[dict[str, str | None]])
_ROLES = TypeAdapter(list[_Role])
_T = TypeVar("_T")


def _parsed(setting: Setting, key: str, shape: TypeAdapter[_T], default: _T) -> _T:
    """A list or mapping of the configuration. Raises ValueError, which quotes nothing of it."""
    text = setting(key)
    try:
        return shape.validate_json(text) if text else default
    except ValidationError:
        raise ValueError(f"{key} is not in the form that Pulumi's AWS provider takes") from None


def session_of(setting: Setting, region: str | None) -> boto3.Session:
    """A session with the credentials and the endpoints of the stack's AWS provider.

    Where the configuration says nothing, those of the environment and of ~/.aws, as the provider
    does. Raises botocore's errors, OSError where a token's file is missing, and ValueError.
    """
    import boto3  # here, not in every plan: it takes half a second
    import botocore.session

    endpoints = _endpoints(setting)

    class Session(boto3.Session):
        def client(self, service_name: str, *arguments: Any, **options: Any) -> Any:
            url = endpoints.get(_SERVICES.get(service_name, service_name))
            return super().client(service_name, *arguments, **{"endpoint_url": url, **options})  # type: ignore[call-overload]

    core = botocore.session.Session()
    for name, ours in _FILES.items():
        files = _parsed(setting, name, _FILE_LIST, [])
        if files:
            core.set_config_variable(ours, str(expanded(files[0])))
    given = {ours: setting(name) for name, ours in _KEYS.items()}
    if not given["aws_access_key_id"]:
        given = {"profile_name": setting("aws:profile")}  # boto3 takes the pair or neither
    session: boto3.Session = Session(
        botocore_session=core,
        region_name=region,
        **{name: value for name, value in given.items() if value},
    )
    for call, role in _roles(setting):
        answer = getattr(session.client("sts"), call)(**_wanted(role))["Credentials"]
        session = Session(
            aws_access_key_id=answer["AccessKeyId"],
            aws_secret_access_key=answer["SecretAccessKey"],
            aws_session_token=answer["SessionToken"],
            region_name=session.region_name,
        )
    return session


def client_of(setting: Setting, region: str) -> EC2Client:
    """A client of EC2 as `session_of` has it."""
    client: EC2Client = session_of(setting, region).client("ec2")
    return client


def _endpoints(setting: Setting) -> dict[str, str]:
    found: dict[str, str] = {}
    for places in _parsed(setting, "aws:endpoints", _ENDPOINTS, []):
        found.update({name: url for name, url in places.items() if url})
    return found


def _roles(setting: Setting) -> list[tuple[str, _Role]]:
    """The roles to take, each with what the one before gives, and how."""
    web = _parsed(setting, "aws:assumeRoleWithWebIdentity", TypeAdapter(_Role | None), None)
    roles = _parsed(setting, "aws:assumeRoles", _ROLES, [])
    first = [("assume_role_with_web_identity", web)] if web else []
    return [*first, *(("assume_role", role) for role in roles)]


def _wanted(role: _Role) -> dict[str, Any]:
    """What STS takes (API Reference, AssumeRole) of what the provider is told."""
    said = role.model_dump(include=set(_ROLE))
    wanted: dict[str, Any] = {"RoleSessionName": "secondlock"}
    wanted |= {theirs: said[ours] for ours, theirs in _ROLE.items() if said[ours]}
    if role.web_identity_token_file:
        wanted["WebIdentityToken"] = read_text(expanded(role.web_identity_token_file))
    if role.duration:
        wanted["DurationSeconds"] = _seconds(role.duration)
    if role.policy_arns:
        wanted["PolicyArns"] = [{"arn": arn} for arn in role.policy_arns]
    if role.tags:
        wanted["Tags"] = [{"Key": key, "Value": value} for key, value in role.tags.items()]
    return wanted


def _seconds(duration: str) -> int:
    """Of Go's notation, such as 1h30m. Raises ValueError."""
    if not re.fullmatch(r"([0-9]+[hms])+", duration):
        raise ValueError(f"{duration!r:.40} is not a duration, such as 1h")
    return sum(int(n) * _UNITS[unit] for n, unit in re.findall(r"([0-9]+)([hms])", duration))
