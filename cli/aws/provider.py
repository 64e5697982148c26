"""Pulumi's AWS provider on this computer: whether it is here, and the one that is pinned."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import TYPE_CHECKING

from cli.engine import environment
from cli.findings import Finding, note, ok, stop
from cli.project import shown
from infra.aws import plugin
from infra.model.text import shell_line

if TYPE_CHECKING:
    from cli.project import Stack

_NEVER_FETCHED = "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"
_CHECK = "provider"
_TRUE = {"1", "true"}


def provider(stack: Stack) -> list[Finding]:
    """Whether it is here in the version that the program is written for. Raises ProblemsError.

    Where it is not it stops `up` only if Pulumi may not fetch it.
    """
    variables = environment(stack, os.environ)
    found = plugin.programs(variables)
    if refused := plugin.refusals(stack.root, variables):
        return [Finding(_CHECK, one) for one in refused]
    pins = plugin.Pins(stack.root)
    if not found:
        return [_absent(pins, may_fetch=variables.get(_NEVER_FETCHED, "").lower() not in _TRUE)]
    if pins.program:
        return [ok(_CHECK, f"{found[0]}, as it is pinned")]
    line = f"{plugin.sha256(found[0])}  {plugin.name()}"
    pin = f"{shell_line(['echo', line])} >> {shown(pins.file)}"
    what = f"{found[0]}, which is given your AWS credentials, is not pinned: elsewhere, or after "
    return [note(_CHECK, f"{what}a new download, it could be any other", f"{pin}, and commit it")]


def _absent(pins: plugin.Pins, *, may_fetch: bool) -> Finding:
    what = f"no AWS provider {version('pulumi-aws')} for Pulumi"
    if not may_fetch:
        return stop(_CHECK, f"{what}, and {_NEVER_FETCHED} is set", plugin.install(pins))
    return note(_CHECK, f"{what} yet: the first `up` fetches it", plugin.install(pins))
