"""`python -m tools.pictures`: what people see, as pictures for the pages that they read.

QR and codes are the program's own, of somebody who does not exist: the seed is this file's. The
words are those that it shows, written here once more.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from xml.sax.saxutils import escape

import qrcode

from infra.enrollment import derive

PLACE = Path(__file__).resolve().parent.parent / "docs" / "pictures"
SEED = hashlib.sha256(b"what people see").hexdigest()
"""Of no stack: it stands here for everybody to read."""

_MARGIN, _LINE, _COLUMN = 16, 20, 8.4  # pixels; of 14-pixel letters
_MODULE = 4  # pixels of a QR code's square
_LOGIN = """\
$ ssh alice.course
(alice@127.0.0.1) Verification code:
alice@gpu1:~$ python -c "import tensorflow as tf; print(tf.__version__)"
2.9.3
alice@gpu1:~$ """
_REFUSED = """\
$ ssh alice.course
(alice@127.0.0.1) Verification code:
This code was used already: wait for the next one.
(alice@127.0.0.1) Verification code:"""


def pictures() -> dict[str, str]:
    """Each by its file's name."""
    someone = derive(
        SEED,
        stack="course",
        machine="gpu1",
        researcher="alice",
        enrollment="0123456789abcdef" * 2,
        method="key+totp",
    )
    uri, codes = someone.shown["uri"], someone.shown["emergency_codes"]
    words = [
        "alice on machine gpu1 of stack course",
        "1. Scan the QR with any authenticator app.",
        "2. Write these emergency codes on paper. Each is good once:",
        *(f"   {code}" for code in codes),
    ]
    return {
        "enroll.svg": _screen(words, uri),
        "login.svg": _screen(_LOGIN.splitlines()),
        "refused.svg": _screen(_REFUSED.splitlines()),
    }


def _screen(lines: list[str], uri: str = "") -> str:
    """A terminal with these lines; below them the QR of a URI, if there is one."""
    height = 2 * _MARGIN + _LINE * len(lines)
    width = 2 * _MARGIN + int(_COLUMN * max(map(len, lines)))
    drawn = ""
    if uri:
        code = qrcode.QRCode(error_correction=qrcode.ERROR_CORRECT_L, border=4)
        code.add_data(uri)
        matrix = code.get_matrix()
        side = _MODULE * len(matrix)
        drawn = _squares(matrix, _MARGIN, height)
        height += side + _MARGIN
        width = max(width, side + 2 * _MARGIN)
    text = "".join(
        f'<text x="{_MARGIN}" y="{_MARGIN + _LINE * number - 6}">{escape(line)}</text>\n'
        for number, line in enumerate(lines, start=1)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}">\n'
        '<rect width="100%" height="100%" rx="8" fill="#1e1e1e"/>\n'
        '<g fill="#e6e6e6" font-family="monospace" font-size="14" xml:space="preserve">\n'
        f"{text}</g>\n{drawn}</svg>\n"
    )


def _squares(matrix: list[list[bool]], left: int, top: int) -> str:
    side = _MODULE * len(matrix)
    path = "".join(
        f"M{left + _MODULE * x} {top + _MODULE * y}h{_MODULE}v{_MODULE}h-{_MODULE}z"
        for y, row in enumerate(matrix)
        for x, dark in enumerate(row)
        if dark
    )
    paper = f'<rect x="{left}" y="{top}" width="{side}" height="{side}" fill="#fff"/>'
    return f'{paper}\n<path fill="#000" d="{path}"/>\n'


def main() -> None:
    """Write them all."""
    PLACE.mkdir(exist_ok=True)
    for name, text in pictures().items():
        (PLACE / name).write_text(text)


if __name__ == "__main__":
    main()
