"""``promptcodec curves``: the rate-distortion curves that come with the package, and the peers that do not."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from promptcodec.cli.options import Json
from promptcodec.cli.streams import say, say_record


def command(
    names: Annotated[list[str] | None, typer.Argument(help="Curves to print point by point; none: list all.")] = None,
    as_json: Json = False,
) -> None:
    """List the stored curves with their sources; with names, print their points."""
    from promptcodec.evaluate.data.stored import UNAVAILABLE, open_curve, stored_curves

    chosen = [open_curve(name) for name in names] if names else list(stored_curves().values())
    if as_json:
        for curve in chosen:
            say_record("curves", "curve", asdict(curve))
        return
    source = None
    for curve in sorted(chosen, key=lambda curve: curve.source):
        if curve.source != source:
            source = curve.source
            say()
            say(source)
        say(f"  {curve.name:40} {len(curve.points):2} points  {curve.description}. {curve.note}".rstrip(". "))
        for point in curve.points if names else ():
            figures = (("PSNR", point.psnr, ".2f"), ("MS-SSIM", point.ms_ssim, ".4f"))
            known = (f"  {name} {v:{form}}" for name, v, form in figures if v is not None)
            say(" ".join((f"    {point.bpp:.4f} bpp", *known)))
    if not names:
        say()
        say("Neither built nor stored:")
        for name, paper in UNAVAILABLE.items():
            say(f"  {name:24} {paper}")
