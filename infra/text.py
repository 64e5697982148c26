"""Text that this program did not write, as it may go to a terminal, a log or an error.

Names and values come from files, machines and AWS. An escape sequence among them could hide or
forge lines, and a bidirectional control shows another text than the one that holds (Unicode
Technical Standard 55; CVE-2021-42574).
"""

from __future__ import annotations

import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"  # they only join letters and emoji to what a reader sees


def is_hidden(sign: str) -> bool:
    """True for a character that is not seen, or breaks a line: all controls, also tab and \\n."""
    return unicodedata.category(sign) in _HIDDEN and sign not in _JOINERS


def visible(text: str) -> str:
    """`text` with each hidden character as an escape, which YAML and Python read alike."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(sign) if is_hidden(sign) else sign for sign in text)


def brief(text: str, most: int = 80) -> str:
    """`visible(text)`, of no more than `most` characters and an ellipsis."""
    shown = visible(text[: most + 1])
    return shown if len(shown) <= most else f"{shown[:most]}..."


def first_hidden(text: str, allowed: str = "") -> int | None:
    """Where the first hidden character is that is none of `allowed`; None without one."""
    seen = text.translate(dict.fromkeys(map(ord, allowed))) if allowed else text
    if seen.isascii() and seen.isprintable():
        return None
    found = (i for i, sign in enumerate(text) if is_hidden(sign) and sign not in allowed)
    return next(found, None)


def _escape(sign: str) -> str:
    number = ord(sign)
    if sign in "\n\t":
        return "\\n" if sign == "\n" else "\\t"
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
