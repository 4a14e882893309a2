"""What browser tests do with the page, and see of it. Importing it skips a test where there is no Playwright."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from pictures import make_photo
from PIL import Image

from benchmarks.page_browser import wait_until_coded

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra browser: pip install -e '.[browser]'")
expect, Page, settled = sync_api.expect, sync_api.Page, wait_until_coded


def pixels(page: Page, layer: str = "coded") -> np.ndarray:
    """What a layer of the stage holds, (H, W, 4)."""
    url = page.evaluate("id => document.querySelector(`#layer-${id} canvas`).toDataURL()", layer)
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGBA"))


def download(page: Page, button: str = "#download") -> tuple[str, bytes]:
    """Press a button that saves something: the file's name and bytes."""
    with page.expect_download() as waiting:
        page.locator(button).click()
    return waiting.value.suggested_filename, waiting.value.path().read_bytes()


def drop(page: Page, name: str, data: bytes, event: str = "drop") -> None:
    """Drop a file on the page, or paste it."""
    page.evaluate(
        """([name, data, event]) => {
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
            transfer.items.add(new File([bytes], name));
            const options = { dataTransfer: transfer, clipboardData: transfer, bubbles: true, cancelable: true };
            const Kind = event === "paste" ? ClipboardEvent : DragEvent;
            document.body.dispatchEvent(new Kind(event, options));
        }""",
        [name, base64.b64encode(data).decode(), event],
    )


def png(width: int = 160, height: int = 112, seed: int = 0) -> bytes:
    """A small picture with detail."""
    file = io.BytesIO()
    Image.fromarray(make_photo(height, width, seed)).save(file, "png")
    return file.getvalue()
