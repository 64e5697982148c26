"""Reading files that other people or programs may have put there.

A name can be a link to somebody's secret, a pipe on which a program waits for ever, or a device;
a file can be of any size and in any encoding. All of it is refused here, with what mends it.
"""

from __future__ import annotations

import codecs
import json
import os
import stat
from pathlib import Path
from typing import Any

from infra.model.problems import RefusedError
from infra.model.text import shell_word

MAX_BYTES = 64 * 1024
"""What a file may have at most, unless its reader says otherwise."""

# UTF-32's little-endian mark begins with UTF-16's: it comes first.
_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


class UnreadableError(RefusedError):
    """A file that is not read: why, and the line where the text is at fault."""


def read_text(
    file: Path,
    *,
    limit: int = MAX_BYTES,
    inside: Path | None = None,
    private: bool = False,
    wide: bool = False,
) -> str:
    """A file's text, without a byte order mark. Raises UnreadableError, FileNotFoundError.

    At most `limit` bytes; with `inside` no link may lead out of that folder, and what is `private`
    is no link, one's own, and closed to others. UTF-8; with `wide` also what Windows calls Unicode.
    """
    raw = _read_bytes(file, limit, inside, private)
    coding = _wide_encoding(raw)
    if coding and not wide:
        name = shell_word(str(file))
        mend = f"iconv -f {coding} -t UTF-8 {name} > {name}.new && mv {name}.new {name}"
        raise UnreadableError(f"{coding} text, not UTF-8", mend)
    try:
        return raw.decode(coding or "utf-8-sig").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        what = f"not {coding or 'UTF-8'} text"
        raise UnreadableError(what, "save the file as UTF-8", line) from None


def from_json(text: str | bytes) -> Any:
    """What a text in JSON says. Raises ValueError, also where it is nested too deep."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def expanded(place: str) -> Path:
    """A path as the shell takes it; with a home of nobody's as it is written."""
    try:
        return Path(place).expanduser()
    except RuntimeError:
        return Path(place)


def _read_bytes(file: Path, limit: int, inside: Path | None, private: bool) -> bytes:
    try:
        return _content(_place(file, inside), limit, private)
    except FileNotFoundError:
        if file.is_symlink():
            raise UnreadableError("a link to nothing", "remove it") from None
        raise
    except (OSError, ValueError) as error:
        if isinstance(error, UnreadableError):
            raise
        reason = getattr(error, "strerror", None) or "its name cannot be one"
        raise UnreadableError(f"cannot be read: {reason}") from None


def _place(file: Path, inside: Path | None) -> Path:
    """Where the file really is."""
    if inside is None or (file.parent == inside and not file.is_symlink()):
        return file
    place = Path(os.path.realpath(file))
    if not place.is_relative_to(os.path.realpath(inside)):
        raise UnreadableError("a link to a file elsewhere, which is not read", "put the file here")
    return place


def _content(file: Path, limit: int, private: bool) -> bytes:
    _check_regular(file.stat())  # before it is opened: for some devices that alone does something
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(file, flags | (os.O_NOFOLLOW if private else 0))
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        _check_regular(status)
        if private:
            _check_private(file, status)
        raw = stream.read(limit + 1)
    if len(raw) > limit:
        raise UnreadableError(f"larger than {limit // 1024} KiB: not what belongs here")
    return raw


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableError("not a regular file", "put a file in its place")


def _check_private(file: Path, status: os.stat_result) -> None:
    name = shell_word(str(file))
    if status.st_uid != os.geteuid():
        raise UnreadableError("belongs to another user", f"sudo chown {os.geteuid()} {name}")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise UnreadableError("is open to other users", f"chmod 600 {name}")


def _wide_encoding(raw: bytes) -> str | None:
    """UTF-16 or UTF-32 by its mark, else by the zeros between Latin letters."""
    for mark, name in _MARKS:
        if raw.startswith(mark):
            return name
    start = raw[:4]
    if (
        len(start) == 4
        and start.count(0) == 2
        and 0 in (start[0], start[1])
        and start[0] != start[1]
    ):
        return "UTF-16BE" if start[0] == 0 else "UTF-16LE"
    return None
