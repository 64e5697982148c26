"""What user-data holds, read as cloud-init reads it: by its parts (RFC 2046)."""

from __future__ import annotations

import ast
import email
import gzip
import json
from typing import Any, NamedTuple


class UserData(NamedTuple):
    """The parts; `known` is what the boothook was given of its machine."""

    boothook: str
    config: dict[str, Any]
    known: dict[str, Any]


def read(packed: bytes) -> UserData:
    """Take a machine's user-data apart."""
    parts = {
        part.get_content_type(): str(part.get_payload())
        for part in email.message_from_bytes(gzip.decompress(packed)).walk()
        if not part.is_multipart()
    }
    assert sorted(parts) == ["text/cloud-boothook", "text/cloud-config"]
    boothook = parts["text/cloud-boothook"].removeprefix("#cloud-boothook\n")
    call = ast.parse(boothook).body[-1]
    assert isinstance(call, ast.Expr)
    assert isinstance(call.value, ast.Call)
    return UserData(
        boothook,
        json.loads(parts["text/cloud-config"]),
        ast.literal_eval(call.value.args[0]),
    )
