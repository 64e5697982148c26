"""A person's whole visit in Chromium, and a laptop's night. For nights: `make proofs`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from infra.web import authority
from tests.support.chromium import FAR, Road, log_in, missing, opened, picture
from tests.support.machine import STACK
from tests.support.people import BY_WEB
from tests.support.vouching import vouching

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

    from tests.support.machine import Machine
    from tests.support.people import Person

if why := missing():
    pytest.skip(why, allow_module_level=True)
pytestmark = pytest.mark.long

ASLEEP = 75  # seconds; a gate takes a browser for gone that says nothing for 60
LINES = 600
COUNT = f"for n in range({LINES}): print(n, flush=True) or __import__('time').sleep(0.2)"
EDITOR = ".jp-Notebook .cm-content >> nth=0"
OUTPUT = ".jp-OutputArea-output pre"


@pytest.fixture
def person(machine: Machine) -> Iterator[Person]:
    """Someone who comes by HTTPS too."""
    person = machine.change(machine.researcher(), BY_WEB)
    machine.wait_for_web()
    yield person
    machine.change(person, {"access": ("ssh",), "web_allowed_from": ()})


@pytest.fixture
def road(machine: Machine, person: Person) -> Iterator[Road]:
    """From their laptop to the machine."""
    road = Road(machine.browser.port)
    yield road
    road.end()


@pytest.fixture
def page(machine: Machine, road: Road, tmp_path: Path) -> Iterator[Page]:
    """Of a browser on that laptop."""
    with opened(tmp_path, authority(machine.lab.seed, STACK), address=FAR) as page:
        yield page


def run(page: Page, cell: str) -> None:
    """Type it into a new notebook, and have it run."""
    page.wait_for_selector(".jp-Launcher")
    page.click(".jp-LauncherCard[data-category='Notebook'] >> nth=0")
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']")
    # What is typed while it still loads, JupyterLab itself loses at times.
    for _ in range(10):
        page.click(EDITOR)
        page.keyboard.press("Control+A")
        page.keyboard.type(cell)
        if page.inner_text(EDITOR).strip() == cell:
            page.keyboard.press("Control+Enter")
            page.wait_for_timeout(5000)
            if page.inner_text(".jp-Notebook .jp-InputPrompt >> nth=0") != "[ ]:":
                break
        page.wait_for_timeout(3000)
    page.wait_for_selector(OUTPUT)


def test_a_whole_visit(machine: Machine, person: Person, page: Page) -> None:
    browser = machine.browser
    page.goto(browser.url("/"))
    page.wait_for_selector("#otp_input")
    picture(page, "browser-login")
    code = person.emergency_codes[0]  # the app's would run out on a slow machine
    log_in(page, person, "wrong", code)
    page.wait_for_selector(".login_error")
    log_in(page, person, person.passphrase, person.wrong_code())
    page.wait_for_selector(".login_error")
    log_in(page, person, person.passphrase, code)
    page.wait_for_url(f"{browser.url('/', person.name)}**")
    run(page, "print(6 * 7, 'from the kernel')")
    assert page.inner_text(OUTPUT).strip() == "42 from the kernel"
    assert not page.locator("text=news").count()
    picture(page, "browser-lab")
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


def test_a_laptop_that_slept_shows_all_that_was_printed(
    machine: Machine, person: Person, page: Page, road: Road
) -> None:
    page.goto(machine.browser.url("/"))
    log_in(page, person, person.passphrase, person.emergency_codes[0])
    page.wait_for_url(f"{machine.browser.url('/', person.name)}**")
    run(page, COUNT)
    page.wait_for_function(f"document.querySelector('{OUTPUT}').innerText.includes('20')")
    road.sleep()
    time.sleep(ASLEEP)
    before = page.inner_text(OUTPUT).split()
    road.wake()
    last = f"document.querySelector('{OUTPUT}').innerText.includes('{LINES - 1}')"
    page.wait_for_function(last)
    shown = page.inner_text(OUTPUT).split()
    print(f"{len(before)} lines before it woke")
    assert len(before) < LINES / 2
    assert shown == [str(number) for number in range(LINES)]


def test_a_visit_by_way_of_a_provider(machine: Machine, tmp_path: Path) -> None:
    browser, ours = machine.browser, authority(machine.lab.seed, STACK)
    with (
        vouching(machine, tmp_path) as (provider, person),
        opened(tmp_path, ours, provider.authority) as page,
    ):
        page.goto(browser.url("/"))
        page.click("a[href^='/hub/oidc/login']")
        page.wait_for_url(f"{browser.url('/', person.name)}**")
        run(page, "print(6 * 7, 'by way of the provider')")
        assert page.inner_text(OUTPUT).strip() == "42 by way of the provider"
        page.goto(browser.url("/hub/logout"))
        provider.says = {"amr": ["pwd"]}
        page.goto(browser.url("/lab", person.name))
        page.click("a[href^='/hub/oidc/login']")
        page.wait_for_url(f"{browser.url('/hub/oidc/callback')}**")
        assert "factor" in page.inner_text("body")
