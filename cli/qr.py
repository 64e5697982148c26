"""An otpauth URI as a picture. Apart from enrollments: plans draw nothing and load no drawing."""

from __future__ import annotations

import io

import qrcode


def qr_png(uri: str) -> bytes:
    """The QR code of an otpauth URI as a PNG file's bytes."""
    code = qrcode.QRCode(error_correction=qrcode.ERROR_CORRECT_M, box_size=8, border=4)
    code.add_data(uri)
    buffer = io.BytesIO()
    code.make_image().save(buffer)
    return buffer.getvalue()


def qr_terminal(uri: str) -> str:
    """The QR code as lines of half blocks, two modules a character, with a quiet zone.

    Colours are set (black on white, of the 256-colour cube, which themes leave alone), so that it
    scans on dark and on light terminals.
    """
    code = qrcode.QRCode(error_correction=qrcode.ERROR_CORRECT_L, border=4)
    code.add_data(uri)
    rows = code.get_matrix()
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    blocks = {(0, 0): " ", (1, 0): "▀", (0, 1): "▄", (1, 1): "█"}
    lines = (
        "".join(blocks[bool(a), bool(b)] for a, b in zip(top, bottom, strict=True))
        for top, bottom in zip(rows[::2], rows[1::2], strict=True)
    )
    return "\n".join(f"\x1b[38;5;16;48;5;231m{line}\x1b[0m" for line in lines) + "\n"
