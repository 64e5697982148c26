"""Programs in the place of others, and what others make of our files."""

from __future__ import annotations

import json
import secrets
import shlex
import subprocess
from typing import TYPE_CHECKING

from cli import doctor
from infra.enrollment import fingerprint

if TYPE_CHECKING:
    from pathlib import Path


def stand_in(folder: Path, config: dict[str, str]) -> None:
    """A `pulumi` of a stack that is not up: what it says of a real one is tested elsewhere."""
    seed = secrets.token_hex(32)
    values = {
        **{key: {"value": value, "secret": False} for key, value in config.items()},
        "secondlock:enrollmentSeed": {"value": seed, "secret": True},
        "secondlock:seedFingerprint": {"value": fingerprint(seed), "secret": False},
    }
    script = f"case $1 in config) echo {shlex.quote(json.dumps(values))};; *) echo {{}};; esac"
    program(folder.parent, "pulumi", script)
    for name in doctor._RUNS_PYTHON:
        program(folder.parent, name, "exit 1")


def program(root: Path, name: str, script: str) -> None:
    """Put a program on PATH."""
    path = root / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def read_by_ssh(config: Path, host: str) -> dict[str, str]:
    """What the installed ssh makes of a host's entry; of what it names several times, all."""
    done = subprocess.run(["ssh", "-G", "-F", config, host], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    options: dict[str, str] = {}
    for line in done.stdout.splitlines():
        name, _, value = line.partition(" ")
        options[name] = f"{options[name]} {value}" if name in options else value
    return options
