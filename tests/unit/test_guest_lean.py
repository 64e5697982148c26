"""JSON without `json`: the same values and the same text, and nothing else is taken."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

lean: Any = importlib.import_module("guest.lean")

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)  # fmt: skip


@given(VALUES)
def test_it_writes_and_reads_as_json_does(value: Any) -> None:
    assert lean.dumps(value) == json.dumps(value)
    assert lean.loads(json.dumps(value).encode()) == value
    assert lean.loads(json.dumps(value, indent=2).encode() + b"\n") == value


@given(st.binary() | st.text('{}[]",:0123456789aeflnrstuN-. ').map(str.encode))
def test_what_is_no_json_is_refused(text: bytes) -> None:
    try:
        wanted = json.loads(text.decode())
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 (each in words of its own)
            lean.loads(text)
        return
    if "NaN" not in text.decode() and not text.startswith((b" ", b"\t", b"\n", b"\r")):
        assert lean.loads(text) == wanted


def test_without_the_c_parts_it_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("make_scanner", "make_encoder"):
        monkeypatch.setattr(lean, name, None)
    assert lean.loads(lean.dumps({"a": [1, None]}).encode()) == {"a": [1, None]}
    with pytest.raises(ValueError, match="NaN"):
        lean.loads(b"NaN")


def test_the_verifier_loads_little() -> None:
    place = Path(__file__).parents[2] / "cloudinit"
    look = f"import sys; sys.path.insert(0, {str(place)!r}); from guest.totp import verify; "
    look += "print(*sorted({'json', 're', 'enum', 'typing', 'pathlib', 'ssl'} & set(sys.modules)))"
    loaded = subprocess.check_output([sys.executable, "-IS", "-c", look], text=True)
    assert loaded.split() == []
