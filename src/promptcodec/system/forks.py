"""Processes that ``os.fork`` made: they have none of the threads that torch had, and would wait for them for ever."""

from __future__ import annotations

import os
import sys
import warnings

from promptcodec.errors import ForkError

_SPAWN = "start processes that code with multiprocessing.get_context('spawn')"


def _is_forked_worker() -> bool:
    """Return whether multiprocessing forked this process before promptcodec was imported."""
    processes = sys.modules.get("multiprocessing.process")
    is_child = processes is not None and processes.parent_process() is not None
    return is_child and "--multiprocessing-fork" not in sys.orig_argv  # which the other start methods leave there


# Whether torch had been loaded before the fork that made this process. A worker that loads torch itself, then
# promptcodec, looks the same, and is taken for one.
inherited_torch = "torch" in sys.modules and _is_forked_worker()
_warned = False


def _note_fork() -> None:
    global inherited_torch, _warned
    inherited_torch, _warned = "torch" in sys.modules, False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def leave_lost_threads() -> None:
    """Run torch on one thread in a fork of a process that had loaded torch (``inherited_torch``), and warn of it once.

    OpenMP waits for threads that a fork does not copy, for ever; one thread waits for nobody. Whether the parent had
    started any cannot be asked of it, so a child is taken to have lost them wherever it would use more than one. Raises
    ForkError where torch does not let go of them.
    """
    global _warned  # noqa: PLW0603
    import torch

    if torch.get_num_threads() == 1:
        return
    torch.set_num_threads(1)
    if torch.get_num_threads() != 1:
        raise ForkError(f"this process was forked and has lost torch's threads, which it would wait for: {_SPAWN}")
    if not _warned:
        _warned = True
        warnings.warn(
            f"this process was forked after torch was loaded, so promptcodec uses one thread here; for more, {_SPAWN}",
            RuntimeWarning,
            stacklevel=2,
        )


def explained(error: RuntimeError) -> Exception:
    """Return ``error``, or a ForkError in its place where torch refuses to go on in a fork (CUDA, gradients)."""
    if inherited_torch and "fork" in str(error):
        return ForkError(f"torch cannot do this in a forked process: {_SPAWN}")
    return error
