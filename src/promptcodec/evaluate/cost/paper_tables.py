"""The complexity that papers 000 to 004 print (002: Tables 2 and A1, 004: Table 1, 001: Table 2, the others in their
texts): our figures beside theirs.

Rows of models that are not built here are printed with None for our figures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch

from promptcodec.evaluate.cost.adapter_complexity import adapter_parts
from promptcodec.evaluate.cost.complexity import Part, build, parts, total
from promptcodec.model import config
from promptcodec.model.presets.registry import PRESETS
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.methods.beta import Beta
from promptcodec.steer.methods.channels import ChannelSelection
from promptcodec.steer.methods.lpm import LPM
from promptcodec.steer.methods.pyramid import look, rate_and_region
from promptcodec.steer.methods.sft import SFT
from promptcodec.steer.methods.song import QualityMap
from promptcodec.steer.methods.transtic import TransTIC

Counter = Callable[[str], tuple[float, ...]]
PIXELS_004 = (1088, 1920)  # 1080p, padded to multiples of 64


@dataclass(frozen=True)
class Figure:
    """One cell: what the paper prints and what we count; None where there is none."""

    printed: float | None
    ours: float | None


@dataclass(frozen=True)
class Row:
    """A line of a table; ``preset`` (and what steers it) is None for models that are not built here."""

    table: str
    method: str
    preset: str | None
    cells: tuple[Figure, ...]


COLUMNS = {
    "000": ("added parameters M",),
    "001": ("parameters M",),
    "003": ("parameters M", "kMAC/px computed here"),
    "002": ("encoder kMAC/px", "decoder kMAC/px", "encoder M", "decoder M"),
    "004": ("parameters M", "T MAC at 1920x1088", "T MAC computed here"),
}

_PAPER000 = (
    ("IV.D", "look by prompts", "tic + look", (6.0,)),
    ("IV.D", "look by SFT", "tic + look by SFT", (15.0,)),
    ("IV.D", "look by beta conditioning", "tic + look by beta", (None,)),
    ("-", "look by prompts, decoder", "tic + look, decoder", (None,)),
    ("-", "look by SFT, decoder", "tic + look by SFT, decoder", (None,)),
    ("-", "look by beta, decoder", "tic + look by beta, decoder", (None,)),
)
_PAPER001 = (
    ("2", "TIC, a model a rate", "tic", (7.51,)),
    ("2", "LPM, added for a rate", "tic + lpm", (1.4,)),
)
_PAPER003 = (
    ("3.4", "Kao et al.", "tic-large + rate and region", (32.7,)),
    ("3.4", "N-gram, hyper networks", "ngram-hyper + rate and region", (33.3,)),
    ("3.4", "N-gram, all networks", "ngram + rate and region", (None,)),
)
# (table, method, preset, printed figures in the order of COLUMNS; the third column of 004 is not printed)
_PAPER002 = (
    ("2, A1", "TIC", "tic", (142.54, 188.52, 3.65, 3.86)),
    ("2", "ROI, autoencoder only", "song + quality map", (800.36, 679.80, 21.91, None)),
    ("2", "ROI, classification", None, (882.46, 679.80, 47.47, None)),
    ("2", "ROI, detection", None, (991.13, 679.80, 63.39, None)),
    ("2", "ROI, segmentation", None, (997.85, 679.80, 66.03, None)),
    ("2", "TIC+SFT", "tic + sft", (686.39, 462.23, 12.08, 9.62)),
    ("2", "TIC+channel selection", "tic + channels", (142.54, 25.13, 3.76, 1.96)),
    ("2, A1", "TransTIC", "tic + transtic", (332.03, 202.60, 5.24, 3.89)),
    ("A1", "TransTIC, shallow", "tic + shallow", (322.80, 209.51, 4.65, 3.88)),
    ("A1", "TransTIC, IP decoder", "tic + IP decoder", (332.03, 276.39, 5.24, 5.06)),
    ("A1", "TransTIC, 4 prompts", "tic + 4 prompts", (302.06, 192.04, 5.24, 3.87)),
    ("A1", "TransTIC, 64 prompts", "tic + 64 prompts", (451.91, 244.87, 5.24, 3.98)),
    ("A1", "TransTIC, STB-12", "tic + STB-12", (332.03, 200.80, 5.24, 3.87)),
    ("A1", "TransTIC, STB-34", "tic + STB-34", (332.03, 190.32, 5.24, 3.88)),
    ("A1", "TransTIC, encoder only", "tic + encoder only", (332.03, 188.52, 5.24, 3.86)),
    ("A1", "TransTIC, decoder only", "tic + decoder only", (142.54, 202.60, 3.65, 3.89)),
)
# The paper counts the decoder's stages mirrored: STB-12 are the last two.
_STEERED: dict[str, Callable[[config.Model], Adapter]] = {
    "channels": lambda base: ChannelSelection(base, features=64),
    "quality map": QualityMap,
    "sft": SFT,
    "transtic": TransTIC,
    "lpm": LPM,
    "rate and region": rate_and_region,
    "look": look,
    "look, decoder": partial(look, decoder_only=True),
    "look by SFT": partial(SFT, scalars=["look"]),
    "look by SFT, decoder": partial(SFT, scalars=["look"], encoder=False),
    "look by beta": partial(Beta, scalar="look"),
    "look by beta, decoder": partial(Beta, scalar="look", encoder=False),
    "shallow": lambda base: TransTIC(base, encoder_carry=[0, 1], decoder_carry=[2, 3]),
    "IP decoder": lambda base: TransTIC(base, decoder="generated"),
    "4 prompts": lambda base: TransTIC(base, prompts=4),
    "64 prompts": lambda base: TransTIC(base, prompts=64),
    "STB-12": lambda base: TransTIC(base, decoder_stages=[2, 3]),
    "STB-34": lambda base: TransTIC(base, decoder_stages=[0, 1]),
    "encoder only": lambda base: TransTIC(base, decoder="none"),
    "decoder only": lambda base: TransTIC(base, encoder="none"),
}
_PAPER004 = (
    ("1", "ELIC", "elic", (33.29, 1.74)),
    ("1", "MambaVC", None, (47.88, 2.10)),
    ("1", "FTIC", None, (69.78, 2.38)),
    ("1", "MLIC++", None, (116.48, 2.64)),
    ("1", "TCM-L", None, (75.89, 3.74)),
    ("1", "S2C-Identity", "s2c-identity", (64.63, 2.80)),
    ("1", "S2C-Conv", "s2c-conv", (66.60, 3.13)),
    ("1", "S2C-Attention", "s2c-attention", (68.42, 3.42)),
    ("1", "S2C-Hybrid-S", "s2c-hybrid-s", (68.00, 3.20)),
    ("1", "S2C-Hybrid-M", "s2c-hybrid-m", (72.73, 3.59)),
    ("1", "S2C-Hybrid-L", "s2c-hybrid-l", (79.83, 4.17)),
    ("text", "S2C-Hybrid-T", "s2c-hybrid-t", (None, 2.63)),
)


def table(paper: str) -> list[Row]:
    """Return the rows of the complexity tables of ``paper``, a key of ``COLUMNS``, in print order."""
    rows, count = _TABLES[paper]
    lines = []
    for where, method, preset, printed in rows:
        width = len(COLUMNS[paper])
        ours = (None,) * width if preset is None else count(preset)
        printed = (*printed, *(None,) * (width - len(printed)))
        cells = tuple(Figure(p, o) for p, o in zip(printed, ours, strict=True))
        lines.append(Row(where, method, preset, cells))
    return lines


def _counted002(preset: str) -> tuple[float, ...]:
    """Count in paper 002's way: bottleneck among the encoder's parameters, at 256 x 256."""
    counted = _parts(preset, 256, 256)
    last = "task" if any(part.network == "task" for part in counted) else "g_s"
    kmac = (total(counted, *sides).macs.paper002 / 256**2 / 1e3 for sides in (("g_a", "h_a"), ("h_s", last)))
    encoder, decoder = total(counted, "g_a", "h_a", "prior"), total(counted, "h_s", last)
    return (*kmac, encoder.parameters / 1e6, decoder.parameters / 1e6)


def _counted004(preset: str) -> tuple[float, ...]:
    whole = total(_parts(preset, *PIXELS_004))
    macs = whole.macs.paper004 + (whole.macs.empty if preset == "elic" else 0.0)
    return whole.parameters / 1e6, macs / 1e12, whole.macs.needed / 1e12


def _counted_alone(preset: str) -> tuple[float, ...]:
    """Count the parameters of what steers, or of a model that nothing does."""
    counted = _parts(preset, 256, 256)
    kinds = ("adapter", "prompts")
    added = [part for part in counted if part.kind in kinds] if " + " in preset else counted
    return (total(added).parameters / 1e6,)


def _counted003(preset: str) -> tuple[float, ...]:
    whole = total(_parts(preset, 256, 256))
    return whole.parameters / 1e6, whole.macs.needed / 256**2 / 1e3


_TABLES: dict[str, tuple[Sequence[tuple[str, str, str | None, tuple[float | None, ...]]], Counter]] = {
    "000": (_PAPER000, _counted_alone),
    "001": (_PAPER001, _counted_alone),
    "003": (_PAPER003, _counted003),
    "002": (_PAPER002, _counted002),
    "004": (_PAPER004, _counted004),
}


@cache
def _parts(preset: str, height: int, width: int) -> tuple[Part, ...]:
    name, _, steered = preset.partition(" + ")
    cfg = PRESETS[name]()
    counted = parts(build(cfg), height, width)
    if steered:
        with torch.device("meta"):
            counted += adapter_parts([_STEERED[steered](cfg)], height, width)
    return tuple(counted)
