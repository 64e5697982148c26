"""The templates of this folder, and what they have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

HERE = Path(__file__).resolve().parent
LIBRARY = "/usr/local/lib/secondlock"
"""Where programs of ours are on a machine."""

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE / "templates"),
    undefined=jinja2.StrictUndefined,
    autoescape=False,  # noqa: S701 (configuration and shell, not HTML; values are our constants)
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def render(template: str, **values: Any) -> str:
    """The text of `templates/<template>.j2`. Raises jinja2.UndefinedError for a value not given."""
    return _ENVIRONMENT.get_template(f"{template}.j2").render(values)
