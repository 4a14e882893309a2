"""Count the files that a call enters, and how often it crosses from one package to another.

    python -m benchmarks.trust.call_path [--list]    # encode(image), the same with roi, encode(file), and info

A profiling hook (``sys.setprofile``, in worker threads as well) sees every call of a Python function during one call of
the public API, after a first one that has loaded models and modules. *Files entered*: distinct files under
src/promptcodec of which any function runs; *in_model* of them are the networks and what runs them, below the codec's
``Backend``. *Crossings*: distinct pairs of a calling function and a called function that
lie in different packages (folders right below promptcodec; a module there, such as ``errors``, is its own); the caller
is the nearest frame above that lies in promptcodec, so that calls through torch count as those of whoever called torch.
*Borders*: distinct pairs of files among them. ``--list`` names files and borders. Prints a JSON line each.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from PIL import Image

import promptcodec

SOURCE = Path(promptcodec.__file__).resolve().parent
PHOTO = Path(__file__).resolve().parents[2] / "examples" / "photo.jpg"


@dataclass
class CallPath:
    """Collects the files entered, and (calling, called) pairs across packages: of functions, and of their files."""

    files: set[str] = field(default_factory=set)
    crossings: set[tuple[CodeType, CodeType]] = field(default_factory=set)
    borders: set[tuple[str, str]] = field(default_factory=set)

    def of(self, call: Callable[[], object]) -> CallPath:
        """Watch one ``call``, after one that is not watched."""
        call()
        threading.setprofile(self._event)
        sys.setprofile(self._event)
        try:
            call()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
        return self

    def _event(self, frame: FrameType, event: str, _: Any) -> None:
        called = _file(frame)
        if event != "call" or called is None:
            return
        self.files.add(called)
        above = frame.f_back
        while above is not None and (caller := _file(above)) is None:
            above = above.f_back
        if above is not None and caller is not None and package(caller) != package(called):
            self.crossings.add((above.f_code, frame.f_code))
            self.borders.add((caller, called))


def _file(frame: FrameType) -> str | None:
    """The file of a frame relative to promptcodec, None outside of it."""
    path = _KNOWN.get(frame.f_code.co_filename)
    if path is None:
        file = Path(frame.f_code.co_filename)
        path = str(file.relative_to(SOURCE)) if file.is_relative_to(SOURCE) else ""
        _KNOWN[frame.f_code.co_filename] = path
    return path or None


_KNOWN: dict[str, str] = {}


def package(file: str) -> str:
    """The package of a file: the folder right below promptcodec, or the module itself."""
    return file.split("/", maxsplit=1)[0]


def call_paths() -> dict[str, CallPath]:
    """The paths of ``encode(image)``, ``encode(image, roi=...)``, ``encode("photo.jpg")`` and ``info(file)`` with the
    default model."""
    image = Image.open(PHOTO).convert("RGB").resize((256, 192))
    data = promptcodec.encode(image, 50)
    calls: dict[str, Callable[[], object]] = {
        "encode": lambda: promptcodec.encode(image, 50),
        "encode with roi": lambda: promptcodec.encode(image, 50, roi="64,64,128,64"),
        "encode a JPEG file": lambda: promptcodec.encode(PHOTO, 50),
        "info": lambda: promptcodec.info(io.BytesIO(data)),
    }
    return {name: CallPath().of(call) for name, call in calls.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="name the files and the crossings")
    options = parser.parse_args()
    for name, path in call_paths().items():
        row: dict[str, Any] = {"call": name, "files": len(path.files)}
        row["in_model"] = sum(package(file) == "model" for file in path.files)
        row["crossings"] = len(path.crossings)
        row["borders"] = len(path.borders)
        if options.list:
            row |= {"entered": sorted(path.files), "crossed": sorted(map(" -> ".join, path.borders))}
        print(json.dumps(row, indent=1 if options.list else None))


if __name__ == "__main__":
    main()
