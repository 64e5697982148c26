"""The roster as AWS keeps it: an SSM SecureString that this machine's role alone may read."""

import hashlib
import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from guest import reading
from guest.aws import api

NAME = re.compile(r"[0-9a-f]{16}")
MOST_PARTS = 64


def envelope(version: int, modified: float, value: str) -> str:
    """As `roster.parse` takes it, which refuses a value that is not JSON.

    A parameter made anew begins at version 1 again, but AWS's own clock dates it later.
    """
    # Past the first version, a volume that knows nothing of an enrollment may have been lost: the
    # roster names its volume, so that there is another version for one that was made anew.
    known = "[]" if version == 1 else "null"
    head = f'"serial": {version}, "modified": {modified}, "new_volumes": true, "known": {known}'
    return f'{{{head}, "roster": {value}}}'


def get(machine: dict[str, Any]) -> str:
    """The envelope that AWS holds now for this machine. Raises GuestError, never with its value."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client = api.client("ssm", machine)
        found = _parameter(client, machine["parameter"])
        value = _whole(found["Value"], partial(_part, client, machine["parameter"]))
    except (BotoCoreError, ClientError) as error:
        raise api.fault(error) from None
    return envelope(found["Version"], found["LastModifiedDate"].timestamp(), value)


def _parameter(client: Any, name: str) -> Any:
    return client.get_parameter(Name=name, WithDecryption=True)["Parameter"]


def _part(client: Any, parameter: str, name: str) -> str:
    return str(_parameter(client, f"{parameter}/{name}")["Value"])


def _whole(value: str, part: Callable[[str], str]) -> str:
    """The roster: the value itself, or what it names, where the roster is too long for one.

    Parts are named by what is in them: those of another roster never stand in their place.
    """
    try:
        head = json.loads(value)
    except ValueError:
        return value  # to be refused as any that is no roster
    if not isinstance(head, dict) or "parts" not in head:
        return value
    names = reading.texts(head.pop("parts"), NAME, "a part's name")
    reading.need(len(names) <= MOST_PARTS, "it has too many parts")
    text = "".join(part(name) for name in names)
    mark = hashlib.sha256(text.encode()).hexdigest()
    reading.need(mark == head.pop("sha256", None), "its parts are not those that it was made of")
    return json.dumps({**json.loads(text), **head})
