"""A service of the working tree, and a browser that looks at its page.

Needs Debian's ``chromium`` (or one named by ``CHROMIUM``) and the extra ``browser``; tests are skipped without them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """The address of a service that runs for these tests."""
    command = [sys.executable, "-m", "promptcodec", "serve", "--no-browser", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["address"]
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs chromium: apt-get install chromium, or CHROMIUM=/path/to/it")
    from page_driver import sync_api

    with sync_api.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


Visit = Callable[..., "Page"]


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Visit]:
    """Open the page in a context of its own: ``visit(width=…, height=…, **options of the context)``.

    At the end of the test no request may have gone elsewhere, and nothing may stand in the console but that the
    service refused something, where ``page.refused`` was set.
    """
    from page_driver import PATIENCE, settled

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
            settled(page)
        return page

    yield visit
    for context in contexts:
        context.close()
    if any(page.refused for page in pages):
        said = [line for line in said if not line.startswith("Failed to load resource")]
    assert not said
    assert hosts <= {urlsplit(address).netloc, ""}  # blob: has none
