"""Draw the figures of the page in docs/serve.md: what a browser shows, dark, light, and on a phone.

    python -m benchmarks.results.draw_page    # writes docs/figures/page-*.webp; a minute

Needs the extras ``serve`` and ``browser`` and Debian's ``chromium``.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from benchmarks.page_browser import PATIENCE, running_browser, running_service, wait_until_measured

if TYPE_CHECKING:
    from playwright.sync_api import Page

FIGURES = Path(__file__).resolve().parents[2] / "docs" / "figures"


def write(page: Page, name: str) -> None:
    """Write what the page shows as a figure."""
    with Image.open(io.BytesIO(page.screenshot())) as image:
        image.convert("RGB").save(FIGURES / f"page-{name}.webp", quality=78, method=6)


def compare(page: Page) -> None:
    """JPEG in as many bytes on the other side, close up."""
    page.locator("#quality").fill("30")
    wait_until_measured(page)
    page.get_by_role("radio", name="Show JPEG on the other side").check()
    page.locator("#badge-other", has_text="JPEG").wait_for()
    for _ in range(3):
        page.locator("#zoom-in").click()
    page.locator("#compare-title").evaluate("title => title.scrollIntoView()")


def paint(page: Page) -> None:
    """A region over the red parrot's head."""
    page.get_by_role("button", name="Paint the region that matters").click()
    page.locator("#brush-size").fill("96")
    box = page.locator("#layer-coded canvas").bounding_box()
    assert box is not None
    points = [(0.58, 0.36), (0.66, 0.30), (0.74, 0.36), (0.72, 0.46), (0.62, 0.44)]
    x, y = points[0]
    page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
    page.mouse.down()
    for x, y in points[1:]:
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=5)
    page.mouse.up()
    wait_until_measured(page)


def main() -> None:
    shots = {
        "compare": (1280, 800, "dark", compare),
        "region": (1280, 800, "light", paint),
        "phone": (390, 760, "dark", None),
    }
    with running_service() as address, running_browser() as browser:
        for name, (width, height, theme, play) in shots.items():
            page = browser.new_page(
                viewport={"width": width, "height": height}, color_scheme="dark" if theme == "dark" else "light"
            )
            page.set_default_timeout(PATIENCE)
            page.goto(address)
            wait_until_measured(page)
            if play:
                play(page)
            write(page, name)
            page.close()


if __name__ == "__main__":
    main()
