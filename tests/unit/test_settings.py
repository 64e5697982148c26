"""Settings: the values under `secondlock:` in a stack's configuration."""

from __future__ import annotations

import pytest

from infra.model.problems import ProblemsError
from infra.model.settings import AwsSettings, Settings, load_settings

DIGEST = "example.org/tf@sha256:" + "0" * 64


AWS = {
    "target": "aws",
    "zones": "eu-west-1a, eu-west-1c",
    "onDestroy": "snapshot",
    "baseImage": "ami-0123456789abcdef0",
    "tensorflowImage": DIGEST,
}


def problems(stack: str, values: dict[str, str]) -> list[str]:
    with pytest.raises(ProblemsError) as caught:
        load_settings(stack, values)
    return str(caught.value).splitlines()


def test_defaults_and_values() -> None:
    assert load_settings("demo", {}) == Settings(stack="demo", target="local")
    values = {
        "seedFingerprint": "0123456789abcdef",
        "newSeed": "true",
        "tensorflowImage": DIGEST,
        "enrollmentSeed": "not looked at",
    }
    assert load_settings("demo", values) == Settings(
        stack="demo",
        target="local",
        seed_fingerprint="0123456789abcdef",
        new_seed=True,
        tensorflow_image=DIGEST,
    )


def test_the_settings_of_aws() -> None:
    least = AwsSettings(
        stack="demo",
        target="aws",
        zones=("eu-west-1a", "eu-west-1c"),
        on_destroy="snapshot",
        base_image="ami-0123456789abcdef0",
        tensorflow_image=DIGEST,
    )
    assert load_settings("demo", AWS) == least
    more = {
        "vpcCidr": "192.168.16.0/20",
        "bake": "false",
        "instanceType": "g5.8xlarge",
        "costCentre": "Lehrstuhl für Räume/42",
        "logRetentionDays": "365",
        "alarms": "false",
        "alertEmail": "lab@example.org",
    }
    assert load_settings("demo", AWS | more) == least.model_copy(
        update={
            "vpc_cidr": "192.168.16.0/20",
            "bake": False,
            "instance_type": "g5.8xlarge",
            "cost_centre": "Lehrstuhl für Räume/42",
            "log_retention_days": 365,
            "alarms": False,
            "alert_email": "lab@example.org",
        }
    )


def test_what_aws_needs_and_local_does_not_know() -> None:
    found = problems("demo", {"target": "aws"})
    assert [line.split()[0] for line in found] == [
        f"secondlock:{key}" for key in ("tensorflowImage", "zones", "onDestroy", "baseImage")
    ]
    assert "(./secondlock image pin --stack demo)" in found[3]
    found = problems("demo", AWS | {"target": "local"})
    assert len(found) == 3
    assert "onDestroy says nothing on the target local (pulumi config rm" in found[1]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("zones", "", "'' is not an availability zone"),
        ("zones", "eu-west-1", "is not an availability zone"),
        ("zones", "us-west-2-lax-1a", "is not an availability zone"),
        ("zones", "eu-west-1a,eu-west-1a", "the same zone twice"),
        ("zones", "eu-west-1a,eu-north-1a", "more than one region"),
        ("vpcCidr", "10.0.0.0/8", "from a /16 to a /24"),
        ("vpcCidr", "10.0.0.0/25", "from a /16 to a /24"),
        ("vpcCidr", "fd00::/16", "an IPv4 network"),
        ("vpcCidr", "198.51.100.0/24", "private addresses"),
        ("vpcCidr", "10.77.1.0/16", "has host bits set"),
        ("onDestroy", "keep", "expected delete or snapshot"),
        ("baseImage", "debian-13", "such as ami-..."),
        ("bake", "yes", "expected true or false"),
        ("instanceType", "p5.48xlarge", "Hopper"),
        ("costCentre", "a;b", "expected letters"),
        ("logRetentionDays", "91", "expected 1, 3, "),
        ("alarms", "", "expected true or false"),
        ("alertEmail", "me", "expected one e-mail address"),
    ],
)
def test_one_mistake(key: str, value: str, expected: str) -> None:
    found = problems("demo", AWS | {key: value})
    assert f"secondlock:{key}: " in found[0]
    assert expected in found[0]


def test_every_mistake_at_once_with_its_command() -> None:
    values = {
        "target": "azure",
        "newSeed": "yes",
        "seedFingerprint": "0123",
        "tensorflowImage": "tensorflow:latest",
        "targt": "local",
    }
    lines = problems("a/b", values)
    assert len(lines) == 6
    assert "'a/b' cannot be a stack's name" in lines[0]
    assert "expected local or aws (pulumi config set secondlock:target VALUE" in lines[1]
    assert "did you mean secondlock:target? (pulumi config rm secondlock:targt" in lines[5]
