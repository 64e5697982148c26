"""Pulumi's AWS provider on this computer: a program of its own, which Pulumi can fetch."""

from __future__ import annotations

import os
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from cli.engine import environment
from cli.findings import Finding, note, ok, stop

if TYPE_CHECKING:
    from cli.project import Stack

_PROGRAM = "pulumi-resource-aws"
_NEVER_FETCHED = "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"
_CHECK = "provider"


def provider(stack: Stack) -> Finding:
    """Whether it is here in the version that the program is written for. Raises ProblemsError.

    Where it is not it stops `up` only if Pulumi may not fetch it.
    """
    variables = environment(stack, os.environ)
    wanted = version("pulumi-aws")
    home = variables.get("PULUMI_HOME") or f"{variables.get('HOME', '~')}/.pulumi"
    kept = Path(home).expanduser() / "plugins" / f"resource-aws-v{wanted}" / _PROGRAM
    found = shutil.which(_PROGRAM, path=variables["PATH"]) or (str(kept) if kept.exists() else None)
    if found:
        return ok(_CHECK, found)
    what, mend = (
        f"no AWS provider {wanted} for Pulumi",
        f"pulumi plugin install resource aws {wanted}",
    )
    if variables.get(_NEVER_FETCHED, "").lower() in {"1", "true"}:
        return stop(_CHECK, f"{what}, and {_NEVER_FETCHED} is set", mend)
    return note(_CHECK, f"{what} yet: the first `up` fetches it", mend)
