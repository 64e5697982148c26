"""How long JupyterLab takes to open in a browser, by HTTPS and through the tunnel of SSH."""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.table import Row
from infra.web import authority
from tests.support.chromium import PATIENCE, log_in, missing, opened
from tests.support.client import free_port
from tests.support.machine import STACK, Machine
from tests.support.people import BY_WEB

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.support.people import Person

GOAL = 1.3
ROUNDS = 5
CONFIG = "cat ~/.local/share/secondlock/jupyter_server_config.json"


def measure() -> list[Row]:
    """One row; nothing is in the browser's cache."""
    if why := missing():
        return [Row("JupyterLab in a browser", "", why)]
    with tempfile.TemporaryDirectory(prefix="secondlock-bench-") as folder:
        machine = Machine(Path(folder) / "machine")
        machine.directory.parent.mkdir(exist_ok=True)
        try:
            machine.boot()
            machine.enlist("key+totp", 1)
            machine.apply()
            person = machine.change(machine.researcher(), BY_WEB)
            machine.wait_for_web()
            trusted = authority(machine.lab.seed, STACK)
            with opened(Path(folder), trusted) as page:
                return [_row(machine, person, page)]
        finally:
            machine.end()


def _row(machine: Machine, person: Person, page: Page) -> Row:
    browser = machine.browser
    page.goto(browser.url("/"))
    log_in(page, person, person.passphrase, person.code())
    page.wait_for_selector(".jp-Launcher")
    near = free_port()
    with machine.client.session(person, code=person.emergency_codes[0]) as session:
        if session.forward("-L", f"127.0.0.1:{near}:127.0.0.1:8888").exit:
            raise RuntimeError("the tunnel could not be opened")
        found = re.search(r'"token": "([0-9a-f]+)"', session.succeed(CONFIG))
        assert found
        tunnel = f"http://127.0.0.1:{near}/lab?token={found[1]}"
        gateway = browser.url("/lab", person.name)
        taken = [(_opens(page, gateway), _opens(page, tunnel)) for _ in range(ROUNDS)]
    ours, theirs = (statistics.median(each) for each in zip(*taken, strict=True))
    return Row(
        f"JupyterLab by HTTPS until it can be used, seconds (median of {ROUNDS})",
        f"{ours:.1f}",
        f"{theirs:.1f} (through the tunnel of SSH)",
        ours / theirs,
        GOAL,
    )


def _opens(page: Page, url: str) -> float:
    """In a browser that has been nowhere yet, but is in."""
    browser = page.context.browser
    assert browser
    fresh = browser.new_context(storage_state=page.context.storage_state())
    try:
        place = fresh.new_page()
        place.set_default_timeout(PATIENCE)
        started = time.monotonic()
        place.goto(url)
        place.wait_for_selector(".jp-Launcher")
        return time.monotonic() - started
    finally:
        fresh.close()
