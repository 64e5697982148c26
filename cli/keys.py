"""Public keys as people have them: files of OpenSSH, PuTTY and Windows."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from infra.model.problems import Problem, ProblemsError, RefusedError
from infra.model.reading import UnreadableError, read_text
from infra.model.ssh_keys import KEY_TYPES, NEW_KEY, NoKeyError, check_ssh_key, key_blob
from infra.model.text import shell_word
from infra.model.yaml_lines import holds_private_key

_OTHER = "name another: --key FILE"
_ENDS = ("---- END", "-----END")
_BEGIN, _END = "---- BEGIN SSH2 PUBLIC KEY ----", "---- END SSH2 PUBLIC KEY ----"
_HEADER = re.compile(r"[!-9;-~]{1,64}:")
_BASE64 = re.compile("[A-Za-z0-9+/]+={0,2}")


def read_keys(path: Path) -> list[str]:
    """The keys in a file, each once, as lines of OpenSSH's.

    Taken are .pub and authorized_keys files and what RFC 4716 describes, in UTF-8 or UTF-16, with
    any line ends. Raises ProblemsError with each fault's line; a private key is never quoted.
    """
    try:
        text = read_text(path, wide=True)
    except FileNotFoundError:
        raise ProblemsError([Problem(path, None, "is not there", _OTHER)]) from None
    except UnreadableError as error:
        problem = error.problem.at(path)
        raise ProblemsError([replace(problem, mend=problem.mend or _OTHER)]) from None
    if holds_private_key(text):
        raise ProblemsError([_private(path, text)])
    keys: dict[str, str] = {}
    faults: list[tuple[int, RefusedError]] = []
    for number, block in _blocks(text):
        try:
            key = check_ssh_key(_line(block))
            keys.setdefault(key_blob(key), key)
        except RefusedError as error:
            faults.append((number, error))
    if not keys and all(isinstance(error, NoKeyError) for _, error in faults):
        mend = f"{_OTHER}; types allowed: {', '.join(KEY_TYPES)}"
        raise ProblemsError([Problem(path, None, "holds no SSH public key", mend)])
    if faults:
        raise ProblemsError(error.problem.at(path, number) for number, error in faults)
    return list(keys.values())


def _private(path: Path, text: str) -> Problem:
    what = "is a private key, which nobody but its owner may have"
    name, public = shell_word(str(path)), shell_word(f"{path}.pub")
    if "PuTTY-User-Key-File-" in text:
        mend = (
            f"--key with its public part: puttygen {name} -L > {public}; PuTTYgen on Windows shows "
            "it for pasting"
        )
    else:
        mend = f"--key {public}; without one: ssh-keygen -y -f {name} > {public}"
    return Problem(path, None, what, mend)


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """The lines of each key, with the number of the first; blank ones and comments are no keys."""
    lines = [line.strip().replace("\t", " ") for line in text.split("\n")]
    number = 0
    while number < len(lines):
        start, number = number, number + 1
        if lines[start].startswith("----"):
            while number < len(lines) and not lines[number - 1].startswith(_ENDS):
                number += 1
        elif lines[start].startswith(KEY_TYPES):
            while number < len(lines) and _BASE64.fullmatch(lines[number]):
                number += 1
        if lines[start] and not lines[start].startswith("#"):
            yield start + 1, lines[start:number]


def _line(block: Sequence[str]) -> str:
    """A key as OpenSSH writes it. Raises RefusedError for a form that is not read here."""
    first = block[0]
    if first == _BEGIN and block[-1] == _END:
        return _from_rfc4716(block[1:-1])
    if first == _BEGIN:
        raise RefusedError("a damaged key: its end is missing", "copy the whole file again")
    if first.startswith("-----BEGIN"):
        if "PUBLIC KEY" not in first:
            raise RefusedError("PEM, but not an SSH public key", NEW_KEY)
        form = "PEM" if "RSA" in first else "PKCS8"
        what = "a public key in another form than OpenSSH's"
        raise RefusedError(what, f"convert it: ssh-keygen -i -m {form} -f FILE")
    if len(block) > 1:
        what = "a key that is broken over several lines"
        raise RefusedError(what, "join them to one, as in its .pub file")
    return first


def _from_rfc4716(lines: Sequence[str]) -> str:
    """The key between the two marker lines (RFC 4716, section 3)."""
    joined = "\n".join(lines).replace("\\\n", "").split("\n")
    body = "".join(line for line in joined if not _HEADER.match(line))
    comments = [line.partition(":")[2] for line in joined if line.lower().startswith("comment:")]
    comment = comments[0].strip().strip('"') if comments else ""
    try:
        blob = base64.b64decode(body, validate=True)
    except ValueError:
        blob = b""
    # The type is the first string in it (RFC 4253, section 6.6).
    kind = blob[4 : 4 + int.from_bytes(blob[:4], "big")].decode("ascii", "replace")
    if kind not in (*KEY_TYPES, "ssh-dss"):
        raise RefusedError("a damaged key, or one of another type", "copy the whole file again")
    return f"{kind} {body} {comment}"
