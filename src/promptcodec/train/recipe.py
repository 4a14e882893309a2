"""Training recipes: TOML files read into a frozen dataclass, unknown keys refused."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptcodec.errors import UsageError


@dataclass(frozen=True)
class Recipe:
    """One training run.

    ``data``: folders or tar files of pictures. ``patch``: side of the crops in pixels. ``samples``: crops seen in the
    whole run; all schedules are in samples. ``fixed_lambda``: for models of one rate. ``decay`` is the last part of the
    samples over which the learning rate falls to zero. ``start``: a model file, or the name of a shipped model, whose
    weights the run begins with.
    """

    model: str = "nano"
    data: tuple[str, ...] = ()
    validation: str = ""
    patch: int = 128
    batch: int = 16
    samples: int = 1_000_000
    learning_rate: float = 1e-3
    shortcut_rate: float = 0.03
    warmup: int = 8_000
    decay: float = 0.2
    clip: float = 1.0
    ema: float = 0.999
    quantisation: str = "mixed"
    fixed_lambda: float = 0.0
    min_scale: float = 0.5
    autocast: bool = False
    linear_start: bool = True
    start: str = ""
    seed: int = 42
    log_every: int = 100
    checkpoint_minutes: float = 5.0
    threads: int = 2

    @staticmethod
    def load(path: str | Path, overrides: dict[str, Any] | None = None) -> Recipe:
        """Read a recipe; ``overrides`` replace its values. Raises UsageError on unknown keys and wrong types."""
        try:
            values = tomllib.loads(Path(path).read_text())
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise UsageError(f"recipe {path} cannot be read: {error}") from None
        values |= overrides or {}
        fields = {field.name: field for field in dataclasses.fields(Recipe)}
        for key, value in values.items():
            if key not in fields:
                raise UsageError(f"recipe {path}: unknown key {key!r}; known are {', '.join(fields)}")
            default = fields[key].default
            if isinstance(default, tuple):
                values[key] = tuple(value)
            elif isinstance(default, float) and isinstance(value, int):
                values[key] = float(value)
            elif type(value) is not type(default):
                wanted = type(default).__name__
                raise UsageError(f"recipe {path}: {key} is {value!r}, expected {wanted}")
        return Recipe(**values)
