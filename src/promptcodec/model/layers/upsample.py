"""Transposed convolutions to few channels, which leave vector units mostly empty, as convolution and pixel shuffle."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.model.kernels.workers import is_torch_alone

FEW = 8


class Upsample(nn.ConvTranspose2d):
    """A transposed convolution; a map of (B, C, H, W) comes out at ``stride`` times its size.

    Each of the 2 x 2 outputs of a place is a convolution with every second weight; the four are one convolution to four
    times the channels (Shi et al. 2016). So it runs where that is quicker: for few channels, float32, on the CPU.
    """

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if not self._splits(x):
            return super().forward(x, output_size)
        # 5 weights an axis and a 0: three for outputs at even places, three for odd ones, from the nearest input on.
        weight = F.pad(self.weight, (0, 1, 0, 1)).unflatten(3, (3, 2)).unflatten(2, (3, 2)).flip(2, 4)
        weight = weight.permute(1, 3, 5, 0, 2, 4).flatten(0, 2).contiguous(memory_format=torch.channels_last)
        bias = None if self.bias is None else self.bias.repeat_interleave(4)
        return F.pixel_shuffle(F.conv2d(x, weight, bias, padding=1), 2)

    def _splits(self, x: Tensor) -> bool:
        layout = (self.kernel_size[0], self.stride[0], self.out_channels <= FEW)
        plain = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or is_torch_alone()
        return layout == (5, 2, True) and x.dtype == torch.float32 and x.device.type == "cpu" and not plain
