"""Networks that look at pictures in the place of people: classifiers, detectors, readers of text."""

from typing import TYPE_CHECKING

from promptcodec.system.submodules import submodule_getter

if not TYPE_CHECKING:
    __getattr__ = submodule_getter(__name__)
