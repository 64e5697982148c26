"""A stack's AWS account: clients by boto3, and what AWS refuses as sentences that name the mend."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore import exceptions as faults
from botocore.config import Config

from cli.engine import config_values, environment
from cli.project import Stack
from infra.aws.client import CREDENTIALS, session_of
from infra.aws.command import PROFILE, CommandLine
from infra.model.problems import Problem, ProblemsError

if TYPE_CHECKING:
    import boto3
    from botocore.exceptions import ClientError

# The client waits with the server: a thousand machines are more calls than AWS takes in a second.
_CLIENT = Config(
    retries={"mode": "adaptive", "max_attempts": 5},
    connect_timeout=10,
    read_timeout=30,
    max_pool_connections=32,
    user_agent_extra="secondlock",
)

_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "Client.Unauthorized"}
_WRONG_KEYS = {
    "AuthFailure",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_NO_REGION = {"OptInRequired", "RegionDisabledException"}
_BUSY = {"RequestLimitExceeded", "SlowDown", "Throttling", "ThrottlingException"}

_NO_CREDENTIALS = (
    faults.NoCredentialsError,
    faults.PartialCredentialsError,
    faults.CredentialRetrievalError,
    faults.SSOError,
    faults.TokenRetrievalError,
)
_UNREACHED = (faults.HTTPClientError, faults.ConnectionError)


def session(stack: Stack, region: str | None = None) -> boto3.Session:
    """A session as the stack's Pulumi program has one. Raises ProblemsError without a region.

    Credentials are those that the stack's configuration says under `aws:`, secret ones too, the
    region is `region` or `aws:region`; for both, else what the environment and ~/.aws say.
    """
    for name, value in environment(stack, os.environ).items():
        if name.startswith("AWS_"):
            os.environ.setdefault(name, value)
    values = _provider_values(stack)
    wanted = region or values.get("aws:region") or os.environ.get("AWS_REGION")
    with explained(stack, "sts"):
        made = session_of(values.get, wanted or None)
    made.events.register("before-parse", _refuse_web_page)
    if not made.region_name:
        mend = f"pulumi config set aws:region REGION --stack {stack.name}"
        raise ProblemsError([Problem(None, None, "no AWS region is chosen", mend)])
    return made


def _provider_values(stack: Stack) -> dict[str, str]:
    """What the stack's configuration says of its AWS provider. Raises ProblemsError.

    Pulumi is asked only where a secret is among what counts: that takes it a second.
    """
    values = {key: value for key, value in stack.values().items() if key.startswith("aws:")}
    if any(not values.get(key, "-") for key in (*CREDENTIALS, "aws:endpoints")):
        values |= {key: one.value for key, one in config_values(stack).items()}
    return values


def command_line(stack: Stack, region: str | None = None) -> CommandLine:
    """`aws` as the stack's program asks: for a command that a person shall type.

    A profile may stand in the stack's own environment file, which their shell need not know.
    Raises ProblemsError.
    """
    profile = stack.value(PROFILE) or environment(stack, os.environ).get("AWS_PROFILE")
    return CommandLine(region, profile)


def client_config() -> Config:
    """How every client of ours behaves."""
    return _CLIENT


@contextmanager
def explained(stack: Stack, service: str) -> Iterator[None]:
    """Faults of boto3 as ProblemsError; `service` is the prefix of the calls' IAM actions."""
    try:
        yield
    except faults.ClientError as error:
        raise ProblemsError([refusal(service, error, command_line(stack))]) from None
    except faults.ProfileNotFound as error:
        what = f"there is no AWS profile {error.kwargs.get('profile')}"
        mend = f"aws configure, or: pulumi config set aws:profile NAME --stack {stack.name}"
        raise ProblemsError([Problem(None, None, what, mend)]) from None
    except _NO_CREDENTIALS as error:
        what = f"AWS credentials are not at hand: {_plain(error)}"
        login = command_line(stack).line("sso login")
        mend = f"aws configure (or: {login}), then export AWS_PROFILE=NAME"
        raise ProblemsError([Problem(None, None, what, mend)]) from None
    except _UNREACHED as error:
        address = str(error.kwargs.get("endpoint_url") or "AWS").rstrip("/")
        what = f"{address} cannot be reached from this computer"
        mend = "check the network, the proxy (HTTPS_PROXY) and that the region's name is right"
        raise ProblemsError([Problem(None, None, what, mend)]) from None
    except (OSError, ValueError) as error:
        what = f"what the stack says of its AWS credentials does not hold: {_plain(error)}"
        mend = f"pulumi config --stack {stack.name} shows it, under aws:"
        raise ProblemsError([Problem(None, None, what, mend)]) from None
    except faults.BotoCoreError as error:
        look = command_line(stack).line("sts get-caller-identity")
        raise ProblemsError([Problem(None, None, f"boto3: {_plain(error)}", look)]) from None
    except _WebPageError:
        what = f"something answers with a web page in the place of AWS ({service})"
        mend = "is there a proxy or a login page in between? See HTTPS_PROXY and AWS_ENDPOINT_URL"
        raise ProblemsError([Problem(None, None, what, mend)]) from None


class _WebPageError(Exception):
    """An answer that is HTML: botocore would trip over it, or take it for an empty one."""


def _refuse_web_page(**event: Any) -> None:
    """A handler of botocore's event `before-parse`."""
    answer = event["response_dict"]
    html = "html" in answer["headers"].get("content-type", "")
    if html and answer["body"].lstrip().startswith(b"<"):  # other answers may call themselves so
        raise _WebPageError


def refusal(service: str, error: ClientError, aws: CommandLine) -> Problem:
    """AWS's own answer in a person's words."""
    code = error.response.get("Error", {}).get("Code", "")
    said = error.response.get("Error", {}).get("Message", "")
    action = f"{service}:{error.operation_name}"
    if code in _DENIED or "not authorized to perform" in said:
        named = re.search(r"not authorized to perform: ([a-z0-9-]+:\w+)", said)
        who = re.search(r"User: (arn:\S+)", said)
        whom = f" to {who[1]}" if who else ""
        what = f"AWS refuses {named[1] if named else action}{whom}"
        mend = "allow it; ./secondlock admin-policy prints all that an admin needs"
    elif code in _EXPIRED:
        what = "the AWS credentials have expired, or this computer's clock is off"
        mend = f"{aws.line('sso login')}, or new keys; timedatectl shows the clock"
    elif code in _WRONG_KEYS:
        what = f"AWS does not know these credentials, or this region is not enabled ({code})"
        mend = "; ".join(map(aws.line, ("sts get-caller-identity", "account list-regions")))
    elif code in _NO_REGION:
        what = "the region is not enabled in this account"
        enable = aws.line("account enable-region --region-name REGION")
        mend = f"{enable}, or choose another for aws:region"
    elif code in _BUSY:
        what, mend = f"AWS is asked too often ({action}: {code})", "try again in a minute"
    else:
        what = f"AWS: {action}: {code}: {' '.join(said.split()):.200}"
        mend = "docs/how-to/machines-in-ec2.md says what an account needs"
    return Problem(None, None, what, mend)


def _plain(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
