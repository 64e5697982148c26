"""Debian's Chromium as somebody with a laptop has it, and the road between it and the machine.

Playwright drives it. It trusts the stack's authority, told as docs/how-to says, and nothing else.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from tests.support.vouching import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

    from tests.support.people import Person

PATIENCE = 240_000  # milliseconds; an emulated machine
LOOPBACK = "127.0.0.1"
FAR = "127.0.0.2"
"""Where a Road begins."""


def missing() -> str | None:
    """Why it cannot run here, if so."""
    if shutil.which("chromium") is None or shutil.which("certutil") is None:
        return "chromium or certutil is not installed (tools/setup.sh --tests --clients)"
    return None


@contextmanager
def opened(place: Path, *authorities: str, address: str = LOOPBACK) -> Iterator[Page]:
    """A page of a browser that trusts these, and finds the machines' names at `address`.

    What it keeps lies in `place`.
    """
    from playwright.sync_api import sync_playwright

    store = place / ".pki" / "nssdb"
    store.mkdir(parents=True)
    certutil = ["certutil", "-d", f"sql:{store}"]
    subprocess.run([*certutil, "-N", "--empty-password"], check=True)
    for number, each in enumerate(authorities):
        add = ["-A", "-t", "C,,", "-n", f"secondlock-{number}"]
        subprocess.run([*certutil, *add], input=each, text=True, check=True)
    with sync_playwright() as running:
        browser = running.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=[
                "--no-sandbox",
                "--disable-gpu",
                f"--host-resolver-rules=MAP *.localhost {address}, MAP {HOST} {LOOPBACK}",
            ],
            env={**os.environ, "HOME": str(place)},
        )
        page = browser.new_context(viewport={"width": 960, "height": 600}).new_page()
        page.set_default_timeout(PATIENCE)
        try:
            yield page
        finally:
            browser.close()


def log_in(page: Page, person: Person, passphrase: str, code: str) -> None:
    """Fill in the hub's form, which is before them."""
    page.fill("#username_input", person.name)
    page.fill("#password_input", passphrase)
    page.fill("#otp_input", code)
    page.click("#login_submit")


def picture(page: Page, name: str) -> None:
    """Keep what is seen for docs/, where SECONDLOCK_PICTURES names a folder."""
    if folder := os.environ.get("SECONDLOCK_PICTURES"):
        page.screenshot(path=f"{folder}/{name}.png")


class Road:
    """Leads from a port of FAR's to the same of this computer's, as long as the laptop is awake.

    What is on its way when that falls asleep is lost, and nobody is told.
    """

    def __init__(self, port: int) -> None:
        self._port, self._awake = port, threading.Event()
        self._open: list[socket.socket] = []
        self._awake.set()
        self._listening = socket.create_server((FAR, port))
        threading.Thread(target=self._accept, daemon=True).start()

    def sleep(self) -> None:
        """Nothing arrives any more, and nothing is refused."""
        self._awake.clear()

    def wake(self) -> None:
        """What was open is found to be gone; what is opened now is led on."""
        gone, self._open = self._open, []
        for each in gone:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._awake.set()

    def end(self) -> None:
        """It leads nowhere."""
        self.wake()
        self._listening.shutdown(socket.SHUT_RDWR)  # and who waits for it wakes
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listening.accept()
                there = socket.create_connection((LOOPBACK, self._port))
                self._open += [here, there]
                for way in ((here, there), (there, here)):
                    threading.Thread(target=self._lead, args=way, daemon=True).start()

    def _lead(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(65536):
                if not self._awake.is_set():
                    self._awake.wait()
                    break
                target.sendall(content)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
