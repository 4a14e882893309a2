"""The ordered list of runs that are still to do (``training/queue.toml``), and which of them is next."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptcodec.errors import UsageError
from promptcodec.system.atomic import atomic_write
from promptcodec.train.recipe import Recipe

OPEN, DONE = "open", "done"
STARTS = ("start", "start_adapter")


@dataclass(frozen=True)
class QueuedRun:
    """One entry: a recipe under a name that is its folder's as well.

    ``start``: name of an earlier run whose model file it begins with, ``start_adapter`` of one whose adapter it goes on
    from. ``minutes``: it is done after this much training,
    whatever its recipe says (0: no such limit). ``changes`` replace values of the recipe.
    """

    name: str
    recipe: Path
    status: str
    start: str = ""
    start_adapter: str = ""
    minutes: float = 0.0
    changes: tuple[tuple[str, Any], ...] = ()

    def load(self, runs: Path, overrides: dict[str, Any]) -> Recipe:
        """Its recipe. Raises UsageError where what it needs is not there: the files in ``runs`` of the runs that it
        starts from, or networks and adapters that its recipe names.
        """
        values = dict(self.changes)
        files = {"start": (self.start, "model"), "start_adapter": (self.start_adapter, "adapter")}
        for key, (run, kind) in files.items():
            weights = runs / run / f"{kind}.safetensors"
            if run and not weights.is_file():
                raise UsageError(f"run {self.name} starts from {run}, but there is no {weights}")
            if run:
                values[key] = str(weights)
        recipe = Recipe.load(self.recipe, values | overrides)
        for path in filter(None, (recipe.features, recipe.feature_heads, *recipe.beside)):
            if not Path(path).is_file():
                raise UsageError(
                    f"run {self.name} needs {path}, which is not there: put it in that place, as seen from the working "
                    "directory"
                )
        return recipe


def read_queue(path: Path) -> list[QueuedRun]:
    """The runs of a queue file, in order. Raises UsageError where it cannot be understood."""
    try:
        entries = tomllib.loads(path.read_text())["run"]
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise UsageError(f"queue {path} cannot be read: {error}") from None
    runs: list[QueuedRun] = []
    for entry in entries:
        unknown = set(entry) - {"name", "recipe", "status", *STARTS, "minutes", "set"}
        lacking = {"name", "recipe", "status"} - set(entry)
        if unknown or lacking or entry["status"] not in (OPEN, DONE):
            raise UsageError(f"queue {path}: a run wants name, recipe and status (open or done); found {entry}")
        starts = {key: entry.get(key, "") for key in STARTS}
        if later := set(starts.values()) - {"", *(run.name for run in runs)}:
            raise UsageError(f"queue {path}: {entry['name']} starts from {min(later)}, which is no run before it")
        recipe = path.parent / entry["recipe"]
        minutes, changes = float(entry.get("minutes", 0)), tuple(entry.get("set", {}).items())
        runs.append(QueuedRun(entry["name"], recipe, entry["status"], minutes=minutes, changes=changes, **starts))
    return runs


def ready_run(path: Path, runs: Path, overrides: dict[str, Any]) -> tuple[QueuedRun | None, list[str]]:
    """The first run that is not done and has all that it needs, and why those before it have to wait.

    None where all are done. Raises UsageError where no open run can be done.
    """
    queue = read_queue(path)
    waiting: list[str] = []
    undone = {run.name for run in queue if run.status == OPEN}
    for run in (run for run in queue if run.status == OPEN):
        try:
            if before := undone & {run.start, run.start_adapter}:
                raise UsageError(f"run {run.name} starts from {min(before)}, which is not done")
            run.load(runs, overrides)
        except UsageError as error:
            waiting.append(str(error))
        else:
            return run, waiting
    if waiting:
        raise UsageError(f"no open run of {path} can be done: {waiting[0]}")
    return None, []


def mark_done(path: Path, name: str) -> None:
    """Write into the queue file that ``name`` is done; the rest of the file, comments included, stays as it is."""
    head, *tables = re.split(r"(?m)^(?=\[\[run\]\])", path.read_text())
    for i, table in enumerate(tables):
        if tomllib.loads(table)["run"][0]["name"] == name:
            tables[i] = re.sub(rf'(?m)^status\s*=\s*"{OPEN}"', f'status = "{DONE}"', table, count=1)
    with atomic_write(path, overwrite=True) as file:
        file.write("".join([head, *tables]).encode())
