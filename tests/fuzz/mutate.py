"""Inputs made from good ones: bytes cut, repeated, exchanged, and put in from a list of traps."""

from __future__ import annotations

import json
from copy import deepcopy
from random import Random
from typing import Any

_TRAPS = [
    *(
        b"\x00",
        b"\x1b[31m",
        b"\r",
        b"\n",
        b"\t",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xc2\x85",
    ),
    *(text.encode() for text in ("\u2028", "\u202e", "\u200d", "\ufeff", "🦊", "ä", "\u00a0")),
    *(b'"\\ud800"', b'"\\ud83d\\ude00"', b'"\\e[2J"', b'"\\0"', b"\\u0000", b"\\ud800"),
    *(b"'", b'"', b"`", b"\\", b"%", b"${", b"$(", b"#", b": ", b"- ", b"? ", b"|\n", b">-\n"),
    *(b"[", b"]", b"{", b"}", b",", b"&a ", b"*a", b"!x ", b"!!str ", b"<<: ", b"---\n", b"...\n"),
    *(b"null", b"~", b"true", b"no", b"NaN", b"-Infinity", b".inf", b"1e999", b"-0", b"-1"),
    *(b"010", b"0x1f", b"1_0", b"1:30", b"2026-13-45", b"2026-11-22", b"1.5", b"9" * 60),
    *(b"9" * 5000, b"65536", b"4294967296", b"18446744073709551616"),
    *(b"0.0.0.0/0", b"::/0", b"10.0.0.0/8", b"fe80::1%x/128", b"::ffff:1.2.3.4/128", b"/33"),
    *(b"ssh-ed25519 ", b"ssh-rsa ", b"AAAA", b"=", b"-----BEGIN OPENSSH PRIVATE KEY-----"),
    *(b"---- BEGIN SSH2 PUBLIC KEY ----\n", b"\n---- END SSH2 PUBLIC KEY ----", b"Comment: x\\\n"),
    *(b"secure", b"researcher", b"ssh_keys", b"allowed_from", b"enrollment", b"end_sessions: "),
    *(b"export ", b"A=b", b"PATH=", b"../", b"/dev/zero", b" " * 300),
]
_VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 1.0, 2**64, 10**400, float("nan"), float("inf"), "", "\ud83d"),
    *([], {}, [[]], {"": None}, ["a", "a"], [0], "x" * 5000, "\x00", "a\nb", "\x1b[2J"),
]
_MOST = 70_000  # bytes: a little more than a file may have


def mutated(seeds: list[bytes], luck: Random) -> bytes:
    """One of the seeds with one to eight changes."""
    data = luck.choice(seeds)
    if data.startswith(b"{") and luck.random() < 0.7:
        return _members(data, luck)
    for _ in range(min(1 + int(luck.expovariate(0.5)), 8)):
        data = luck.choice(_CHANGES)(data, luck, seeds)[:_MOST]
    return data


def _members(data: bytes, luck: Random) -> bytes:
    """A document of JSON with other values in some places: bytes would hardly leave it one."""
    try:
        document = json.loads(data)
    except ValueError:
        return data
    for _ in range(luck.choice([1, 1, 1, 2, 3])):
        _exchange(document, luck)
    return json.dumps(document, ensure_ascii=luck.random() < 0.5).encode("utf-8", "surrogatepass")


def _exchange(place: Any, luck: Random) -> None:
    keys = list(place) if isinstance(place, dict) else list(range(len(place)))
    if not keys:
        return
    key = luck.choice(keys)
    if isinstance(place[key], (dict, list)) and luck.random() < 0.8:
        _exchange(place[key], luck)
        return
    text = luck.choice(_TRAPS).decode("utf-8", "replace")
    old = str(place[key])
    mixed = f"{old[: luck.randint(0, len(old))]}{text}{old[luck.randint(0, len(old)) :]}"
    place[key] = deepcopy(luck.choice([text, mixed, mixed, *_VALUES]))


def _span(data: bytes, luck: Random) -> tuple[int, int]:
    start = luck.randint(0, len(data))
    return start, min(len(data), start + int(luck.expovariate(0.1)))


def _cut(data: bytes, luck: Random, _: list[bytes]) -> bytes:
    start, end = _span(data, luck)
    return data[:start] + data[end:]


def _end(data: bytes, luck: Random, _: list[bytes]) -> bytes:
    return data[: luck.randint(0, len(data))]


def _trap(data: bytes, luck: Random, _: list[bytes]) -> bytes:
    start, end = _span(data, luck)
    return data[:start] + luck.choice(_TRAPS) + data[luck.choice([start, end]) :]


def _repeat(data: bytes, luck: Random, _: list[bytes]) -> bytes:
    start, end = _span(data, luck)
    often = luck.choice([2, 3, 10]) if luck.random() < 0.97 else 2000
    return data[:start] + data[start:end] * often + data[end:]


def _flip(data: bytes, luck: Random, _: list[bytes]) -> bytes:
    start = luck.randint(0, len(data))
    return data[:start] + bytes([luck.randrange(256)]) + data[start + 1 :]


def _line(data: bytes, luck: Random, seeds: list[bytes]) -> bytes:
    """A line of this or another seed in the place of a line."""
    lines = data.split(b"\n")
    others = luck.choice([data, *seeds]).split(b"\n")
    lines[luck.randrange(len(lines))] = luck.choice(others)
    return b"\n".join(lines)


def _value(data: bytes, luck: Random, _: list[bytes]) -> bytes:
    """A trap in the place of what stands behind a colon or between quotes."""
    start = data.find(luck.choice([b": ", b":", b'"', b"["]), luck.randint(0, len(data)))
    if start < 0:
        return data
    ends = [end for sign in b',\n"}]' if (end := data.find(bytes([sign]), start + 2)) > 0]
    return data[: start + 2] + luck.choice(_TRAPS) + data[min(ends, default=len(data)) :]


_CHANGES = [_cut, _end, _trap, _trap, _repeat, _flip, _line, _value, _value]
