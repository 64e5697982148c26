"""JSON (RFC 8259) for programs that a login waits for.

The library's own C parts; `json` itself loads `re` and what that needs, which takes as long as all
else that such a program does. Another Python may have them otherwise: then it is `json` after all.
"""

TYPE_CHECKING = False  # as `typing` has it, which takes long to import
if TYPE_CHECKING:
    from typing import Any

try:
    from _json import encode_basestring_ascii, make_encoder, make_scanner
except ImportError:
    make_encoder = make_scanner = encode_basestring_ascii = None  # type: ignore[misc, assignment]


def _no_number(_: str) -> None:
    raise ValueError("NaN and Infinity are no JSON")


class _How:
    """What the scanner asks of its decoder (json.scanner)."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int, parse_constant = float, int, _no_number


def loads(text: bytes) -> "Any":
    """The value of a whole text without blanks before it. Raises ValueError."""
    string = text.decode()
    if make_scanner is None:
        import json

        return json.loads(string, parse_constant=_no_number)
    try:
        found, end = make_scanner(_How)(string, 0)  # type: ignore[arg-type]  # what it looks at
    except StopIteration:
        raise ValueError("no JSON") from None
    if string[end:].strip():
        raise ValueError("more than one value")
    return found


def dumps(value: "Any") -> str:
    """The text of what JSON has: mappings by strings, lists, strings, numbers, booleans, None."""
    if make_encoder is None or encode_basestring_ascii is None:
        import json

        return json.dumps(value)
    how = (None, None, encode_basestring_ascii, None, ": ", ", ", False, False, False)
    encode = make_encoder(*how)  # type: ignore[arg-type]  # None: nothing else is encoded
    return "".join(encode(value, 0))
