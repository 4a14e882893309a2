"""The ordered list of runs that are still to do (``training/queue.toml``), and which of them is next."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptcodec.errors import UsageError
from promptcodec.system.atomic import atomic_write
from promptcodec.tasks.registry import is_recogniser
from promptcodec.train.recipe import Recipe
from promptcodec.train.recipe_file import flatten, load_recipe, merge_values

OPEN, DONE, DIVERGED = STATES = "open", "done", "diverged"
STARTS = ("start", "start_adapter")


@dataclass(frozen=True)
class QueuedRun:
    """One entry: a recipe under a name that is its folder's as well.

    ``status``: one of STATES; a run that diverged more often than its recipe allows is left alone. ``start``: name of
    an earlier run whose model file it begins with, ``start_adapter`` of one whose adapter it goes on from.
    ``minutes``: it is done after this much training, whatever its recipe says (0: no such limit). ``changes`` replace
    values of the recipe.
    """

    name: str
    recipe: Path
    status: str
    start: str = ""
    start_adapter: str = ""
    minutes: float = 0.0
    changes: tuple[tuple[str, Any], ...] = ()

    def load(self, runs: Path, overrides: dict[str, Any]) -> Recipe:
        """Read its recipe. Raises UsageError where what it needs is not there: the files in ``runs`` of the runs that
        it starts from, or networks and adapters that its recipe names.
        """
        values = flatten(dict(self.changes), f"run {self.name}")
        files = {"start": (self.start, "model"), "start_adapter": (self.start_adapter, "adapter")}
        for key, (run, kind) in files.items():
            weights = runs / run / f"{kind}.safetensors"
            if run and not weights.is_file():
                raise UsageError(f"run {self.name} starts from {run}, but there is no {weights}")
            if run:
                values[key] = str(weights)
        recipe = load_recipe(self.recipe, merge_values(values, overrides))
        features = "" if is_recogniser(recipe.features) else recipe.features
        for path in filter(None, (features, recipe.feature_heads, *recipe.co_adapters)):
            if not Path(path).is_file():
                raise UsageError(
                    f"run {self.name} needs {path}, which is not there: put it in that place, as seen from the working "
                    "directory"
                )
        return recipe


def read_queue(path: Path) -> list[QueuedRun]:
    """Read the runs of a queue file, in order. Raises UsageError where it cannot be understood."""
    try:
        entries = tomllib.loads(path.read_text())["run"]
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise UsageError(f"queue {path} cannot be read: {error}") from None
    runs: list[QueuedRun] = []
    for entry in entries:
        unknown = set(entry) - {"name", "recipe", "status", *STARTS, "minutes", "set"}
        lacking = {"name", "recipe", "status"} - set(entry)
        if unknown or lacking or entry["status"] not in STATES:
            states = ", ".join(STATES)
            raise UsageError(f"queue {path}: a run wants name, recipe and status (one of {states}); found {entry}")
        starts = {key: entry.get(key, "") for key in STARTS}
        if later := set(starts.values()) - {"", *(run.name for run in runs)}:
            raise UsageError(f"queue {path}: {entry['name']} starts from {min(later)}, which is no run before it")
        recipe = path.parent / entry["recipe"]
        minutes, changes = float(entry.get("minutes", 0)), tuple(entry.get("set", {}).items())
        runs.append(QueuedRun(entry["name"], recipe, entry["status"], minutes=minutes, changes=changes, **starts))
    return runs


def ready_run(
    path: Path, runs: Path, overrides: dict[str, Any], failed: Collection[str] = ()
) -> tuple[QueuedRun | None, list[str]]:
    """Find the first open run that has all that it needs and is none of ``failed``, and why those before it wait.

    None where no run is open, or those that are have ``failed``. Raises UsageError where open runs cannot be done.
    """
    queue = read_queue(path)
    waiting: list[str] = []
    states = {run.name: run.status for run in queue}
    for run in (run for run in queue if run.status == OPEN and run.name not in failed):
        try:
            for before in filter(None, (run.start, run.start_adapter)):
                if states[before] != DONE:
                    why = "diverged" if states[before] == DIVERGED else "is not done"
                    raise UsageError(f"run {run.name} starts from {before}, which {why}")
            run.load(runs, overrides)
        except UsageError as error:
            waiting.append(str(error))
        else:
            return run, waiting
    if waiting and not failed:
        raise UsageError(f"no open run of {path} can be done: {waiting[0]}")
    return None, waiting


def mark(path: Path, name: str, status: str) -> None:
    """Write into the queue file what became of the open run ``name``; the rest of it, comments included, stays."""
    head, *tables = re.split(r"(?m)^(?=\[\[run\]\])", path.read_text())
    for i, table in enumerate(tables):
        if tomllib.loads(table)["run"][0]["name"] == name:
            tables[i] = re.sub(rf'(?m)^status\s*=\s*"{OPEN}"', f'status = "{status}"', table, count=1)
    with atomic_write(path, overwrite=True) as file:
        file.write("".join([head, *tables]).encode())
