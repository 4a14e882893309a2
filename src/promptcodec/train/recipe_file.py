"""Recipe files: TOML in sections, read into a ``Recipe``; unknown keys are refused."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from promptcodec.errors import UsageError
from promptcodec.model.inference.precision import PRECISIONS
from promptcodec.train.check import check_recipe
from promptcodec.train.losses.distortion import METRICS
from promptcodec.train.losses.feature_balance import AUTO
from promptcodec.train.losses.table import LOSSES
from promptcodec.train.recipe import SECTIONS, Recipe
from promptcodec.train.run.divergence import LOOK_EVERY

Values = Mapping[str, Any]

IN_SECTION = {"model": "name", "data": "sources"}  # what fields that are called like their section are called in it
RENAMED = {"beside": "co_adapters"}  # earlier names of keys


def load_recipe(path: str | Path, changes: Values | None = None) -> Recipe:
    """Read a recipe file; ``changes`` replace its values. Raises UsageError on unknown keys and wrong values."""
    try:
        values = tomllib.loads(Path(path).read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"recipe {path} cannot be read: {error}") from None
    name = f"recipe {path}"
    return read_recipe(merge_values(flatten(values, name), flatten(changes or {}, name)), name)


def read_recipe(values: Values, name: str) -> Recipe:
    """Make a recipe, called ``name`` in errors, of values in sections or flat. Raises UsageError."""
    fields = {field.name: field for field in dataclasses.fields(Recipe)}
    checked: dict[str, Any] = {}
    for key, value in flatten(values, name).items():
        if key not in fields:
            raise UsageError(f"{name}: unknown key {key!r}; known are {', '.join(fields)}")
        checked[key] = _checked(fields[key], value, name)
    recipe = Recipe(**checked)
    check_recipe(recipe, name)
    return recipe


def parse_changes(texts: Iterable[str]) -> dict[str, Any]:
    """Read the values of ``--with KEY=VALUE`` or ``SECTION.KEY=VALUE`` (TOML), later ones replacing earlier ones.

    Raises UsageError.
    """
    changes: dict[str, Any] = {}
    for text in texts:
        try:
            values = tomllib.loads(text)
            ((_, _),) = values.items()
        except (ValueError, tomllib.TOMLDecodeError):
            raise UsageError(f"--with {text}: expected KEY=VALUE as in TOML (strings in quotes)") from None
        changes = merge_values(changes, flatten(values, f"--with {text}"))
    return changes


def merge_values(values: Values, changes: Values) -> dict[str, Any]:
    """Replace some of ``values``, both by the names of ``Recipe``.

    An adapter with a ``kind``, or an empty one, takes the other's place; else it changes options of it.
    """
    merged = {**values, **changes}
    adapter = changes.get("adapter")
    if isinstance(adapter, dict) and adapter and "kind" not in adapter:
        merged["adapter"] = {**values.get("adapter", {}), **adapter}
    return merged


def flatten(values: Values, name: str) -> dict[str, Any]:
    """Name the values of a recipe by the fields of ``Recipe``, whichever section they stand in, or none.

    ``name``: of the recipe, in errors. Raises UsageError for keys of another section, and values that are given twice.
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        pairs = _of_section(key, value, name) if isinstance(value, dict) and key in SECTIONS else [(key, value)]
        for field, inner in pairs:
            field = RENAMED.get(field, field)
            if field in flat:
                raise UsageError(f"{name}: {field} is given twice, leave one of them out")
            flat[field] = inner
    return flat


def _of_section(section: str, table: dict[str, Any], name: str) -> Iterator[tuple[str, Any]]:
    """Yield the fields and values of one section.

    What ``[adapter]`` has beyond its fields are the adapter's kind and options.
    """
    options: dict[str, Any] = {}
    names = {IN_SECTION.get(field, field) if field == section else field: field for field in SECTIONS[section]}
    for key, value in table.items():
        field = names.get(RENAMED.get(key, key))
        if field is not None and field != "adapter":
            yield field, value
        elif section == "adapter":
            options[key] = value
        else:
            place = next((other for other, fields in SECTIONS.items() if key in fields), None)
            hint = f"it belongs in [{place}]" if place else f"known are {', '.join(names)}"
            raise UsageError(f"{name}: unknown key {key!r} in [{section}]; {hint}")
    if options or (section == "adapter" and not table):
        yield "adapter", options


def _checked(field: dataclasses.Field[Any], value: Any, name: str) -> Any:
    """Return the value of a field in its type. Raises UsageError."""
    key, default = field.name, {} if field.default is dataclasses.MISSING else field.default
    written = value
    if isinstance(default, tuple):
        value = _listed(value, float if key == "rates" else str, f"{name}: {key}")
    elif (key in _OR_A_NUMBER and type(value) in (int, float)) or (isinstance(default, float) and type(value) is int):
        value = float(value)
    elif type(value) is not type(default):
        expected = f"a number or {default}" if key in _OR_A_NUMBER else type(default).__name__
        raise UsageError(f"{name}: {key} is {value!r}, expected {expected}")
    if key in _RANGES and not isinstance(value, str) and not _RANGES[key][0] <= value <= _RANGES[key][1]:
        low, high = _RANGES[key]
        expected = f"{low} or more" if math.isinf(high) else f"{low} to {high}"
        raise UsageError(f"{name}: {key} is {written}, expected {expected}")
    if (choices := _CHOICES.get(key)) and value not in choices and not isinstance(value, float):
        number = "a number or " if key in _OR_A_NUMBER else ""
        raise UsageError(f"{name}: {key} is {value!r}, expected {number}one of {', '.join(choices)}")
    return value


def _listed(value: Any, kind: type, what: str) -> tuple[Any, ...]:
    """Return a list of a recipe, or one value in its place.

    Raises UsageError for values that are not of this ``kind``.
    """
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    kinds = (int, float) if kind is float else (kind,)
    if any(not isinstance(one, kinds) or isinstance(one, bool) for one in values):
        raise UsageError(f"{what} is {value!r}, expected a list of {'numbers' if kind is float else 'strings'}")
    return values


_OR_A_NUMBER = ("machine_weight",)

_CHOICES: dict[str, tuple[str, ...]] = {
    "train": ("model", "adapter", "joint"),
    "objective": tuple(LOSSES),
    "masks": ("random", "ones"),
    "crops": ("augmented", "plain"),
    "sample_weights": ("sqrt-lambda", "equal"),
    "machine_weight": (AUTO,),
    "feature_scale": ("rms", "none"),
    "quantisation": ("noise", "mixed", "round"),
    "distortion": METRICS,
    "precision": PRECISIONS,
}

_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("samples", "batch", "parts", "reuse", "log_every", "threads"), (1, math.inf)),
    **dict.fromkeys(("decay", "ema", "transposed"), (0, 1)),
    "patch": (16, math.inf),
    "min_scale": (0.01, 1),
    "share": (1e-6, 1),
    "clip": (1e-6, math.inf),
    "guard_rate": (0.01, 1),
    "guard_steps": (LOOK_EVERY, math.inf),
    **dict.fromkeys(
        (
            "psnr_weight", "machine_weight", "base_lambda", "fixed_lambda", "start_lambda", "feature_weight", "watch",
            "memory", "validation_every", "train_sample", "guard", "guard_norm", "guard_retries", "learning_rate",
            "shortcut_rate", "warmup", "rewarm", "checkpoint_minutes", "seed",
        ),
        (0, math.inf),
    ),
}  # fmt: skip
