"""Settings: the values under `secondlock:` in a stack's configuration."""

from __future__ import annotations

import pytest

from infra.problems import ProblemsError
from infra.settings import Settings, load_settings

DIGEST = "example.org/tf@sha256:" + "0" * 64


def test_defaults_and_values() -> None:
    assert load_settings("demo", {}) == Settings(stack="demo", target="local")
    assert load_settings(
        "demo",
        {
            "target": "aws",
            "seedFingerprint": "0123456789abcdef",
            "newSeed": "true",
            "tensorflowImage": DIGEST,
            "enrollmentSeed": "not looked at",
        },
    ) == Settings(
        stack="demo",
        target="aws",
        seed_fingerprint="0123456789abcdef",
        new_seed=True,
        tensorflow_image=DIGEST,
    )


def test_every_mistake_at_once_with_its_command() -> None:
    values = {
        "target": "azure",
        "newSeed": "yes",
        "seedFingerprint": "0123",
        "tensorflowImage": "tensorflow:latest",
        "targt": "local",
    }
    with pytest.raises(ProblemsError) as caught:
        load_settings("a/b", values)
    lines = str(caught.value).splitlines()
    assert len(lines) == 6
    assert "'a/b' cannot be a stack's name" in lines[0]
    assert "expected local or aws (pulumi config set secondlock:target VALUE" in lines[1]
    assert "did you mean secondlock:target? (pulumi config rm secondlock:targt" in lines[5]
