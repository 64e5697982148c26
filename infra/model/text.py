"""Text that this program did not write, as it may go to a terminal, a log or an error.

Names and values come from files, machines and AWS. An escape sequence among them could hide or
forge lines, and a bidirectional control shows another text than the one that holds (Unicode
Technical Standard 55; CVE-2021-42574).
"""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Iterable

_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# They only join letters and emoji to what a reader sees, or choose an emoji's colours.
_JOINERS = "\u200c\u200d\ufe0e\ufe0f"
# What Unicode shows as nothing by default and is of no category above (DerivedCoreProperties.txt,
# Default_Ignorable_Code_Point): joiners of marks, fillers of Hangul and Khmer, selectors.
_IGNORABLE = (
    (0x034F, 0x034F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2065, 0x2065),
    (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0xE0000, 0xE0FFF),
)  # fmt: skip
# Letters and symbols without ink: Braille's empty cell, blanks of Egyptian, Khitan and music.
_BLANK = "\u2800\U00013441\U00013442\U00016fe4\U0001d159"


def is_hidden(sign: str) -> bool:
    """True for a character that is not seen, or breaks a line: all controls, also tab and \\n."""
    if sign in _JOINERS:
        return False
    unseen = unicodedata.category(sign) in _HIDDEN or sign in _BLANK
    return unseen or any(first <= ord(sign) <= last for first, last in _IGNORABLE)


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


def shell_word(text: str) -> str:
    """`text` as one word of a command line for bash, seen as a whole.

    Hidden characters as escapes (bash(1), "ANSI-C quoting"), byte by byte: a file's name may hold
    what is no text, and `visible` would make another name of it.
    """
    if first_hidden(text) is None:
        return shlex.quote(text)
    return "$'" + "".join(map(_shell_sign, text)) + "'"


def shell_line(words: Iterable[str]) -> str:
    """A command line for bash, each word as `shell_word` has it."""
    return " ".join(map(shell_word, words))


def _shell_sign(sign: str) -> str:
    if sign in "\\'":
        return f"\\{sign}"
    if not is_hidden(sign):
        return sign
    # Python's stand-in for a byte that is no UTF-8 (PEP 383), else half of a character.
    stands_for_a_byte = "\udc80" <= sign <= "\udcff"
    raw = sign.encode("utf-8", "surrogateescape" if stands_for_a_byte else "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in raw)


def _escape(sign: str) -> str:
    number = ord(sign)
    if sign in "\n\t":
        return "\\n" if sign == "\n" else "\\t"
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
