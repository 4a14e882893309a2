"""A service of the working tree, and a browser that looks at its page.

Needs Debian's ``chromium`` (or one named by ``CHROMIUM``) and the extra ``browser``; tests are skipped without them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from benchmarks.page_browser import CHROMIUM, PATIENCE, running_browser, running_service, wait_until_coded

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """The address of a service that runs for these tests."""
    with running_service() as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs chromium: apt-get install chromium, or CHROMIUM=/path/to/it")
    with running_browser() as browser:
        yield browser


Visit = Callable[..., "Page"]


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Visit]:
    """Open the page in a context of its own: ``visit(width=…, height=…, **options of the context)``.

    At the end of the test no request may have gone elsewhere, and nothing may stand in the console but that the
    service refused something, where ``page.refused`` was set.
    """
    contexts, said, hosts, pages = [], [], set(), []

    def heard(message: ConsoleMessage) -> None:
        if message.type == "error":
            said.append(message.text)

    def visit(width: int = 1280, height: int = 900, coded: bool = True, **options: object) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.refused = False
        page.on("console", heard)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
        pages.append(page)
        page.goto(address)
        if coded:
            wait_until_coded(page)
        return page

    yield visit
    for context in contexts:
        context.close()
    if any(page.refused for page in pages):
        said = [line for line in said if not line.startswith("Failed to load resource")]
    assert not said
    assert hosts <= {urlsplit(address).netloc, ""}  # blob: has none
