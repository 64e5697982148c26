"""A further factor is a folder, a module and a word in the list of methods, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
OURS = Path(__file__).parent / "factor_word"

# Run in a copy of the project that has the factor.
LOOK = """
import json, sys
from pathlib import Path
from cloudinit.bundle import files
from infra.model.folder import load_folder
from infra.model.problems import ProblemsError
from infra.model.schema import request_schema
from infra.model.settings import load_settings
from infra.plan import make_plan
from cli.engine import Enrollment
sys.path.insert(0, "cloudinit")
from guest.roster import document

SEED = "9f1c6d0e7b2a4f538c9d0e1f2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d"
def plan(folder):
    return make_plan(load_settings("demo", {}), load_folder(Path(folder)), SEED)
made = plan("good")
try:
    plan("bad")
    refused = []
except ProblemsError as error:
    refused = [str(each) for each in error.problems]
roster = json.loads(made.machines[0].roster)
alice = document.parse(json.dumps({"serial": 1, "roster": roster})).researchers["alice"]
shown = made.enrollments["alice"]
enrollment = Enrollment.model_validate(shown)
inside = {path: content for path, _, content in files("local")}
print(json.dumps({
    "methods": request_schema()["properties"]["factors"]["enum"],
    "refused": refused,
    "entry": roster["researchers"]["alice"],
    "parts": sorted(alice.parts),
    "word": alice.parts["word"],
    "steps": enrollment.steps(in_words=False),
    "sshd": inside["/etc/ssh/sshd_config.d/00-secondlock.conf"],
    "pam": inside["/etc/pam.d/sshd-word-totp"],
    "program": "/usr/local/lib/secondlock/word" in inside,
    "about": json.loads(inside["/usr/local/lib/secondlock/bundle.json"])["methods"],
}))
"""
REQUEST = """researcher: alice
allowed_from: [127.0.0.0/8]
factors: word+totp
enrollment: 0123456789abcdef0123456789abcdef
"""
KEY = (
    "ssh_keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAKSeavuRQzefndtPOEcGo7plvaQRAvlEEmYvNRDgeAq]\n"
)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a project with the factor `word` says of it."""
    copy = tmp_path_factory.mktemp("project")
    for folder in ("cloudinit", "image", "infra", "cli"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(OURS / "factor.py", copy / "infra/factors/word.py")
    shutil.copytree(OURS / "guest", copy / "cloudinit/guest/word")
    listed = copy / "cloudinit/guest/methods.py"
    before = listed.read_text()
    listed.write_text(before.replace('"fido2+totp")', '"fido2+totp", "word+totp")'))
    assert listed.read_text() != before
    for name, text in (("good", REQUEST), ("bad", REQUEST + KEY)):
        (copy / name).mkdir()
        (copy / name / "alice.yaml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_requests_may_name_it_and_it_judges_their_fields(seen: dict[str, Any]) -> None:
    assert seen["methods"][-2:] == ["fido2+totp", "word+totp"]
    (fault,) = seen["refused"]
    assert "alice.yaml:5: ssh_keys: a key that no login asks for (remove it)" in fault


def test_the_roster_brings_it_to_the_machine(seen: dict[str, Any]) -> None:
    assert seen["parts"] == ["totp", "word"]
    assert seen["word"] == seen["entry"]["word"]
    assert "password" not in seen["entry"]


def test_enroll_shows_it(seen: dict[str, Any]) -> None:
    assert seen["steps"][0] == f"Learn this word: {seen['word']}"
    assert seen["steps"][1].startswith("Scan the QR")


def test_sshd_and_pam_ask_for_it_before_the_code(seen: dict[str, Any]) -> None:
    block = seen["sshd"].split("Match Group secondlock-word-totp\n")[1].split("\n\n")[0]
    assert block.split() == [
        "PubkeyAuthentication", "no",
        "AuthenticationMethods", "keyboard-interactive:pam",
        "PAMServiceName", "sshd-word-totp",
    ]  # fmt: skip
    assert "secondlock-word-totp" in seen["sshd"].split("AllowGroups ")[1].splitlines()[0]
    asked = [line.split()[2] for line in seen["pam"].splitlines() if line.startswith("auth")]
    assert asked == ["pam_nologin.so", "pam_exec.so", "pam_secondlock_ask.so", "pam_exec.so"]
    assert "secondlock/word word+totp\n" in seen["pam"]
    assert "secondlock/verify word+totp\n" in seen["pam"]
    assert seen["program"]
    assert seen["about"]["word+totp"] == {
        "group": "secondlock-word-totp",
        "service": "sshd-word-totp",
        "by_sshd": False,
    }
