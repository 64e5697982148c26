"""Files are read by a parser in C where it and the one in Python say the same."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from infra.model import yaml_lines
from tests.fuzz.mutate import mutated

if TYPE_CHECKING:
    from infra.model.yaml_lines import Document

FILE = Path("alice.yaml")
SEEDS = [
    b"researcher: alice\nssh_keys:\n  - ssh-ed25519 AAAA a@laptop\nallowed_from: [192.0.2.0/24]\n",
    b"# Who.\nmachine:\n  cpus: 2\n  until: \"2030-01-31\"\n\nnone:\nlist: [a, 'b', [c]]\n",
    b"a:\n- b: c\n  d: 1.5\n- - e\n  - yes\nf: on # a word\ng: 'it''s'\nh: \"x\\n\"\n",
]


def _read(text: str) -> tuple[Any, ...]:
    document: Document = yaml_lines.read_document(FILE, text=text)
    return document.data, document.lines, document.written, document.problems


def test_both_parsers_read_a_file_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    luck = Random(20261127)  # noqa: S311
    texts = [mutated(SEEDS, luck).decode(errors="replace") for _ in range(3000)]
    texts += [seed.decode() for seed in SEEDS]
    quick = [yaml_lines._composed_quickly(text) is not None for text in texts]
    assert sum(quick) > 300
    found = list(map(_read, texts))
    monkeypatch.setattr(yaml_lines, "_UNALIKE", re.compile(""))
    for text, once in zip(texts, found, strict=True):
        assert once == _read(text), text
