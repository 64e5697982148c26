"""Who exists is not told by the time that a refusal takes: many names of either kind, compared."""

from __future__ import annotations

import pytest

from bench import names
from infra.local.image import golden_image
from infra.model.problems import ProblemsError


def test_a_name_that_there_is_takes_as_long_as_one_that_there_is_not() -> None:
    try:
        golden_image()
    except ProblemsError as error:
        pytest.skip(str(error))
    for row in names.measure():
        assert row.verdict == "met", f"{row.what}: {row.ours}, {row.against}"
