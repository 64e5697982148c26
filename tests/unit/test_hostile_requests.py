"""Requests that nobody should write, and some that are only odd: each told in plain words, once.

`requests_that_failed/` holds inputs on which an earlier version did something wrong.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import pytest

from infra.model.folder import load_folder
from infra.model.person import InstanceRequest
from infra.model.problems import ProblemsError
from infra.model.settings import setting_problems
from tests.support.request_files import KEY, request_text

CASES = Path(__file__).parent / "requests_that_failed"
SECONDS = 10.0
"""Of processor time: far above what any of these needs, far below what a person would wait."""


def load(folder: Path) -> tuple[list[InstanceRequest], str]:
    """The requests of a folder, or none and all that a person is told, without the folder."""
    started = time.process_time()
    try:
        return list(load_folder(folder).people), ""
    except ProblemsError as error:
        return [], str(error).replace(f"{folder}/", "")
    finally:
        assert time.process_time() - started < SECONDS


def told(folder: Path) -> str:
    """What is told of a folder with faults: printable, and of a length that one reads."""
    requests, words = load(folder)
    assert not requests
    for sign in words.replace("\n", ""):
        assert unicodedata.category(sign) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert len(words) < 10_000
    words.encode()
    return words


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("01-sexagesimal-float", "alice.yaml:5: rebuild: expected a whole number"),
        ("02-surrogate-instance-type", "alice.yaml:5: "),
        ("03-surrogate-key", "alice.yaml:5: "),
        ("04-escape-in-field-name", "alice.yaml:5: "),
        ("05-escape-newline-in-scope-id", "alice.yaml:3: "),
        ("07-escape-in-retired-researcher", "retired.yaml:2: "),
        ("08-low-order-ed25519-key", "alice.yaml:2: ssh_keys[0]: "),
        ("09-until-zero", "alice.yaml:5: until: expected a day"),
        ("10-until-epoch-text", "alice.yaml:5: until: expected a day"),
        ("11-until-2027", "alice.yaml:5: until: expected a day"),
        ("16-unclosed-quote-line2", "alice.yaml:2: not valid YAML: "),
        ("17-missing-bracket-line2", "alice.yaml:2: not valid YAML: "),
        ("18-missing-colon-line1", "alice.yaml:1: not valid YAML: "),
        ("22-supernet-of-ipv4-mapped", "alice.yaml:3: allowed_from"),
    ],
)
def test_cases(case: str, expected: str) -> None:
    (line,) = told(CASES / case).splitlines()
    assert line.startswith(expected)


def test_sizes_in_other_spellings_are_not_guessed() -> None:
    """YAML 1.1 reads 010 as 8, 1_6 as 16 and 1:00 as 60; YAML 1.2 does not."""
    words = told(CASES / "21-octal-sexagesimal-sizes").splitlines()
    assert [word.split(": ")[1] for word in words] == [
        "machine.cpus",
        "machine.memory_gib",
        "machine.root_disk_gib",
    ]
    assert all("plain decimal" in word for word in words)


@pytest.mark.parametrize(
    "comment",
    [
        "work: laptop",
        "alice@laptop:",
        "🦊 at home",
        "👩\u200d💻",
        "❤\ufe0f",
        "a # b",
        "büro",
        "a; b",
    ],
)
def test_comments_of_keys_as_people_write_them(tmp_path: Path, comment: str) -> None:
    text = request_text(ssh_keys=f"\n  - {KEY} {comment}")
    (tmp_path / "alice.yaml").write_text(text, "utf-8")
    ((request,), words) = load(tmp_path)
    assert words == ""
    assert request.ssh_keys[0] == f"{KEY} {comment.partition(' #')[0]}"


def test_the_case_with_a_colon_in_a_comment() -> None:
    ((request,), words) = load(CASES / "23-key-comment-colon")
    assert words == ""
    assert request.ssh_keys[0].endswith(" work: laptop")


@pytest.mark.parametrize(
    ("field", "value", "limit"),
    [
        ("allowed_from", "[" + ",".join(f"{n:x}::/16" for n in range(1, 6500)) + "]", "at most"),
        ("allowed_from", "[" + "a," * 31_000 + "a]", "at most"),
        ("allowed_from", '["fe80::1%' + "x" * 60_000 + '"]', "..."),
        ("ssh_keys", "[" + "a," * 31_000 + "a]", "at most"),
        ("ssh_keys", "[" * 30_000, "nested too deeply"),
        ("rebuild", "9" * 5_000, "expected a whole number"),
        ("until", "9" * 5_000, "expected a day"),
        ("9" * 1_000, "1", "unknown field"),
        ("9" * 5_000, "1", "not valid YAML"),
        ("a", "{" + "a: {" * 5_000, "nested too deeply"),
    ],
)
def test_much_of_one_thing_is_told_in_a_line(
    tmp_path: Path, field: str, value: str, limit: str
) -> None:
    (tmp_path / "alice.yaml").write_text(request_text(**{field: value}))
    (line,) = told(tmp_path).splitlines()
    assert limit in line


def test_the_first_twenty_faults_of_a_file_and_the_number_of_the_rest(tmp_path: Path) -> None:
    fields = "".join(f"field{number}: 1\n" for number in range(4_000))
    (tmp_path / "alice.yaml").write_text(request_text() + fields)
    (tmp_path / "bob.yaml").write_text(request_text(researcher="bob", rebuild="-1"))
    lines = told(tmp_path).splitlines()
    assert [line for line in lines[:20] if "alice.yaml:" not in line] == []
    assert "3980 more" in lines[20]
    assert "bob.yaml" in lines[21]


@pytest.mark.parametrize("field", ["9" * 1_030, '"' + "a b" * 400 + '"', "x: {a, " + "b" * 2_000])
def test_a_name_longer_than_yaml_takes_is_called_that(tmp_path: Path, field: str) -> None:
    (tmp_path / "alice.yaml").write_text(f"{request_text()}{field}: 1\n")
    assert "alice.yaml:5: not valid YAML: a field's name of more than 1,024" in told(tmp_path)


@pytest.mark.parametrize(
    "sign", ["\u034f", "\u115f", "\u1160", "\u2800", "\u3164", "\uffa0", "\U000e0100"]
)
def test_what_has_no_ink_is_refused_like_a_control_character(tmp_path: Path, sign: str) -> None:
    for value in (f"a{sign}b", f'"a\\U{ord(sign):08x}b"'):
        (tmp_path / "alice.yaml").write_text(request_text(cost_centre=value))
        assert "alice.yaml:5: " in told(tmp_path)
        assert "not seen: \\" in told(tmp_path)
    (problem,) = setting_problems("lab", "costCentre", f"a{sign}b")
    assert "not seen" in problem.what


@pytest.mark.parametrize("value", ["   ", "4711 ", " 4711"])
def test_no_cost_centre_has_blanks_at_an_end(tmp_path: Path, value: str) -> None:
    (tmp_path / "alice.yaml").write_text(request_text(cost_centre=f"'{value}'"))
    assert "cost_centre: not a tag's value" in told(tmp_path)
    assert setting_problems("lab", "costCentre", value)


@pytest.mark.parametrize("place", ["alice.yaml", "retired.yaml"])
def test_a_link_out_of_the_folder_is_never_read(tmp_path: Path, place: str) -> None:
    secret = tmp_path / "shadow"
    secret.write_text("root: $6$SECRET\nhunter2\n")
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / place).symlink_to(secret)
    words = told(folder)
    assert f"{place}: " in words
    assert "hunter2" not in words
    assert "SECRET" not in words
    assert "root" not in words


def test_a_folder_that_is_a_link_out_of_stacks_is_never_read(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "alice.yaml").write_text("hunter2: 1\n")
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "demo").symlink_to(tmp_path / "elsewhere")
    assert "hunter2" not in told(tmp_path / "stacks" / "demo")


def test_a_link_to_another_file_of_the_folder_is_fine(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text(request_text())
    (tmp_path / "alice.yaml").symlink_to("real.txt")
    assert len(load(tmp_path)[0]) == 1


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alice.yaml")
    (tmp_path / "bob.yaml").symlink_to("/dev/zero")
    (tmp_path / "carol.yaml").symlink_to("carol.yaml")
    assert [line.split(": ")[0] for line in told(tmp_path).splitlines()] == [
        "alice.yaml",
        "bob.yaml",
        "carol.yaml",
    ]


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_named_with_their_mend(tmp_path: Path, coding: str) -> None:
    (tmp_path / "alice.yaml").write_bytes(request_text().encode(coding))
    (line,) = told(tmp_path).splitlines()
    assert "UTF-8" in line
    assert "iconv" in line


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    text = request_text().replace("\n", "\r\n")
    (tmp_path / "alice.yaml").write_bytes(text.encode("utf-8-sig"))
    assert len(load(tmp_path)[0]) == 1


def test_names_of_files_are_shown_and_quoted(tmp_path: Path) -> None:
    (tmp_path / "a b;\x1b[31m\n.yml").write_text("")
    (tmp_path / os.fsdecode(b"\xff.yaml")).write_text("")
    words = told(tmp_path)
    assert len(words.splitlines()) == 2
    mend = words.partition("(")[2].partition(")\n")[0]
    subprocess.run(["bash", "-ec", mend], cwd=tmp_path, check=True)
    assert (tmp_path / "a b;\x1b[31m\n.yaml").exists()


def test_folders_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    assert "File name too long" in told(tmp_path / ("x" * 300))
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    program = (
        "import sys, os, pathlib; sys.path.insert(0, sys.argv[1])\n"
        "from infra.model.folder import load_folder\n"
        "from infra.model.problems import ProblemsError\n"
        "os.geteuid() or os.seteuid(65534)\n"
        "try: load_folder(pathlib.Path(sys.argv[2]))\n"
        "except ProblemsError as error: print(error)\n"
    )
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:3]:
        if parent != Path("/tmp"):
            parent.chmod(0o755)
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", program, root, str(closed)], capture_output=True, text=True
    )
    assert "cannot be read: Permission denied" in done.stdout, done.stderr
    shutil.rmtree(closed)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: b\nc: 'd\ne: f\n", 2),
        ('a: b\n\nc: "d\ne: f\n', 3),
        ("a: b\nc: {d: 1\ne: f\n", 2),
        ("a: b\nc: [1, 2\ne: f\n", 2),
        ("a: b\nc d\ne: f\n", 2),
        ("a: b\nc d\n\n# e\nf: g\n", 2),
        ("a: b\n\tc: d\n", 2),
        ("a: b\n  c: d\n", 2),
        ("a: b: c\n", 1),
        ("a: b\n- c\n", 2),
        ("a:\n  - b\n c: d\n", 3),
        ("a: @b\n", 1),
        ('a: "\\q"\n', 1),
        ("a: b\n}\n", 2),
        ("a: [b]]\n", 1),
        ("%YAML 3.0\n---\na: b\n", 1),
        ("a: b\n---\nb: c", 2),
        ("\t", 1),
    ],
)
def test_faults_of_yaml_are_told_where_they_were_made(tmp_path: Path, text: str, line: int) -> None:
    (tmp_path / "alice.yaml").write_text(text)
    (words,) = told(tmp_path).splitlines()
    assert words.startswith(f"alice.yaml:{line}: not valid YAML: ")


@pytest.mark.parametrize(
    "value", ["2026-11-22 10:00:00", "2026-13-45", "2026-1-5", "1e3", ".inf", "true", "[]", "''"]
)
def test_a_day_is_a_day(tmp_path: Path, value: str) -> None:
    (tmp_path / "alice.yaml").write_text(request_text(until=value))
    (line,) = told(tmp_path).splitlines()
    assert line.startswith("alice.yaml:5: until: expected a day, such as ")
