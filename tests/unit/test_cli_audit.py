"""`secondlock audit`: what it shows of machines' records, and what it finds wrong with them."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cli import project
from cli.__main__ import main
from cli.engine import Machine
from cloudinit.guest.audit import chain
from cloudinit.guest.audit.chain import Head
from infra.local import audit
from infra.model.problems import Problem, ProblemsError

if TYPE_CHECKING:
    from collections.abc import Iterable

NOW = dt.datetime.now(dt.timezone.utc)


def _ago(hours: float) -> str:
    return f"{NOW - dt.timedelta(hours=hours):%Y-%m-%dT%H:%M:%S}.000Z"


SAID: list[dict[str, Any]] = [
    {"kind": "change", "what": "roster 3 applied: alice: account", "result": "done"},
    {"kind": "login", "person": "alice", "what": "login", "result": "let in", "way": "ssh",
     "key": "ED25519 SHA256:abc", "device": "phone", "address": "192.0.2.7"},
    {"kind": "command", "person": "alice", "what": "python3 train.py", "result": "started",
     "where": "workspace", "program": "/usr/bin/python3.9", "way": "ssh", "device": "phone",
     "address": "192.0.2.7", "session": 12},
    {"kind": "command", "person": "bob", "what": "=cmd|' /C calc'!A0", "result": "started",
     "where": "workspace", "program": "/bin/x", "way": "jupyter"},
    {"kind": "command", "person": "bob", "what": "echo \x1b]0;owned\x07\u202e", "result": "started",
     "where": "workspace", "program": "/bin/echo", "way": "jupyter"},
    {"kind": "alert", "what": "the kernel had more to say than was taken", "result": "lost",
     "lost": 40},
]  # fmt: skip
HOURS = (50, 40, 30, 3, 2, 1)


def _chain(said: Iterable[tuple[float, dict[str, Any]]], head: Head = Head()) -> list[str]:  # noqa: B008
    lines = []
    for hours, each in said:
        line, head = chain.seal(head, {"time": _ago(hours), **each})
        lines.append(line)
    return lines


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The record of a machine `lab` of a stack that is not there any more."""
    monkeypatch.setattr(project, "ROOT", tmp_path)
    monkeypatch.setattr("cli.audit.machines", _none)
    file = tmp_path / ".secondlock" / "demo" / "audit" / "lab.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text("".join(f"{line}\n" for line in _chain(zip(HOURS, SAID, strict=True))))
    return file


def _none(_: object) -> dict[str, Machine]:
    raise ProblemsError([Problem(None, None, "the stack has no outputs", "pulumi up")])


def _shown(capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, Any]]:
    assert main(["audit", "--stack", "demo", "--json", *options]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["records"]
    return found


def test_it_shows_what_is_asked_for(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    everything = _shown(capsys)
    assert [each["what"] for each in everything] == [each["what"] for each in SAID]
    assert {each["machine"] for each in everything} == {"lab"}
    assert len(_shown(capsys, "--person", "alice")) == 2
    assert len(_shown(capsys, "--kind", "command", "--person", "bob")) == 2
    assert len(_shown(capsys, "--since", "4h")) == 3
    assert len(_shown(capsys, "--since", "2d", "--until", "4h")) == 2
    assert len(_shown(capsys, "--since", f"{NOW - dt.timedelta(hours=31):%Y-%m-%dT%H:%M}")) == 4
    assert _shown(capsys, "--until", "2001-01-01") == []


def test_what_machines_wrote_is_shown_and_not_sent_to_the_terminal(
    record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "--stack", "demo"]) == 0
    said = capsys.readouterr().out
    assert len(said.splitlines()) == len(SAID)
    assert "alice (ssh phone 192.0.2.7)  command  python3 train.py [workspace, started]" in said
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert "\\x1b]0;owned\\x07\\u202e" in said


def test_as_csv_no_cell_is_a_formula(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--stack", "demo", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == len(SAID)
    assert rows[3]["what"] == "'=cmd|' /C calc'!A0"
    assert "\x1b" not in rows[4]["what"]


def test_as_csv_no_cell_begins_within_another_where_semicolons_separate(
    record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = _chain([(1, {**SAID[3], "what": "x;=cmd|' /C calc'!A0;+1;\"=1\""})])
    record.write_text(f"{lines[0]}\n")
    assert main(["audit", "--stack", "demo", "--csv"]) == 0
    cells = [cell for row in csv.reader(io.StringIO(capsys.readouterr().out), delimiter=";")
             for cell in row]  # fmt: skip
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_a_chain_that_holds_is_told(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--stack", "demo", "--verify"]) == 0
    assert "lab: 6 records, the chain holds; the machine was not asked" in capsys.readouterr().out


def test_one_changed_record_is_named(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record.write_text(record.read_text().replace("train.py", "other.py"))
    assert main(["audit", "--stack", "demo", "--verify"]) == 1
    told = capsys.readouterr()
    assert "lab: 6 records, the chain does NOT hold" in told.out
    assert "lab: record 3 was changed" in told.err
    assert main(["audit", "--stack", "demo", "--verify", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["machines"]["lab"]["breaks"] == [{"first": 3, "last": 3, "what": "was changed"}]
    assert [each["what"] for each in document["problems"]] == ["lab: record 3 was changed"]


def test_one_removed_record_is_named(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = record.read_text().splitlines(keepends=True)
    record.write_text("".join(lines[:3] + lines[4:]))
    assert main(["audit", "--stack", "demo", "--verify"]) == 1
    assert "lab: record 4 is missing" in capsys.readouterr().err


def test_what_was_cut_off_and_sent_again_is_shown_once(
    record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = record.read_text().splitlines(keepends=True)
    record.write_text("".join([*lines[:4], lines[4][:50], "\n", *lines[2:]]))
    assert len(_shown(capsys)) == len(SAID)
    assert main(["audit", "--stack", "demo", "--verify"]) == 0


def test_what_has_run_out_goes_and_the_rest_holds(
    record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = ((24.0 * 400 - number, {**SAID[2], "what": "x" * 900}) for number in range(40))
    lines = _chain([*old, *zip(HOURS, SAID, strict=True)])
    record.write_text("".join(f"{line}\n" for line in lines))
    size, blocks = record.stat().st_size, record.stat().st_blocks
    with record.open("ab") as still_open:  # as QEMU has it
        assert len(_shown(capsys)) == len(SAID)
        assert (record.stat().st_size, record.stat().st_blocks < blocks) == (size, True)
        following, _ = chain.seal(
            chain.head_of(json.loads(lines[-1])), {"time": _ago(0), **SAID[1]}
        )
        still_open.write(f"{following}\n".encode())
    assert main(["audit", "--stack", "demo", "--verify"]) == 0
    # The last that has run out stays, and shows that nothing after it is gone.
    assert "8 records" in capsys.readouterr().out
    assert len(_shown(capsys)) == len(SAID) + 1
    assert audit.prune(record, _ago(45)) == 1


def test_all_that_has_run_out_goes_though_nothing_newer_is_there(record: Path) -> None:
    old = ((24.0 * 400 - number, {**SAID[2], "what": "x" * 900}) for number in range(40))
    record.write_text("".join(f"{line}\n" for line in _chain(old)))
    assert audit.prune(record, _ago(24)) == 39
    assert len(list(audit.lines(record))) == 1


def test_a_beginning_that_was_removed_is_named(
    record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = record.read_text().splitlines(keepends=True)
    record.write_text("".join(lines[2:]))
    assert main(["audit", "--stack", "demo", "--verify"]) == 1
    assert "lab: records 1 to 2 are missing" in capsys.readouterr().err


def test_a_file_of_holes_or_of_nothing_is_empty(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    assert list(audit.lines(file)) == []
    file.touch()
    assert list(audit.lines(file)) == []
    os.truncate(file, 1 << 20)
    assert list(audit.lines(file)) == []


@pytest.mark.parametrize("when", ["yesterday", "2026-13-01", "5y", "-1h", "\x1b[2J"])
def test_a_time_that_is_none_is_refused(
    record: Path, capsys: pytest.CaptureFixture[str], when: str
) -> None:
    assert main(["audit", "--stack", "demo", "--since", when]) == 2
    assert "is no time" in capsys.readouterr().err


def test_without_machine_and_record_the_stacks_own_fault_is_told(
    record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record.unlink()
    assert main(["audit", "--stack", "demo"]) == 1
    assert "the stack has no outputs" in capsys.readouterr().err
