"""Plans and settings without a target's word on them, for what looks at these alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra import plan
from infra.model.folder import load_folder
from infra.model.settings import AwsSettings, load_settings, read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def make_plan(stack: str, folder: Path, values: Mapping[str, str], seed: str) -> plan.Plan:
    """The plan of `stack`, whose requests are in `folder`; `values` are its settings.

    Raises ProblemsError for faults of these two.
    """
    return plan.make_plan(load_settings(stack, values), load_folder(folder), seed)


def aws_settings(**values: str) -> AwsSettings:
    """Of a stack on aws that says no more than this."""
    settings, _ = read_settings("demo", {"target": "aws", **values})
    return AwsSettings.of(settings)
