"""Which codecs there are, and how each is opened."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from promptcodec.errors import UsageError
from promptcodec.evaluate.codecs.evaluated_codec import OURS, EvaluatedCodec


def peers() -> dict[str, Callable[[], EvaluatedCodec]]:
    """Return the functions that open the classical codecs, by name; UsageError where a library is missing."""
    from promptcodec.evaluate.codecs.heic import PARAMETERS, Heic
    from promptcodec.evaluate.codecs.jpegxl import JpegXl
    from promptcodec.evaluate.codecs.pillow import ANCHORS, Anchor
    from promptcodec.evaluate.codecs.vvc import Vvc

    by_pillow = {name: partial(Anchor, name) for name in ANCHORS}
    by_libheif = {name: partial(Heic, name) for name in PARAMETERS}
    return {**by_pillow, JpegXl.name: JpegXl, **by_libheif, Vvc.name: Vvc}


def open_codec(name: str) -> EvaluatedCodec:
    """Return ``promptcodec``, ``promptcodec:MODEL+ADAPTER@NAME=VALUE`` (see ``ours``), or a classical codec by name.

    Raises UsageError.
    """
    from promptcodec.evaluate.codecs.ours import open_ours

    classical = peers()
    if re.match(rf"{OURS}([:+@]|$)", name):
        codec: EvaluatedCodec = open_ours(name)
    elif name in classical:
        codec = classical[name]()
    else:
        raise UsageError(
            f"there is no codec {name!r} (known: {', '.join([OURS, f'{OURS}:MODEL+ADAPTER@look=1', *classical])})"
        )
    codec.spec = name
    return codec
