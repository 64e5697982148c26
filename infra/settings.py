"""A stack's own settings: the values under `secondlock:` in its Pulumi configuration."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from infra.images import check_image
from infra.problems import Problem, ProblemsError, RefusedError

STACK_PATTERN = r"^[a-zA-Z0-9][a-zA-Z0-9_-]{0,62}$"
"""Narrower than Pulumi's rule: the name becomes a folder and a part of host aliases."""

SEED_KEY = "enrollmentSeed"
"""The one secret; `infra.enrollment` takes it, the settings never hold it."""

_FINGERPRINT_PATTERN = "^[0-9a-f]{16}$"
_KEYS = ("target", "seedFingerprint", "newSeed", "tensorflowImage", SEED_KEY)


class Settings(BaseModel):
    """What holds for a whole stack."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    stack: str
    target: Literal["local", "aws"] = "local"
    seed_fingerprint: str | None = None
    """Of the seed that the stack's phones were enrolled with; see `enrollment.check_seed`."""
    new_seed: bool = False
    tensorflow_image: str | None = None
    """`name@sha256:digest`, or None for the target's own."""


def load_settings(stack: str, values: Mapping[str, str]) -> Settings:
    """Settings from the configuration's values, keyed without the `secondlock:` prefix.

    Raises ProblemsError with every error and the `pulumi config` command that mends it.
    """
    problems = _stack_problems(stack) + [
        problem for key, value in values.items() for problem in _problems(key, value, stack)
    ]
    if problems:
        raise ProblemsError(problems)
    return Settings.model_validate(
        {
            "stack": stack,
            "target": values.get("target", "local"),
            "seed_fingerprint": values.get("seedFingerprint"),
            "new_seed": values.get("newSeed") == "true",
            "tensorflow_image": values.get("tensorflowImage"),
        }
    )


def _stack_problems(stack: str) -> list[Problem]:
    if re.fullmatch(STACK_PATTERN, stack):
        return []
    what = f"{stack!r:.80} cannot be a stack's name here: a-z, 0-9, _ and -, at most 63"
    return [Problem(None, None, what, "pulumi stack rename NAME")]


def _problems(key: str, value: str, stack: str) -> list[Problem]:
    if key not in _KEYS:
        near = difflib.get_close_matches(key, _KEYS, n=1)
        hint = f": did you mean secondlock:{near[0]}?" if near else ""
        mend = f"pulumi config rm secondlock:{key} --stack {stack}"
        return [Problem(None, None, f"unknown setting secondlock:{key}{hint}", mend)]
    fault = _fault(key, value)
    if fault is None:
        return []
    mend = f"pulumi config set secondlock:{key} VALUE --stack {stack}"
    return [Problem(None, None, f"secondlock:{key}: {fault}", mend)]


def _fault(key: str, value: str) -> str | None:
    if key == "target" and value not in {"local", "aws"}:
        return "expected local or aws"
    if key == "newSeed" and value not in {"true", "false"}:
        return "expected true or false"
    if key == "seedFingerprint" and not re.fullmatch(_FINGERPRINT_PATTERN, value):
        return "expected 16 hex digits"
    if key == "tensorflowImage":
        try:
            check_image(value)
        except RefusedError as refused:
            return str(refused)
    return None
