"""Records of machines on AWS: a stream each in the stack's own log group for them."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from cli.aws.session import client_config, explained, session
from cli.aws.status import last_lines
from cli.engine import Machine
from cli.project import Stack
from cli.trails import Trail
from cloudinit.guest.audit import chain
from cloudinit.guest.audit.chain import Head
from infra.aws.policies import audit_log_group_name
from infra.model.settings import audit_days

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_logs import CloudWatchLogsClient


def trails(
    stack: Stack, machines: Mapping[str, Machine], since: str | None, *, ends: bool
) -> list[Trail]:
    """A trail of each stream, and of each machine. Raises ProblemsError.

    With `ends`, what their last status lines say of the last record counts.
    """
    found = []
    for region in sorted({one.region for one in machines.values()} or {None}, key=str):
        here = session(stack, region)
        logs = here.client("logs", config=client_config())
        those = {name: one for name, one in machines.items() if one.region == region}
        last = _ends(stack, here, those) if ends else {}
        streams = _streams(stack, logs)
        for name in sorted({*streams, *those}):
            lines, whole = _Lines(stack, logs, name, since), _whole(stack, streams.get(name, 0))
            found.append(Trail(name, lines, last.get(name), whole))
    return found


def _whole(stack: Stack, created: int) -> str | None:
    """The time from which on nothing has run out: any, where the stream is younger than what is
    kept. Nobody can take out single lines, but whoever may can begin a stream anew."""
    age = time.time() - created / 1000
    return "" if age < dt.timedelta(days=audit_days(stack.values())).total_seconds() else None


@dataclass(frozen=True)
class _Lines:
    """A stream's lines in the order of their numbers: nobody can move them there."""

    stack: Stack
    logs: CloudWatchLogsClient
    stream: str
    since: str | None

    def __iter__(self) -> Iterator[str]:
        numbered = ((chain.parse(line), line) for line in self._all())
        known = [(record["seq"], line) for record, line in numbered if record is not None]
        yield from (line for _, line in sorted(known, key=lambda each: each[0]))

    def _all(self) -> Iterator[str]:
        # What is sent is sent after it happened: so long ago, it cannot have been before.
        start: dict[str, Any] = {"startTime": _milliseconds(self.since)} if self.since else {}
        token: dict[str, Any] = {}
        with explained(self.stack, "logs"):
            while True:
                try:
                    page = self.logs.get_log_events(
                        logGroupName=audit_log_group_name(self.stack.name),
                        logStreamName=self.stream,
                        startFromHead=True,
                        **start,
                        **token,
                    )
                except ClientError as error:
                    if _is_missing(error):
                        return
                    raise
                yield from (one.get("message", "") for one in page["events"])
                following = page["nextForwardToken"]
                if token.get("nextToken") == following:  # the end (GetLogEvents)
                    return
                token = {"nextToken": following}


def _streams(stack: Stack, logs: CloudWatchLogsClient) -> dict[str, int]:
    """Whose records there are, and since when, in milliseconds since 1970. Raises ProblemsError."""
    group = audit_log_group_name(stack.name)
    with explained(stack, "logs"):
        try:
            pages = logs.get_paginator("describe_log_streams").paginate(logGroupName=group)
            streams = [one for page in pages for one in page["logStreams"]]
            return {one.get("logStreamName", ""): one.get("creationTime", 0) for one in streams}
        except ClientError as error:
            if _is_missing(error):
                return {}
            raise


def _ends(stack: Stack, here: boto3.Session, machines: Mapping[str, Machine]) -> dict[str, Head]:
    found = {}
    for name, line in last_lines(stack, here, machines).items():
        with suppress(ValueError, KeyError, TypeError):
            said = json.loads(line)["audit"]
            found[name] = Head(int(said["seq"]), str(said["hash"]))
    return found


def _is_missing(error: ClientError) -> bool:
    return error.response.get("Error", {}).get("Code") == "ResourceNotFoundException"


def _milliseconds(written: str) -> int:
    when = dt.datetime.fromisoformat(written.removesuffix("Z")).replace(tzinfo=dt.timezone.utc)
    return int(when.timestamp() * 1000)
