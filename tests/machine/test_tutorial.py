"""The tutorial for a course, typed as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pexpect
import pytest

from tests.support.browser import Browser
from tests.support.project import ROOT

PAGE = ROOT / "docs" / "tutorial" / "twenty-students.md"
# What this computer has not, and what asks a person.
HERE = {
    "--cpus 16 --memory-gib 64 --home-disk-gib 200": "--cpus 2 --memory-gib 6 --home-disk-gib 5",
    "pulumi up": "pulumi up --yes --skip-preview",
    "pulumi destroy": "pulumi destroy --yes --skip-preview",
}
VERSION = 'python -c "import tensorflow as tf; print(tf.__version__)"'
BEFORE = "make setup image"
"""It has been done already: the tests of machines need both."""


def commands() -> list[str]:
    """Each line that a reader types into the shell on their own computer."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


class Reader:
    """Somebody with a clone, who types line after line into one shell."""

    def __init__(self, place: Path) -> None:
        self.clone, self.home = place / "secondlock", place / "home"
        names = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout.split()  # fmt: skip
        for name in names:
            if (ROOT / name).is_file():
                (self.clone / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.clone / name)
        (self.clone / ".venv").symlink_to(ROOT / ".venv")
        self.home.mkdir()
        kept = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        self.environment = {
            **os.environ,
            "HOME": str(self.home),
            "XDG_CACHE_HOME": kept,
            "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}",
            "PULUMI_SKIP_UPDATE_CHECK": "1",
        }
        for name in ("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE"):
            self.environment.pop(name, None)

    def types(self, line: str, timeout: float = 600) -> str:
        """What comes of it. What a line before has set holds."""
        done = subprocess.run(
            self._shell(line), env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}: {done.stdout}"
        return done.stdout

    def sees(self, line: str, code: str = "") -> str:
        """The same on a terminal; `code` is the answer where one is asked for."""
        shell, *words = self._shell(line)
        seen = pexpect.spawn(shell, words, env=self.environment, timeout=300, encoding="utf-8")
        if code:
            seen.expect("code: ?")
            seen.sendline(code)
        seen.expect(pexpect.EOF)
        seen.close()
        assert seen.exitstatus == 0, seen.before
        return str(seen.before)

    def opens_jupyter(self, shown: str, code: str) -> None:
        """At the address that `enroll` showed, by the passphrase that it showed."""
        address = re.search(r"https://(\w+)\.(\S+):(\d+)/", shown)
        passphrase = re.search(r"\b[a-z0-9]{5}(-[a-z0-9]{5}){3}\b", shown)
        file = re.search(r"\S+-authority\.pem", shown)
        assert address, shown
        assert passphrase, shown
        assert file, shown
        name, host, port = address.groups()
        browser = Browser(host, int(port), (self.clone / file[0]).read_text())
        assert browser.log_in(name, passphrase[0], code).status == 302
        assert browser.enter(name).status == 200

    def _shell(self, line: str) -> list[str]:
        for told, here in HERE.items():
            line = line.replace(told, here)
        before = "test ! -e .secondlock/course/env || . .secondlock/course/env"
        return ["bash", "-c", f"cd {self.clone}; {before}; {line}"]


@pytest.mark.long
@pytest.mark.timeout(1500, method="signal")
@pytest.mark.usefixtures("image")
def test_every_command_of_the_course_works_as_it_is_told(tmp_path: Path) -> None:
    reader, typed, codes = Reader(tmp_path), commands(), list[str]()
    shown = ""
    typed.remove(BEFORE)
    try:
        for line in typed:
            if "pulumi destroy" in line:
                reader.opens_jupyter(shown, codes[1])
            if line.startswith("ssh "):
                assert "2.9.3" in reader.sees(f"{line} '{VERSION}'", codes[0])
            elif line.startswith("./secondlock enroll"):
                shown += reader.sees(line)
                codes += re.findall(r"\b[0-9]{8}\b", shown)
            elif line.startswith("./secondlock status"):
                assert "gpu1" in reader.types(line)
            else:
                reader.types(line)
    finally:
        reader.types("pulumi destroy --stack course --yes")
    assert not [*(reader.clone / ".secondlock" / "course").glob("machines/*")]
