"""What the quality of a file sets: the base's rate step, or the scalar ``rate`` of an adapter that carries the rate."""

from __future__ import annotations

from dataclasses import dataclass

from promptcodec.bitstream.contents import Q_STEPS
from promptcodec.codec.adapters import AdapterLibrary, Request
from promptcodec.codec.search import DEFAULT_QUALITY, Target
from promptcodec.errors import UsageError
from promptcodec.model.config import Model


@dataclass(frozen=True)
class FileRate:
    """How a position from 0 to Q_STEPS, which a quality names and a target's search tries, becomes a file's rate.

    ``base_step``: the one rate step that the base keeps, None where it follows the position. ``carried``: whether an
    adapter's scalar ``rate`` follows it.
    """

    config: Model
    base_step: int | None = None
    carried: bool = False

    @staticmethod
    def of(config: Model, adapters: AdapterLibrary, request: Request) -> FileRate:
        """Return that of a model steered by what ``request`` asks for.

        Raises UsageError where adapters were trained at different rates of the base, and as ``AdapterLibrary.attach``.
        """
        step, carried = adapters.rate_of(request) if request else (None, False)
        return FileRate(config, 0 if config.gain is None else step, carried)

    @property
    def follows(self) -> bool:
        """Whether a quality, or the search of a target, changes anything."""
        return self.carried or self.base_step is None

    def position(self, quality: float | None, target: Target | None) -> int:
        """Return the position of a quality from 0 to 100, 50 by default, and the first to try for a target.

        Raises UsageError where both are given, for qualities out of range, and where nothing follows them.
        """
        name, what = self.config.name, "quality" if target is None else "target"
        if self.config.gain is None and not self.follows and (quality is not None or target is not None):
            raise UsageError(
                f"model {name} was trained for one rate and takes no {what}, unless an adapter carries the rate"
            )
        if quality is not None and target is not None:
            raise UsageError(f"a quality and a target {target.name} exclude each other")
        if quality is not None and not 0 <= quality <= 100:
            raise UsageError(f"quality {quality} is outside 0..100")
        position = round((DEFAULT_QUALITY if quality is None else float(quality)) / 100 * Q_STEPS)
        if self.follows or self.base_step is None:
            return position
        if target is not None or (quality is not None and position != self.base_step):
            value = f"{quality:g} " if quality is not None else ""
            raise UsageError(
                f"the {what} {value}cannot be used with these adapters: they were trained on {name} at quality "
                f"{quality_of(self.base_step):.6g}, and none of them carries another rate; leave the {what} out, or "
                "train adapters for it"
            )
        return self.base_step

    def step(self, position: int) -> int:
        """Return the rate step of the base."""
        return position if self.base_step is None else self.base_step

    def steering(self, request: Request, position: int) -> Request:
        """Return the request with the scalar ``rate``, where an adapter carries it."""
        return request.with_settings({"rate": position / Q_STEPS}) if self.carried else request


def quality_of(step: int) -> float:
    """Return the quality from 0 to 100 that a rate step stands for."""
    return 100 * step / Q_STEPS
