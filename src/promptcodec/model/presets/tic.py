"""The configuration of the papers' base codec."""

from __future__ import annotations

from promptcodec.model.config import Attention, Model, Resample, Stage, Transform


def tic(channels: int = 128, latent: int = 192, name: str = "tic") -> Model:
    """Return the Swin codec with a hyperprior that papers 000, 001, 002 and 003 build on (``TIC_hp`` in their code).

    ``channels`` is N, ``latent`` is M. 7,510,723 parameters with (128, 192), 17,658,179 with (192, 320).
    """
    n, m = channels, latent
    fine, coarse = Attention(8, 8), Attention(16, 8)
    hyper = Attention(16, 4)
    # The smallest map of the reference's nominal 256² picture is one window: its blocks never shift.
    return Model(
        name=name,
        analysis=Transform(3, (
            Resample("down", n, 5), Stage(2, fine), Resample("down", n), Stage(4, fine),
            Resample("down", n), Stage(6, fine), Resample("down", m), Stage(2, coarse),
        ), drop_path=0.1),
        synthesis=Transform(m, (
            Stage(2, coarse), Resample("up", n), Stage(6, fine), Resample("up", n),
            Stage(4, fine), Resample("up", n), Stage(2, fine), Resample("up", 3, 5),
        ), drop_path=0.1),
        hyper_analysis=Transform(m, (
            Resample("down", n), Stage(2, hyper), Resample("down", n), Stage(2, hyper, shift=False),
        ), drop_path=0.1),
        hyper_synthesis=Transform(n, (
            Stage(2, hyper, shift=False), Resample("up", n), Stage(2, hyper), Resample("up", 2 * m),
        ), drop_path=0.1),
    )  # fmt: skip
