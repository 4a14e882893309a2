"""The metrics that rows of results may have: what they are called, how they are written, which way they get better."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """Describes a metric to people.

    ``title``: of a column or a panel; ``axis``: of a plot; ``digits``: behind the point; ``unit``: of values in tables;
    ``masked``: whether it needs a mask.
    """

    title: str
    axis: str
    digits: int
    unit: str = ""
    lower_is_better: bool = False
    masked: bool = False

    @property
    def head(self) -> str:
        """Title of a column of values."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    def text(self, value: float | None) -> str:
        """Write a value for people."""
        return "-" if value is None else f"{value:.{self.digits}f}"


IN_EVERY_ROW = {
    "psnr": Metric("PSNR", "PSNR, RGB (dB)", 2, "dB"),
    "ms_ssim": Metric("MS-SSIM", "MS-SSIM, RGB (dB)", 4),
}
OPTIONAL = {
    "ssimulacra2": Metric("SSIMULACRA2", "SSIMULACRA2", 2),
    "psnr_yuv": Metric("PSNR 6:1:1", "PSNR, YCbCr 6:1:1 (dB)", 2, "dB"),
    "lpips_alex": Metric("LPIPS", "LPIPS, AlexNet (lower is better)", 4, lower_is_better=True),
    "lpips_vgg": Metric("LPIPS (VGG)", "LPIPS, VGG-16 (lower is better)", 4, lower_is_better=True),
    "dists": Metric("DISTS", "DISTS (lower is better)", 4, lower_is_better=True),
    "psnr_inside": Metric("PSNR inside", "PSNR inside the region (dB)", 2, "dB", masked=True),
    "psnr_outside": Metric("PSNR outside", "PSNR outside the region (dB)", 2, "dB", masked=True),
    "psnr_weighted": Metric("PSNR weighted", "PSNR, 0.8 inside and 0.2 outside (dB)", 2, "dB", masked=True),
}
"""Metrics that ``eval --metric`` adds: the measure of each is in ``judge``."""

METRICS = IN_EVERY_ROW | OPTIONAL
REGION = ("psnr_inside", "psnr_outside")  # of a picture with one region
MASKED = frozenset(name for name, metric in METRICS.items() if metric.masked)
