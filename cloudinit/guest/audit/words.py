"""What of a command's arguments is recorded: enough to know what was run, and no secret that can be
told by where it stands or by how it looks.

The first line of each of the first words stays. What follows a word like `--password`, what a
variable is set to, what stands before the @ of an address, and what looks like a key or a code does
not. A secret that nothing marks as one stays: docs/reference/audit.md tells people so.

Words are anybody's, and one thread reads everybody's. So each is cut before anything else looks at
it, and every pattern here takes time in proportion to what it looks at: none begins within a run of
characters that it has looked at before.
"""

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from itertools import islice

WORDS, LONGEST, MOST = 24, 160, 600  # words, characters of one, characters in all
LOOKED_AT = 1024  # characters of a word
PIECES, DEEP = 64, 3  # words within a word, and how often one is within another
REMOVED = "[removed]"

_MARK = re.compile(
    r"passw|passphrase|pass(?:in|out)?(?![a-z])|pwd|secret|token(?!i[sz])|api_?-?key|access_?-?key|auth"
    r"|credential|creds|cookie|private_?-?key|bearer",
    re.IGNORECASE,
)
# `--password`, whose next word it is; and `password`, as SQL, .netrc and `aws configure` have it.
_OPTION = re.compile(r"--?[\w.-]+")
_ALONE = re.compile(
    r"[\w-]*(?:passw(?:or)?d|passphrase|secret|token|(?:api|access)[_-]?key)", re.IGNORECASE
)
_SCHEMES = {"basic", "bearer", "digest", "token"}  # RFC 9110, 11.1: the secret comes after
# A word that is a secret from here on: --token=X, PASSWORD=X, --env=KEY=X, "password: X".
_SET = re.compile(r"(-{0,2}(?:[a-z-]+=)?)([\w.-]+)(\s*[=:])(?!$)")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_HEADER = re.compile(
    r"(?is)(?<![\w-])((?:(?:Proxy-)?Authorization|(?:Set-)?Cookie|X-[\w-]+)[\"']?\s*:)(?!$).+"
)
# The same among more: {"password": "X"}, login(password='X'), name=me&password=X.
_PAIR = re.compile(
    r"(?s)(?<![\w.-])([\w.-]+)([\"']?\]?\s*[=:]+>?\s*)(\"(?:[^\"\\]|\\.?)*\"?|'[^']*'?|[^\s&;|\"']+)"
)
_IN_ADDRESS = re.compile(r"(://)[^/\s]*@")
_QUERY = re.compile(r"([?&;](?:key|sig|signature|code)=)[^&\s]*", re.IGNORECASE)
# Options of some programs: the secret is the next word, or follows without a blank.
_OF_PROGRAMS = {
    name: re.compile(options)
    for names, options in (
        ("curl", r"-[afgijklnpqsvBGIJLNORSZ0-46#]*[uU]|--(?:proxy-)?user(?:=|$)"),
        ("wget", r"--(?:proxy-)?user(?:=|$)"),
        ("http https redis-cli", r"-a"),
        ("mysql mysqldump mysqladmin mariadb mariadb-dump mongo mongosh", r"-p"),
        ("sshpass 7z 7za docker podman", r"-p"),
        ("openssl", r"-(?:pass(?:in|out)?|[kK])$"),
        ("ldapsearch ldapmodify ldapadd", r"-w"),
        ("smbclient", r"-U"),
        ("zip unzip", r"-P"),
    )
    for name in names.split()
}
_NEVER = re.compile(r"(?!)")
# Long runs of letters and digits, as keys and hashes have them; one-time and emergency codes.
_KEY = re.compile(r"(?<![\w+-])(-*)([\w+-]{24,})={0,2}")
_CODE = re.compile(r"[0-9]{6}|[0-9]{8}|[A-Z2-7]{32}")
# A command line as it is typed (POSIX shell, 2.2 and 2.10): words in their quotes, and what stands
# between commands. What a shell is given, by -c.
_PIECE = re.compile(r"(?s)[;|&()<>]+|(?:\"(?:[^\"\\]|\\.?)*\"?|'[^']*'?|\\.?|[^\s;|&()<>\"'\\])+")
_QUOTED = re.compile(r"(?s)\"((?:[^\"\\]|\\.?)*)\"?|'([^']*)'?|\\(.?)")
_ESCAPED = re.compile(r"\\([$`\"\\])")
_OPERATOR = re.compile(r"[;|&()<>]+")
_BETWEEN = (";", "|", "&", "(", "{")
_BY_SHELL = re.compile(r"-[a-z]*c")


def recorded(argv: Sequence[str]) -> str:
    """A command's words as one line; what is kept back is marked, what is left out is counted."""
    line = ""
    for word in _cleaned(argv[:WORDS]):
        line += f"{' ' if line else ''}{word if word == REMOVED else shlex.quote(word)}"
        if len(line) > MOST:
            break
    short = cut(line, MOST)
    more = "..." if len(short) < len(line) else ""
    left = len(argv) - WORDS
    return f"{short}{more} (and {left} more)" if left > 0 else f"{short}{more}"


def cut(text: str, most: int) -> str:
    """The beginning of a text that takes no more characters than these in a record, which is ASCII
    alone (guest/audit/chain.py)."""
    text = text[:most]
    while (size := len(json.dumps(text)) - 2) > most:
        text = text[: len(text) * most // size]
    return text


def _cleaned(words: Sequence[str], deep: int = 0) -> Iterator[str]:
    """Each word without its secrets, and cut. They may stand so `deep` within another word."""
    program, before, hide = "", ";", False
    for whole in words:
        word, _, more = whole[:LOOKED_AT].partition("\n")
        first, name = before.endswith(_BETWEEN), word.rpartition("/")[2]
        if first or name in _OF_PROGRAMS:  # also behind sudo, env, timeout
            program = name
        own = _OF_PROGRAMS.get(program, _NEVER).match(word)
        glued = own is not None and own.end() < len(word)
        scheme = hide and word.lower() in _SCHEMES
        if hide and not scheme and not (deep and _OPERATOR.fullmatch(word)):
            inner, more = REMOVED, ""
        elif own and glued:
            inner, more = f"{own[0]}{REMOVED}", ""
        else:
            inner = _clean(word, deep, by_shell=_BY_SHELL.fullmatch(before) is not None)
        hide = scheme or (own is not None and not glued) or _announces(word, first)
        before = word
        short = len(inner) > LONGEST or bool(more) or len(whole) > LOOKED_AT
        yield f"{inner[:LONGEST]}... ({len(whole)} characters)" if short else inner


def _announces(word: str, first: bool) -> bool:
    """Whether the next word is a secret. The first one of a command is a program's name."""
    if word.rstrip("'\"").endswith(":"):
        return _MARK.search(word) is not None
    option = _OPTION.fullmatch(word) is not None and _MARK.search(word) is not None
    return option or (not first and _ALONE.fullmatch(word) is not None)


def _clean(word: str, deep: int, *, by_shell: bool) -> str:
    if _CODE.fullmatch(word):
        return REMOVED
    found = _SET.match(word)
    # Of a command line, one variable may be only the beginning; `git -c a.b=X` is none.
    if found and not (by_shell and found[2].isidentifier()):
        if _MARK.search(found[1]):
            return f"{found[1]}{REMOVED}"
        if _is_secret(found[2], found[3]):
            return f"{found[0]}{REMOVED}"
    if not by_shell:
        word = _HEADER.sub(rf"\1{REMOVED}", word)
    word = _PAIR.sub(_without_value, word)
    word = _QUERY.sub(rf"\1{REMOVED}", _IN_ADDRESS.sub(rf"\1{REMOVED}@", word))
    word = _KEY.sub(_without_key, word)
    return _within(word, deep) if by_shell or len(word.split(None, 1)) > 1 else word


def _within(text: str, deep: int) -> str:
    """A command line, such as `sh -c` and ssh take: each of its words as one of a command."""
    if deep == DEEP:
        return REMOVED
    found = list(islice(_PIECE.finditer(text), PIECES))
    bare = [_QUOTED.sub(_unquoted, piece[0]) for piece in found]
    line, end = "", 0
    for piece, word, clean in zip(found, bare, _cleaned(bare, deep + 1), strict=True):
        line += text[end : piece.start()] + (piece[0] if clean == word else clean)
        end = piece.end()
    return line if end >= len(text.rstrip()) else f"{line}..."


def _is_secret(name: str, sign: str) -> bool:
    """Whether what this is set to is one, or may be: of any variable."""
    variable = _VARIABLE.fullmatch(name) is not None and sign == "="
    return variable or _MARK.search(name) is not None


def _without_value(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}{REMOVED}" if _MARK.search(found[1]) else found[0]


def _without_key(found: re.Match[str]) -> str:
    run = found[2]
    mixed = re.search(r"\d", run) and re.search(r"[A-Za-z]", run)
    return f"{found[1]}{REMOVED}" if mixed else found[0]


def _unquoted(found: re.Match[str]) -> str:
    double, single, escaped = found.groups()
    return _ESCAPED.sub(r"\1", double) if double is not None else single or escaped or ""
