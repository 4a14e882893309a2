"""Which recognisers there are by name, and how a user's own is opened."""

from __future__ import annotations

import hashlib
import inspect
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import torch

from promptcodec.errors import PromptcodecError, UsageError
from promptcodec.tasks.recogniser import Recogniser, Task

Open = Callable[[str, Path | None], Recogniser]


def _efficientnet_lite(name: str, folder: Path | None) -> Recogniser:
    from promptcodec.tasks.efficientnet_lite import EfficientNetLite, source

    variant = int(name[-1])
    return EfficientNetLite(variant, source(variant).find(name, folder))


def _yolox_nano(name: str, folder: Path | None) -> Recogniser:
    from promptcodec.tasks.yolox import SOURCE, YoloxNano

    return YoloxNano(SOURCE.find(name, folder))


def _resnet(name: str, folder: Path | None) -> Recogniser:
    from promptcodec.tasks.resnet import SOURCE, ResNet50

    return ResNet50(SOURCE.find(name, folder))


def _rcnn(name: str, folder: Path | None) -> Recogniser:
    from promptcodec.tasks.rcnn import SOURCES, Rcnn

    return Rcnn(name == "mask-rcnn", SOURCES[name].find(name, folder))


def _rapidocr(name: str, folder: Path | None) -> Recogniser:
    from promptcodec.tasks.rapidocr import RapidOcr

    return RapidOcr()


RECOGNISERS: dict[str, tuple[Task, Open]] = {
    **{f"efficientnet-lite{variant}": ("classify", _efficientnet_lite) for variant in range(5)},
    "resnet50": ("classify", _resnet),
    "yolox-nano": ("detect", _yolox_nano),
    "faster-rcnn": ("detect", _rcnn),
    "mask-rcnn": ("detect", _rcnn),
    "rapidocr": ("read", _rapidocr),
}
DEFAULTS: dict[Task, str] = {"classify": "efficientnet-lite2", "detect": "yolox-nano", "read": "rapidocr"}
"""What a task is measured with where nothing is said."""


def is_recogniser(name: str) -> bool:
    """Tell whether a name is one for ``open_recogniser``, and not the path of a file of weights."""
    return name in RECOGNISERS or (":" in name and not Path(name).is_file())


def label(name: str) -> str:
    """Return what results call the recogniser that ``open_recogniser`` opens by ``name``: a file goes by its stem."""
    place, _, class_name = name.rpartition(":")
    return f"{Path(place).stem}:{class_name}" if place.endswith(".py") else name


def open_recogniser(name: str, folder: Path | None = None, task: Task | None = None) -> Recogniser:
    """Open a recogniser by its name in RECOGNISERS, or a user's own: ``FILE.py:CLASS`` or ``MODULE:CLASS``, whose code
    is run.

    ``folder``: of weight files, before installed packages. ``task``: the one that it must be for. Raises UsageError for
    unknown names, missing weights, another task, classes that are no ``Recogniser``, and code that cannot be imported.
    """
    if name in RECOGNISERS:
        own_task, opener = RECOGNISERS[name]
        _check_task(name, own_task, task)
        recogniser = opener(name, folder)
        recogniser.name = name
        return recogniser
    place, colon, class_name = name.rpartition(":")
    if not colon:
        raise UsageError(
            f"there is no recogniser {name!r} (known: {', '.join(RECOGNISERS)}; your own: FILE.py:CLASS or "
            "MODULE:CLASS)"
        )
    module = _run_file(Path(place)) if place.endswith(".py") else _import(place)
    cls = getattr(module, class_name, None)
    if not inspect.isclass(cls) or not issubclass(cls, Recogniser):
        raise UsageError(f"{place} has no class {class_name} that derives from promptcodec.tasks.recogniser.Recogniser")
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(cls.__abstractmethods__))
        raise UsageError(f"the recogniser {class_name} of {place} lacks the methods {missing}")
    try:
        recogniser = cls()
    except PromptcodecError:
        raise
    except Exception as error:  # whatever a user's class does wrong
        raise UsageError(f"the recogniser {class_name} of {place} cannot be made: {_failure(error)}") from error
    recogniser.name = label(name)
    _check_task(recogniser.name, recogniser.task, task)
    recogniser.eval().requires_grad_(False)
    recogniser.weights = recogniser.weights or _fingerprint(recogniser, sys.modules.get(cls.__module__, module))
    return recogniser


def _check_task(name: str, own_task: Task, task: Task | None) -> None:
    if task is not None and own_task != task:
        raise UsageError(f"{name} is for the task {own_task}, not {task}")


def _run_file(path: Path) -> ModuleType:
    spec = spec_from_file_location(path.stem, path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise UsageError(f"there is no file {path} with a recogniser")
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's file does wrong
        raise UsageError(f"the file {path} of a recogniser cannot be imported: {_failure(error)}") from error
    return module


def _import(name: str) -> ModuleType:
    try:
        return import_module(name)
    except Exception as error:  # of names that are none, and whatever a user's module does wrong
        raise UsageError(f"the module {name!r} of a recogniser cannot be imported: {_failure(error)}") from error


def _failure(error: Exception) -> str:
    """Say what went wrong in a user's code, and in which line of which file it was raised."""
    what = " ".join(str(error).split()) or "no message"
    if isinstance(error, ImportError | SyntaxError):
        return what
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in line {last.lineno} of {Path(last.filename).name}: {what}"


def _fingerprint(recogniser: Recogniser, module: ModuleType) -> str:
    """Identify a user's recogniser by the code of its file, which says what it does with its weights, and by these."""
    source = getattr(module, "__file__", None)
    digest = hashlib.sha256(Path(source).read_bytes() if source else b"")
    for name, tensor in sorted(recogniser.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
