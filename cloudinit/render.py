"""The templates of machines' files, and what they have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from cloudinit.facets import GUEST

LIBRARY = "/usr/local/lib/secondlock"
"""Where programs of ours are on a machine."""

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(GUEST),
    undefined=jinja2.StrictUndefined,
    autoescape=False,  # noqa: S701 (configuration and shell, not HTML; values are our constants)
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def render(template: Path, **values: Any) -> str:
    """The text of a template below cloudinit/guest/.

    Raises jinja2.UndefinedError for a value not given.
    """
    return _ENVIRONMENT.get_template(template.relative_to(GUEST).as_posix()).render(values)
