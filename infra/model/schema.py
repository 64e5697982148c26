"""What editors know of a request: `python -m infra.model.schema` prints its JSON Schema.

It stands in stacks/request.schema.json.
"""

from __future__ import annotations

import json
from typing import Any

from infra.model.person import InstanceRequest


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a request file."""
    with_password = {
        "required": ["factors"],
        "properties": {"factors": {"const": "password+totp"}},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **InstanceRequest.model_json_schema(),
        "if": with_password,
        "else": {"required": ["ssh_keys"], "properties": {"ssh_keys": {"minItems": 1}}},
    }


def schema_text() -> str:
    """What stacks/request.schema.json holds."""
    return json.dumps(json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
