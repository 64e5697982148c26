"""A few thousand random inputs, the same ones each time; `make fuzz` runs many and others."""

from __future__ import annotations

import pytest

from tests.fuzz.runner import fuzz
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", list(TARGETS))
def test_nothing_but_faults_meant_for_a_person(name: str) -> None:
    fuzz(TARGETS[name], 200, seed=20261126)
