"""What shells complete after options that take a name; where nothing fits, they go on with files."""

from __future__ import annotations

from collections.abc import Iterable


def models(incomplete: str) -> list[str]:
    """Return the names of the models inside the package."""
    from promptcodec.store.shipped import shipped_models

    return _fitting(incomplete, shipped_models())


def adapters(incomplete: str) -> list[str]:
    """Return the names of the adapters inside the package."""
    from promptcodec.store.shipped_adapters import shipped_adapters

    return _fitting(incomplete, (adapter.name for adapter in shipped_adapters()))


def codecs(incomplete: str) -> list[str]:
    """Return the names of the codecs that ``eval`` and ``compare`` know, installed or not."""
    from promptcodec.evaluate.codecs.evaluated_codec import OURS
    from promptcodec.evaluate.codecs.registry import peers

    return _fitting(incomplete, (OURS, *peers()))


def metrics(incomplete: str) -> list[str]:
    """Return the names of the metrics."""
    from promptcodec.evaluate.metrics import METRICS

    return _fitting(incomplete, METRICS)


def curves(incomplete: str) -> list[str]:
    """Return the names of the stored curves."""
    from promptcodec.evaluate.data.stored import stored_curves

    return _fitting(incomplete, stored_curves())


def _fitting(incomplete: str, names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete)})
