"""A service of this tree and a browser that looks at its page: for tests, figures and measurements.

Needs the extras ``serve`` and ``browser`` and Debian's ``chromium``, or the one that ``CHROMIUM`` names.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE = 300_000  # ms; a busy machine is no reason to fail


@contextmanager
def running_service() -> Iterator[str]:
    """Run ``promptcodec serve`` on a free port; its address."""
    command = [sys.executable, "-m", "promptcodec", "serve", "--no-browser", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["address"]
        finally:
            process.terminate()
            process.wait(60)


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Run Chromium without a window."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        yield browser
        browser.close()


def wait_until_coded(page: Page) -> None:
    """Wait until what was asked for is coded and shown."""
    from playwright.sync_api import expect

    expect(page.locator("#stage")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#fact-bytes")).not_to_have_text("–")


def wait_until_measured(page: Page) -> None:
    """Wait until measures, the other codecs and the curve are shown too."""
    from playwright.sync_api import expect

    wait_until_coded(page)
    expect(page.locator("#fact-psnr:not(.stale)")).not_to_have_text("–")
    expect(page.locator(".plot .peer")).not_to_have_count(0)
    expect(page.locator(".plot .curve")).to_have_count(1)
