"""Options of requests, as the command line has them, and the models and adapters that may be named in them.

Whatever could be a path to Python's ``promptcodec.encode`` is a shipped name here, a number or a rectangle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from promptcodec.bitstream.tiling import Rect
from promptcodec.codec.search import one_target
from promptcodec.errors import UsageError
from promptcodec.store.shipped import DEFAULT, shipped_models
from promptcodec.store.shipped_adapters import ShippedAdapter, shipped_adapters


def model_named(name: str | None) -> str:
    """Return a shipped model's name. Raises UsageError for any other."""
    name = name or DEFAULT
    if name not in shipped_models():
        raise UsageError(f"there is no model {name!r}; this service has {', '.join(shipped_models())}")
    return name


def adapters_of(model: str) -> list[ShippedAdapter]:
    """Return the adapters that ship for a model."""
    metadata = shipped_models()[model]
    return [a for a in shipped_adapters() if a.base_name == f"{metadata['name']} {metadata['version']}"]


def adapters_named(model: str, names: Sequence[str]) -> list[str]:
    """Names of adapters that ship for a model. Raises UsageError for others."""
    known = [adapter.name for adapter in adapters_of(model)]
    for name in names:
        if name not in known:
            raise UsageError(f"model {model} has no adapter {name!r}; there are {', '.join(known) or 'none'}")
    return list(names)


def rectangle(option: str, text: str | None) -> tuple[int, int, int, int] | None:
    """Read ``x,y,w,h``. Raises UsageError for anything else."""
    if text is None:
        return None
    rect = Rect.parse(text)
    if rect is None or min(rect.left, rect.top) < 0 or min(rect.width, rect.height) < 1:
        raise UsageError(f"{option} takes x,y,w,h in pixels, such as 100,50,640,480, not {text!r}")
    return rect.left, rect.top, rect.width, rect.height


def assignments(option: str, texts: Sequence[str]) -> dict[str, str]:
    """Read ``NAME=VALUE``. Raises UsageError for anything else, and for a name that comes again."""
    values: dict[str, str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value) or name in values:
            raise UsageError(f"{option} takes NAME=VALUE, each name once, not {text!r}")
        values[name] = value
    return values


def scalars(option: str, texts: Sequence[str]) -> dict[str, float]:
    """Read ``NAME=VALUE`` with numbers. Raises UsageError for anything else."""
    values = {}
    for name, value in assignments(option, texts).items():
        try:
            values[name] = float(value)
        except ValueError:
            raise UsageError(f"{option} takes NAME=VALUE with a number, not {name}={value!r}") from None
    return values


def target_of(**values: float | None) -> tuple[str, float] | None:
    """Return the one target that is given, as (kind, value). Raises UsageError for several, for impossible values."""
    target = one_target(**values)
    return None if target is None else (target.kind, target.value)


def described_models() -> list[dict[str, Any]]:
    """Return the shipped models, with what steers them."""
    return [_described(name, metadata) for name, metadata in shipped_models().items()]


def _described(name: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    adapters = adapters_of(name)
    names = {adapter.name for adapter in adapters}
    variable = json.loads(metadata["config"])["fields"].get("gain") is not None
    return {
        "name": name, "version": metadata["version"], "fingerprint": metadata["fingerprint"],
        "default": name == DEFAULT, "quality": [0, 100] if variable else None,
        "controls": {"look": "look" in names, "roi": "region" in names},
        "adapters": [{"name": a.name, "version": a.version, "use": a.use} for a in adapters],
    }  # fmt: skip


def media_type_of(extension: str) -> str:
    """Return the media type of a format that pictures can be written in, by its extension. Raises UsageError for
    others.
    """
    from PIL import Image

    Image.init()
    name = Image.registered_extensions().get(f".{extension.lower().lstrip('.')}")
    if name is None or name not in Image.SAVE:
        raise UsageError(f"Pillow writes no {extension!r}; try png, jpg, webp or tiff")
    return Image.MIME.get(name, "application/octet-stream")
