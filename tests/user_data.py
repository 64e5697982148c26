"""What user-data holds, read as cloud-init reads it: by its parts (RFC 2046)."""

from __future__ import annotations

import ast
import email
import gzip
import json
from typing import Any, NamedTuple


class UserData(NamedTuple):
    """The parts; `files` maps a path to its mode and content, in the order of writing."""

    boothook: str
    config: dict[str, Any]
    files: dict[str, tuple[str, str]]


def read(packed: bytes) -> UserData:
    """Take a machine's user-data apart."""
    parts = {
        part.get_content_type(): str(part.get_payload())
        for part in email.message_from_bytes(gzip.decompress(packed)).walk()
        if not part.is_multipart()
    }
    assert sorted(parts) == ["text/cloud-boothook", "text/cloud-config"]
    boothook = parts["text/cloud-boothook"].removeprefix("#cloud-boothook\n")
    (files,) = (
        ast.literal_eval(each.value)
        for each in ast.parse(boothook).body
        if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "files"
    )
    return UserData(
        boothook,
        json.loads(parts["text/cloud-config"]),
        {path: (mode, content) for path, mode, content in files},
    )
