"""Every error that promptcodec raises on purpose, so that callers can catch one family."""

from __future__ import annotations

from typing import Literal


class PromptcodecError(Exception):
    """Base class of all errors that promptcodec raises on purpose."""


class FormatError(PromptcodecError):
    """The bytes are not a valid .ptc file: foreign, truncated or damaged."""


class VersionError(FormatError):
    """The file was written in a format version (or with a critical feature) that this release does not know."""


class ModelMismatchError(PromptcodecError):
    """The model that a file needs is missing, or the model at hand is another one."""


class OtherBaseError(ModelMismatchError):
    """An adapter was made for another base than the one at hand."""


class LimitError(PromptcodecError):
    """A picture or a header claims more than the limits allow."""


class ImageError(PromptcodecError):
    """A picture cannot be read, written or represented."""


class UsageError(PromptcodecError):
    """The caller asked for something that does not exist or does not fit together."""


class UnfitError(UsageError):
    """What was asked for does not fit this picture or file; it may fit others, and a batch goes on."""


class TargetError(PromptcodecError):
    """The wanted size or quality lies outside what the model can do with this picture."""


class DivergenceError(PromptcodecError):
    """A training run diverged more often than its recipe allows."""


class ForkError(PromptcodecError):
    """The process was forked from one whose threads or devices it cannot use."""


class VerificationError(PromptcodecError):
    """A file that was just made does not decode to what was encoded."""


class DestinationError(PromptcodecError):
    """Nothing more can be written to the destination of a job: it is full, or refuses. The job ends."""


class SourceError(PromptcodecError):
    """A source of a job cannot be read.

    ``scope``: "file", this one is missing or damaged, and will be the next time; "access", the storage refuses, as it
    probably will for others; "passing", another try may go better.
    """

    def __init__(self, message: str, scope: Literal["file", "access", "passing"] = "file") -> None:
        super().__init__(message)
        self.scope: Literal["file", "access", "passing"] = scope

    def __reduce__(self) -> tuple[type[SourceError], tuple[str, str]]:
        return SourceError, (str(self), self.scope)


class ReportingWarning(RuntimeWarning):
    """Something that only informs has failed; the work went on without it."""
