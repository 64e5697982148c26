"""The roster as AWS keeps it: an SSM SecureString that this machine's role alone may read."""

from typing import Any

from guest.aws import api


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
        found = client.get_parameter(Name=machine["parameter"], WithDecryption=True)["Parameter"]
    except (BotoCoreError, ClientError) as error:
        raise api.fault(error) from None
    return envelope(found["Version"], found["LastModifiedDate"].timestamp(), found["Value"])
