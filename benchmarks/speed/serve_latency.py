"""How long the page waits: a service on this machine, asked as the page asks it, one request after the other.

    python -m benchmarks.speed.serve_latency PICTURE [--runs 15]   # a photo of 768 x 512 pixels, such as one of Kodak's
    python -m benchmarks.speed.serve_latency --docs                # the table in docs/serve.md

A photo of 24 megapixels is PICTURE enlarged. Writes benchmarks/results/serve_latency.json.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from PIL import Image

from benchmarks.marked import replace_marked

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "serve_latency.json"
PAGE = ROOT / "docs" / "serve.md"
LARGE = (6000, 4000)
STEPS = {
    "first view": "from the drop to the first coded view: upload, analysis, encode, decode, both pictures",
    "slider step": "another quality: its bytes and its picture",
    "first view, small": "the first view with `small`",
    "slider step, small": "another quality with `small`",
    "look step": "another look",
    "new region": "a region, and the view with it",
    "measures": "PSNR, MS-SSIM and SSIMULACRA2",
    "peers": "JPEG, WebP, AVIF and JPEG XL in as many bytes, with their measures",
    "bit map": "where the bits go",
    "curve": "eight points of rate and PSNR",
    "first view, 24 megapixels": "the same at screen size",
    "slider step, 24 megapixels": "another quality at screen size",
    "file in full, 24 megapixels": "the whole picture coded",
}


@contextmanager
def serving() -> Iterator[httpx.Client]:
    """A client of a service that is ready."""
    command = [sys.executable, "-m", "promptcodec", "serve", "-p", "0", "--no-browser", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = json.loads(process.stdout.readline())["address"]
            with httpx.Client(base_url=address, timeout=600) as client:
                while b"measuring_workers 2.0" not in client.get("/metrics").content:
                    time.sleep(0.5)
                yield client
            process.send_signal(signal.SIGTERM)
        finally:
            process.wait(60)


class Page:
    """What the page asks of a service, with the seconds of each step."""

    def __init__(self, client: httpx.Client) -> None:
        self._client, self.seconds = client, dict[str, list[float]]()

    def get(self, path: str) -> bytes:
        return self._client.get(path).raise_for_status().content

    def view(self, token: str, **wanted: object) -> str:
        """A view, and its picture."""
        answer = self._client.post(f"/api/pictures/{token}/views", json=wanted).raise_for_status()
        name: str = answer.json()["view"]
        if not wanted.get("full"):
            self.get(f"/api/views/{name}/picture")
        return name

    def upload(self, data: bytes) -> str:
        token: str = self._client.post("/api/pictures", content=data).raise_for_status().json()["token"]
        self.get(f"/api/pictures/{token}/original")
        return token

    def region(self, token: str, data: bytes) -> None:
        self._client.put(f"/api/pictures/{token}/region", content=data).raise_for_status()

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.seconds.setdefault(step, []).append(time.perf_counter() - begin)


def measure(picture: Path, runs: int) -> dict[str, Any]:
    """Time all steps; returns what is stored."""
    photo = Image.open(picture).convert("RGB")
    small, large, mask = io.BytesIO(), io.BytesIO(), io.BytesIO()
    photo.save(small, "JPEG", quality=95)
    photo.resize(LARGE, Image.Resampling.BICUBIC).save(large, "JPEG", quality=90)
    region = Image.new("L", photo.size)
    region.paste(255, (100, 100, 300, 300))
    region.save(mask, "PNG")
    with serving() as client:
        page = Page(client)
        for _ in range(4):  # every worker loads this model when it is first wanted
            page.view(page.upload(small.getvalue()), quality=50, model="small")
        for run in range(runs):
            with page.timed("first view"):
                token = page.upload(small.getvalue())
                page.view(token, quality=50)
            with page.timed("slider step"):
                view = page.view(token, quality=51 + run)
            with page.timed("look step"):
                page.view(token, quality=51 + run, look=0.5)
            with page.timed("new region"):
                page.region(token, mask.getvalue())
                page.view(token, quality=51 + run)
            for step, path in (("measures", "metrics"), ("peers", "peers"), ("bit map", "bits")):
                with page.timed(step):
                    page.get(f"/api/views/{view}/{path}")
            with page.timed("curve"):
                page.get(f"/api/pictures/{token}/curve")
        for run in range(runs):
            with page.timed("first view, small"):
                token = page.upload(small.getvalue())
                page.view(token, quality=50, model="small")
            with page.timed("slider step, small"):
                page.view(token, quality=51 + run, model="small")
        for run in range(max(1, runs // 5)):
            with page.timed("first view, 24 megapixels"):
                token = page.upload(large.getvalue())
                page.view(token, quality=50)
            with page.timed("slider step, 24 megapixels"):
                page.view(token, quality=51 + run)
            with page.timed("file in full, 24 megapixels"):
                page.view(token, quality=50, full=True)
    return {
        "picture": f"{photo.width}x{photo.height}", "runs": runs, "processors": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "seconds": {step: {"median": round(median(values), 3), "least": round(min(values), 3)}
                    for step, values in page.seconds.items()},
    }  # fmt: skip


def write_table(results: dict[str, Any]) -> None:
    """Put the figures into docs/serve.md."""
    lines = [
        f"A photo of {results['picture'].replace('x', ' x ')} pixels, `nano` where no other model is named, "
        f"{results['processors']} processors with a load of {results['load']} from this and other work:", "",
        "| step | what it is | median | least |", "| --- | --- | --- | --- |",
        *(f"| {step} | {STEPS[step]} | {values['median']:.2f} s | {values['least']:.2f} s |"
          for step, values in results["seconds"].items()),
    ]  # fmt: skip
    replace_marked(PAGE, "latency", "\n".join(lines))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, nargs="?")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--docs", action="store_true", help="write the table alone, from what is stored")
    arguments = parser.parse_args()
    if not arguments.docs:
        if arguments.picture is None:
            parser.error("give a picture")
        RESULTS.write_text(json.dumps(measure(arguments.picture, arguments.runs), indent=1) + "\n")
    write_table(json.loads(RESULTS.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
