"""Measure in a browser how long the page takes: from a drop to the coded view, and for a step of the slider.

    python -m benchmarks.speed.page_latency    # writes a sentence into docs/serve.md; a minute

examples/photo.jpg, 768x512, the default model. A time ends when the browser has drawn the decoded picture and its
bytes. On a machine that does nothing else. Needs the extras ``serve`` and ``browser`` and Debian's ``chromium``.
"""

from __future__ import annotations

import base64
import os
import statistics
from pathlib import Path

from benchmarks.marked import replace_marked
from benchmarks.page_browser import PATIENCE, running_browser, running_service, wait_until_measured

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "serve.md"
PHOTO = ROOT / "examples" / "photo.jpg"
STEPS = 20

# Resolves with milliseconds once nothing waits any more and the next frame is drawn.
_TIMED = """
(act) => new Promise((resolve) => {
    const begin = performance.now();
    const stage = document.querySelector("#stage");
    const watcher = new MutationObserver(() => {
        if (stage.getAttribute("aria-busy") === "true") return;
        watcher.disconnect();
        requestAnimationFrame(() => resolve(performance.now() - begin));
    });
    watcher.observe(stage, { attributeFilter: ["aria-busy"] });
    act();
})
"""
_DROP = """
(data) => (TIMED)(() => {
    const transfer = new DataTransfer();
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    transfer.items.add(new File([bytes], "dropped.jpg"));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
})
""".replace("TIMED", _TIMED)
_SLIDE = """
(quality) => (TIMED)(() => {
    const slider = document.querySelector("#quality");
    slider.value = quality;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
})
""".replace("TIMED", _TIMED)


def main() -> None:
    data = base64.b64encode(PHOTO.read_bytes()).decode()
    with running_service() as address, running_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        wait_until_measured(page)
        drops = []
        for _ in range(3):
            drops.append(page.evaluate(_DROP, data) / 1000)
            wait_until_measured(page)
        steps = [page.evaluate(_SLIDE, 30 + 2 * number) / 1000 for number in range(STEPS)]
    drop, step = statistics.median(drops), statistics.median(steps)
    sentence = (
        f"In Chromium without a graphics card, on the same {os.cpu_count()} processors, until the decoded picture is "
        f"drawn: {drop:.2f} s (least {min(drops):.2f} s) from the drop to the first coded view, and {step:.2f} s "
        f"(least {min(steps):.2f} s) for a step of the slider."
    )
    replace_marked(PAGE, "browser", sentence)
    print(f"{sentence} Load of the last minute: {os.getloadavg()[0]:.1f}.")


if __name__ == "__main__":
    main()
