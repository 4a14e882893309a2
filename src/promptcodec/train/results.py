"""What a run leaves: a model file, an adapter file, or both."""

from __future__ import annotations

from pathlib import Path

from promptcodec.steer.adapter_file import save_adapter
from promptcodec.store.model_file import save_model
from promptcodec.train.loop import Trainer


def save_results(trainer: Trainer, version: str) -> list[Path]:
    """Write the moving average into the run's folder, models as ``version``; returns the files.

    Raises UsageError for weights that are not finite in half precision.
    """
    folder, files = trainer.run.folder, list[Path]()
    base, adapter = trainer.averaged(), trainer.averaged_adapter()
    if trainer.run.recipe.train != "adapter":
        files.append(folder / "model.safetensors")
        save_model(base, files[-1], version)
    if adapter is not None:
        files.append(folder / "adapter.safetensors")
        save_adapter(adapter, base, files[-1], trainer.run.recipe.base_lambda, trainer.task.notes())
    return files
