"""secondlock-ship: authentication, status and sync lines, and who did what, to CloudWatch Logs.

The journal is the buffer: a cursor for each stream moves on only when AWS has taken the lines.
"""

import functools
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from guest import paths
from guest.audit import store
from guest.aws import api
from guest.system import GuestError, folder, run, write

# It lies with the journal, not on the state volume: a new root disk begins both anew.
CURSORS = Path("/var/spool/secondlock")
STREAMS: dict[str, tuple[str, ...]] = {
    "auth": ("SYSLOG_FACILITY=4", "SYSLOG_FACILITY=10"),
    "status": ("_SYSTEMD_UNIT=secondlock-status.service",),
    "sync": tuple(
        f"_SYSTEMD_UNIT=secondlock-{name}.service" for name in ("fetch", "boot", "spot", "install")
    ),
}
# PutLogEvents (CloudWatch Logs API reference): bytes with 26 more an event, events, milliseconds.
BYTES, OVERHEAD, EVENTS, SPAN = 1_048_576, 26, 10_000, 86_400_000
LONGEST = 200_000  # bytes of one message
READ = 5_000  # lines of the journal at once
# Whoever types a code where the name belongs has it logged by sshd: it goes no further.
NAMES = re.compile(r"(invalid user ).*?((?: from)? \S+ port \d+.*)?$", re.IGNORECASE | re.DOTALL)
SECRETS = re.compile(r"\b(?:[0-9]{6}|[0-9]{8}|[A-Z2-7]{32})\b")


class Event(NamedTuple):
    """One line; the time in milliseconds since 1970."""

    timestamp: int
    message: str

    @property
    def size(self) -> int:
        """Bytes that it takes of a batch."""
        return len(self.message.encode()) + OVERHEAD


def scrub(message: str) -> str:
    """Without anything that could be a code, a secret, or a password in place of a name."""
    return SECRETS.sub("[removed]", NAMES.sub(r"\1[removed]\2", message))


def event(stream: str, entry: dict[str, Any]) -> Event:
    """A journal entry as a line of its stream; what is not text is given as such."""
    message = entry.get("MESSAGE")
    if isinstance(message, list):
        message = bytes(message).decode(errors="replace")
    message = str(message or "-")
    if stream == "auth":
        message = f"{entry.get('SYSLOG_IDENTIFIER')}[{entry.get('_PID')}]: {scrub(message)}"
    message = message.encode(errors="replace")[:LONGEST].decode(errors="ignore")
    return Event(int(entry["__REALTIME_TIMESTAMP"]) // 1000, message)


def batches(events: list[Event]) -> Iterator[list[Event]]:
    """The events in order of time, in batches that one PutLogEvents takes."""
    batch: list[Event] = []
    size = 0
    for each in sorted(events, key=lambda event: event.timestamp):
        full = size + each.size > BYTES or len(batch) == EVENTS
        if batch and (full or each.timestamp - batch[0].timestamp >= SPAN):
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += each.size
    if batch:
        yield batch


def _read(stream: str, cursor: Path) -> list[dict[str, Any]]:
    after = [f"--after-cursor={cursor.read_text()}"] if cursor.exists() else []
    fields = "--output-fields=MESSAGE,SYSLOG_IDENTIFIER,_PID"
    lines = run(
        "journalctl", "-qa", "-o", "json", fields, f"--lines=+{READ}", *after, *STREAMS[stream]
    )
    return [json.loads(line) for line in lines.splitlines()]


def _put(client: Any, place: dict[str, str], batch: list[Event]) -> None:
    lines = [each._asdict() for each in batch]
    try:
        client.put_log_events(**place, logEvents=lines)
    except client.exceptions.ResourceNotFoundException:
        client.create_log_stream(**place)
        client.put_log_events(**place, logEvents=lines)


def _ship(client: Any, machine: dict[str, Any], stream: str) -> None:
    place = {
        "logGroupName": machine["log_group"],
        "logStreamName": f"{machine['machine']}/{stream}",
    }
    cursor = CURSORS / stream
    while entries := _read(stream, cursor):
        for batch in batches([event(stream, entry) for entry in entries]):
            _put(client, place, batch)
        write(cursor, entries[-1]["__CURSOR"], 0o600)


def _ship_record(client: Any, machine: dict[str, Any]) -> None:
    """Who did what, to a group of its own. By the time at which it is sent: AWS takes nothing that
    is much older or newer than its own clock."""
    place = {"logGroupName": f"{machine['log_group']}/audit", "logStreamName": machine["machine"]}
    cursor = store.SHIPPED  # so that what is not sent yet stays
    following = store.Following(_sent(cursor))
    while lines := following.lines(BYTES // 2):
        now = int(time.time() * 1000)
        events = [Event(now, line.decode(errors="replace").rstrip("\n")) for line in lines]
        for batch in batches(events):
            _put(client, place, batch)
        write(cursor, str(following.seq), 0o600)


def _sent(cursor: Path) -> int:
    try:
        return int(cursor.read_text())
    except (OSError, ValueError):
        return 0


def main() -> int:
    """Ship what is new; what AWS does not take now is tried again later."""
    from botocore.exceptions import BotoCoreError

    patience = api.Patience("ship")
    if patience.waits():
        return 0
    folder(CURSORS, 0o700)
    machine = json.loads(paths.MACHINE.read_text())
    try:
        refused = _ship_all(api.client("logs", machine), machine)
    except (BotoCoreError, GuestError) as error:
        refused = [error]
    for each in refused:
        print(each if isinstance(each, GuestError) else api.fault(each), file=sys.stderr)
    if refused:
        patience.failed()
        return 1
    patience.worked()
    return 0


def _ship_all(client: Any, machine: dict[str, Any]) -> list[Exception]:
    """What AWS refuses of one stream keeps no other back. Raises where it is not reached."""
    from botocore.exceptions import ClientError

    jobs = [functools.partial(_ship_record, client, machine)]
    jobs += [functools.partial(_ship, client, machine, stream) for stream in STREAMS]
    refused: list[Exception] = []
    for job in jobs:
        try:
            job()
        except ClientError as error:
            refused.append(error)
    return refused
