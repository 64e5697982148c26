"""A person's whole visit in Chromium, which trusts the stack's authority and nothing else.

Needs chromium and certutil (Debian: chromium, libnss3-tools) and Python's playwright, which fetches
no browser of its own. For nights: `make proofs`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from infra.web import authority
from tests.support.machine import STACK
from tests.support.people import BY_WEB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.machine import Machine
    from tests.support.people import Person

pytestmark = pytest.mark.long
PATIENCE = 240_000  # milliseconds; an emulated machine


@pytest.fixture
def page(machine: Machine, tmp_path: Path) -> Iterator[Any]:
    """A page of a browser that was told of the authority, as docs/how-to says."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium, certutil = shutil.which("chromium"), shutil.which("certutil")
    if chromium is None or certutil is None:
        pytest.skip("chromium or certutil is not installed")
    (tmp_path / "authority.pem").write_text(authority(machine.lab.seed, STACK))
    store = tmp_path / ".pki" / "nssdb"
    store.mkdir(parents=True)
    for told in (["-N", "--empty-password"], ["-A", "-t", "C,,", "-n", "secondlock", "-i"]):
        file = [str(tmp_path / "authority.pem")] if "-A" in told else []
        subprocess.run([certutil, "-d", f"sql:{store}", *told, *file], check=True)
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu"],
            env={**os.environ, "HOME": str(tmp_path)},
        )
        page = browser.new_context().new_page()
        page.set_default_timeout(PATIENCE)
        yield page
        browser.close()


@pytest.fixture
def person(machine: Machine) -> Iterator[Person]:
    """Someone who comes by HTTPS too."""
    person = machine.change(machine.researcher(), BY_WEB)
    machine.wait_for("test -S /run/secondlock-hub/hub.sock", timeout=180)
    yield person
    machine.change(person, {"access": ("ssh",), "web_allowed_from": ()})


def log_in(page: Any, person: Person, passphrase: str, code: str) -> None:
    page.fill("#username_input", person.name)
    page.fill("#password_input", passphrase)
    page.fill("#otp_input", code)
    page.click("#login_submit")


def test_a_whole_visit(machine: Machine, person: Person, page: Any) -> None:
    browser = machine.browser
    page.goto(browser.url("/"))
    code = person.code()
    log_in(page, person, "wrong", code)
    page.wait_for_selector(".login_error")
    log_in(page, person, person.passphrase, code)
    page.wait_for_url(f"{browser.url('/', person.name)}**")
    page.wait_for_selector(".jp-Launcher")
    page.click(".jp-LauncherCard[data-category='Notebook'] >> nth=0")
    # What is typed before its kernel is there, JupyterLab itself loses at times.
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']")
    page.wait_for_timeout(3000)
    page.click(".jp-Notebook .cm-content")
    page.keyboard.type("print(6 * 7, 'from the kernel')")
    page.keyboard.press("Shift+Enter")
    page.wait_for_selector(".jp-OutputArea-output pre")
    assert page.inner_text(".jp-OutputArea-output pre").strip() == "42 from the kernel"
    page.click("[data-command='launcher:create']")
    page.click(".jp-LauncherCard[data-category='Other'][title*='erminal']:visible")
    page.wait_for_selector(".xterm")
    page.goto(browser.url("/lab", f"not-{person.name}"))
    assert "another person's" in page.inner_text("body")
    page.goto(browser.url("/hub/logout"))
    page.goto(browser.url("/lab", person.name))
    page.wait_for_selector("#otp_input")
    log_in(page, person, person.passphrase, code)
    page.wait_for_selector(".login_error")
    assert "used already" in page.inner_text(".login_error")
