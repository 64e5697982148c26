"""Commands in the documents that are typed as they stand: what they do, not how they read."""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tools import pictures, reference

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
TEXT = {".md", ".py", ".j2", ".sh", ".yaml", ".toml", ""}


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


def files() -> Iterator[Path]:
    """What is of the project, and not made by a run of it."""
    for folder, below, names in os.walk(ROOT):
        below[:] = [name for name in below if name[0] != "." and name != "__pycache__"]
        yield from (Path(folder, name) for name in names)


def prose(page: Path) -> str:
    """A page without its code."""
    return re.sub(r"(?ms)^```.*?^```", "", page.read_text("utf-8"))


@cache
def anchors(page: Path) -> set[str]:
    """Its headings, as GitHub names them in links."""
    found: set[str] = set()
    for heading in re.findall(r"(?m)^#+ (.+)$", prose(page)):
        word = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        later = (f"{word}-{number}" for number in range(1, 1000))
        found.add(next(one for one in (word, *later) if one not in found))
    return found


def leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    there = (page.parent / path).resolve() if path else page
    return (
        there.is_relative_to(ROOT) and there.exists() and (not anchor or anchor in anchors(there))
    )


def links(page: Path) -> list[str]:
    """Where a page's links to files of the project lead."""
    text = re.sub(r"`[^`\n]*`", "", prose(page))
    return [one for one in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in one]


def test_every_link_leads_somewhere() -> None:
    pages = [page for page in files() if page.suffix == ".md"]
    dead = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in pages
        for link in links(page)
        if not leads_somewhere(page, link)
    ]
    assert dead == []
    assert sum(len(links(page)) for page in pages) > 100


def test_every_page_that_code_names_is_there() -> None:
    named = {
        (str(file.relative_to(ROOT)), page)
        for file in files()
        if file.suffix in TEXT
        for page in re.findall(
            r"\bdocs/[\w/.-]+\.(?:md|json)\b", file.read_text("utf-8", "replace")
        )
    }
    assert [(file, page) for file, page in sorted(named) if not (ROOT / page).is_file()] == []
    assert len(named) > 20


def test_the_index_lists_every_page() -> None:
    index = DOCS / "README.md"
    listed = {(DOCS / link.partition("#")[0]).resolve() for link in links(index)}
    pages = {page for page in DOCS.rglob("*.md") if page.parent.name != "decisions"}
    assert {str(page.relative_to(DOCS)) for page in pages - listed} == {"README.md"}
    decided = DOCS / "decisions" / "README.md"
    numbers = {decided.parent / link for link in links(decided)}
    assert {*decided.parent.glob("0*.md")} == numbers
    assert decided in listed


def test_the_reference_is_that_of_the_code() -> None:
    assert reference.PAGE.read_text() == reference.text() + "\n", "python -m tools.reference"


def test_every_test_that_a_promise_names_is_there() -> None:
    named = re.findall(
        r"`(\w+/test_\w+\.py)::(\w+)`", (DOCS / "reference" / "promises.md").read_text()
    )
    assert len(named) > 50
    for file, test in named:
        assert f"def {test}(" in (DOCS.parent / "tests" / file).read_text(), f"{file}::{test}"


def test_the_pictures_are_up_to_date() -> None:
    for name, text in pictures.pictures().items():
        assert (pictures.PLACE / name).read_text() == text, "python -m tools.pictures"
