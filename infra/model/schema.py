"""What editors know of requests and shared machines: `python -m infra.model.schema` writes it.

JSON Schemas (2020-12) in stacks/, one for each kind of file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cloudinit.guest.methods import METHODS
from infra import factors
from infra.model.machine import SharedMachine
from infra.model.person import InstanceRequest

FOLDER = Path(__file__).resolve().parents[2] / "stacks"
_DIALECT = {"$schema": "https://json-schema.org/draft/2020-12/schema"}


def request_schema() -> dict[str, Any]:
    """Of a researcher's file."""
    return {
        **_DIALECT,
        **InstanceRequest.model_json_schema(),
        "allOf": [
            {"if": _by(method), "then": factor.REQUEST}
            for method in METHODS
            for factor in factors.of(method).values()
            if factor.REQUEST
        ],
    }


def _by(method: str) -> dict[str, Any]:
    """Of a request whose logins take it."""
    written = {"properties": {"factors": {"const": method}}}
    return written if method == factors.DEFAULT else {**written, "required": ["factors"]}


def machine_schema() -> dict[str, Any]:
    """Of a shared machine's file."""
    return {**_DIALECT, **SharedMachine.model_json_schema()}


def texts() -> dict[str, str]:
    """What the files in stacks/ hold, by name."""
    schemas = {"request": request_schema(), "machine": machine_schema()}
    return {
        f"{kind}.schema.json": json.dumps(schema, indent=2) + "\n"
        for kind, schema in schemas.items()
    }


if __name__ == "__main__":
    for name, text in texts().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
