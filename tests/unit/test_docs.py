"""Commands in the documents that are typed as they stand: what they do, not how they read."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tools import reference

DOCS = Path(__file__).resolve().parents[2] / "docs"


def commands(page: str, section: str) -> str:
    """The lines of the section's first block of commands."""
    text = (DOCS / page).read_text().partition(f"\n## {section}\n")[2]
    return text.partition("```console\n")[2].partition("```")[0]


def test_a_home_comes_back_through_no_link_of_its_owner(tmp_path: Path) -> None:
    lines = re.findall(
        r"^# (.*/home/.*)$", commands("how-to/restore-a-home.md", "Copy it back"), re.M
    )
    script = (
        "\n".join(lines)
        .replace("alice: ", f"{os.getuid()}:{os.getgid()} ")
        .replace(" && umount /mnt", "")
    )
    for place in ("/mnt", "/home"):
        script = script.replace(f" {place}", f" {tmp_path}{place}")
    victim = tmp_path / "passwd"
    victim.write_text("root:x:0:0\n")
    old, now = tmp_path / "mnt/alice", tmp_path / "home/alice"
    for home in (old, now):
        (home / "notes").mkdir(parents=True)
    (old / ".bashrc").write_text("alice::0:0\n")
    (old / "link").symlink_to(victim)
    (now / ".bashrc").symlink_to(victim)
    subprocess.run(["bash", "-euxc", script], check=True)
    assert victim.read_text() == "root:x:0:0\n"
    assert (now / ".bashrc").read_text() == "alice::0:0\n"
    assert (now / "link").is_symlink()
    assert (tmp_path / "home/.restore/before/.bashrc").is_symlink()


def test_the_reference_is_that_of_the_code() -> None:
    assert reference.PAGE.read_text() == reference.text() + "\n", "python -m tools.reference"


def test_every_test_that_a_promise_names_is_there() -> None:
    named = re.findall(
        r"`(\w+/test_\w+\.py)::(\w+)`", (DOCS / "reference" / "promises.md").read_text()
    )
    assert len(named) > 50
    for file, test in named:
        assert f"def {test}(" in (DOCS.parent / "tests" / file).read_text(), f"{file}::{test}"
