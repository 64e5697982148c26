"""What of a command's arguments is recorded: enough to know what was run, and no secret that can be
told by where it stands or by how it looks.

The first line of each of the first words stays. What follows a word like `--password`, what a
variable is set to, what stands before the @ of an address, and what looks like a key or a code does
not. A secret that nothing marks as one stays: docs/reference/audit.md tells people so.
"""

import re
import shlex
from collections.abc import Iterator, Sequence

WORDS, LONGEST, MOST = 24, 160, 600  # words, characters of one, characters in all
REMOVED = "[removed]"

_NAME = (
    r"[\w.-]*(?:passw|passphrase|pwd|secret|token|api_?-?key|access_?-?key|auth|credential|cookie"
    r"|private_?-?key|bearer)[\w.-]*"
)
# `--password` and the like, whose next word it is; -u and -U of programs that speak to servers.
_OPTION = re.compile(rf"--?{_NAME}|-[uU]", re.IGNORECASE)
_SCHEMES = {"basic", "bearer", "digest", "token"}  # RFC 9110, 11.1: the secret comes after
_OF_SERVERS = {"curl", "wget", "http", "https"}
# --token=X, PASSWORD=X, "password: X"; a variable, alone or behind `--env=`; a header.
_SET = re.compile(rf"(?s)((?i:-{{0,2}}{_NAME})\s*[=:]|(?:--?[a-z-]+=)?[A-Z_][A-Z0-9_]*=)(?!$).+")
_HEADER = re.compile(r"(?s)((?:Authorization|Proxy-Authorization|Cookie|X-[\w-]+)\s*:).+", re.I)
_IN_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*://)[^/@\s]*@", re.I)
_QUERY = re.compile(rf"([?&;](?:{_NAME}|key|sig|signature|code)=)[^&\s]*", re.I)
# -pSECRET, which some programs take without a blank.
_GLUED = {"mysql", "mysqldump", "mysqladmin", "mariadb", "mariadb-dump", "sshpass", "7z", "7za"}
# Long runs of letters and digits, as keys and hashes have them; one-time and emergency codes.
_KEY = re.compile(r"(?<![\w+])(?=[\w+-]*\d)(?=[\w+-]*[A-Za-z])[\w+-]{24,}(?![\w+])={0,2}")
_CODE = re.compile(r"[0-9]{6}|[0-9]{8}|[A-Z2-7]{32}")


def recorded(argv: Sequence[str]) -> str:
    """A command's words as one line; what is kept back is marked, what is left out is counted."""
    words = list(_cleaned(argv[:WORDS]))
    line = " ".join(word if word == REMOVED else shlex.quote(word) for word in words)
    if len(line) > MOST:
        line = f"{line[:MOST]}..."
    left = len(argv) - WORDS
    return f"{line} (and {left} more)" if left > 0 else line


def _cleaned(words: Sequence[str]) -> Iterator[str]:
    """Each word without its secrets, and cut."""
    program, hide = "", False
    for place, whole in enumerate(words):
        word, _, more = whole.partition("\n")
        if place == 0 or _ends_command(words[place - 1]):
            program = word.strip("'\"(").rpartition("/")[2]
        if hide and not word.startswith("-"):
            hide = word.lower() in _SCHEMES
            yield word if hide else REMOVED
            continue
        hide = _announces(word, program)
        # What has blanks is a command line in itself, such as `sh -c` takes.
        inner = " ".join(_cleaned(word.split(" "))) if " " in word else _clean(word, program)
        cut = len(inner) > LONGEST or bool(more)
        yield f"{inner[:LONGEST]}... ({len(whole)} characters)" if cut else inner


def _ends_command(word: str) -> bool:
    return word.endswith((";", "|", "&", "(", "{"))


def _announces(word: str, program: str) -> bool:
    """Whether the next word is a secret."""
    bare = word.strip("'\"")
    if re.fullmatch(rf"(?i){_NAME}:", bare):
        return True
    found = _OPTION.fullmatch(bare)
    return found is not None and (len(bare) > 2 or program in _OF_SERVERS)


def _clean(word: str, program: str) -> str:
    if word.startswith("-p") and len(word) > 2 and program in _GLUED:
        return f"-p{REMOVED}"
    if _CODE.fullmatch(word):
        return REMOVED
    bare = word.lstrip("'\"")
    for pattern in (_HEADER, _SET):
        if "://" not in bare and (found := pattern.fullmatch(bare)):
            return f"{word[: len(word) - len(bare)]}{found[1]}{REMOVED}"
    word = _IN_ADDRESS.sub(rf"\1{REMOVED}@", word)
    return _KEY.sub(REMOVED, _QUERY.sub(rf"\1{REMOVED}", word))
