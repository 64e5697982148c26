"""EC2 instance types: those that run TensorFlow 2.9, and a reason for each other."""

from __future__ import annotations

import pytest

from infra.aws.types import TYPES, check_instance_type, vcpus
from infra.problems import RefusedError


def test_the_types_that_run_it() -> None:
    for name in ("g4dn.xlarge", "g5.48xlarge", "p3.2xlarge", "p4d.24xlarge"):
        assert check_instance_type(name) == name
    assert all(hardware.gpus for hardware in TYPES.values())
    assert vcpus("p4d.24xlarge") == 96


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("p5.48xlarge", "Hopper"),
        ("p5en.48xlarge", "Hopper"),
        ("p6-b200.48xlarge", "Blackwell"),
        ("g6.xlarge", "Ada"),
        ("g6e.xlarge", "Ada"),
        ("gr6.4xlarge", "Ada"),
        ("g5g.xlarge", "Graviton"),
        ("g4ad.xlarge", "AMD"),
        ("p2.xlarge", "Kepler"),
        ("trn1.2xlarge", "Trainium"),
        ("inf2.xlarge", "Inferentia"),
        ("t3.micro", "not known to have an NVIDIA GPU"),
        ("m7i.large", "not known to have an NVIDIA GPU"),
        ("g4dn.huge", "is no size of g4dn (there are xlarge, "),
        ("g4dn", "is no size of g4dn"),
        ("", "not known"),
    ],
)
def test_a_reason_for_the_others(name: str, reason: str) -> None:
    with pytest.raises(RefusedError) as caught:
        check_instance_type(name)
    assert reason in str(caught.value)
