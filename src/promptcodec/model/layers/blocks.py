"""Blocks (mixer, then feed-forward) and stages of blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from promptcodec.errors import UsageError
from promptcodec.model import config
from promptcodec.model.layers.ffn import feed_forward, last_layer
from promptcodec.model.layers.mixers import DepthwiseMixer, WindowAttention
from promptcodec.model.layers.s2c import SeparableConvMixer
from promptcodec.model.layers.strips import in_strips
from promptcodec.model.steering import BlockSteer, Prompt


class Block(nn.Module):
    """x + mixer(norm(x)), then x + feed-forward(norm(x)), or with norm(mixer(x)). Takes and gives (B, H, W, C)."""

    def __init__(self, channels: int, stage: config.Stage, shifted: bool, drop_path: float) -> None:
        super().__init__()
        mixer = stage.mixer
        self.drop_path, self.post_norm = drop_path, stage.norm == "post"
        self.mixer: WindowAttention | DepthwiseMixer | SeparableConvMixer | None = None
        self.norm1 = nn.LayerNorm(channels, stage.norm_eps) if _normed(mixer) else nn.Identity()
        if isinstance(mixer, config.Attention):
            shift = mixer.window // 2 if shifted else 0
            self.mixer = WindowAttention(
                channels, mixer.heads, mixer.window, shift, mixer.ngram, mixer.cosine, mixer.relative
            )
        elif isinstance(mixer, config.Depthwise):
            self.mixer = DepthwiseMixer(channels, mixer.kernel)
        elif isinstance(mixer, config.SeparableConv):
            self.mixer = SeparableConvMixer(channels, channels, mixer.kernel, mixer.bias)
        self.ffn = feed_forward(channels, stage)
        self.norm2 = nn.LayerNorm(channels, stage.norm_eps) if self.ffn is not None else nn.Identity()
        self._initialise(stage.zero_init)

    def _initialise(self, zero: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02, a=-2, b=2)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if isinstance(self.mixer, WindowAttention) and self.mixer.relative_bias is not None:
            nn.init.trunc_normal_(self.mixer.relative_bias, std=0.02, a=-2, b=2)
        if zero:
            if isinstance(self.mixer, (WindowAttention, SeparableConvMixer)):
                nn.init.zeros_(self.mixer.proj.weight)
            if self.ffn is not None:
                nn.init.zeros_(last_layer(self.ffn).weight)

    def forward(self, x: Tensor, steer: BlockSteer | None = None, region: Tensor | None = None) -> Tensor:
        """Return ``region``: see ``NgramContext``.

        Raises UsageError for prompts where there is no attention to take them.
        """
        prompts = self._prompts(steer, x)
        if isinstance(self.mixer, WindowAttention):
            if self._in_strips_helps(x, self.mixer):
                return _finish(steer, in_strips(x, self.mixer, prompts, (self.norm1, self.norm2), self.ffn))
            mixed = self.mixer(x if self.post_norm else self.norm1(x), prompts, region)
            x = x + self._drop(self.norm1(mixed) if self.post_norm else mixed)
        elif self.mixer is not None:
            x = x + self._drop(self._around(self.norm1, self.mixer, x))
        return _finish(steer, self._fed_forward(x))

    def _around(self, norm: nn.Module, branch: nn.Module, x: Tensor) -> Tensor:
        out: Tensor = norm(branch(x)) if self.post_norm else branch(norm(x))
        return out

    def _fed_forward(self, x: Tensor) -> Tensor:
        return x if self.ffn is None else x + self._drop(self._around(self.norm2, self.ffn, x))

    def _in_strips_helps(self, x: Tensor, mixer: WindowAttention) -> bool:
        """Tell whether strips help: in inference on the CPU alone.

        N-gram context and observers want the whole map first.
        """
        whole = self.post_norm or mixer.ngram is not None or mixer.observer is not None
        return x.device.type == "cpu" and not torch.is_grad_enabled() and not whole

    def forward_carrying(
        self, x: Tensor, steer: BlockSteer, region: Tensor | None = None
    ) -> tuple[Tensor, tuple[Prompt, ...]]:
        """Return as ``forward`` does, and the prompts that are carried on to the next block, updated."""
        prompts = self._prompts(steer, x)
        if not isinstance(self.mixer, WindowAttention):
            return self(x, steer, region), ()
        mixed, carried = self.mixer.forward_carrying(x if self.post_norm else self.norm1(x), prompts, region)
        x = x + self._drop(self.norm1(mixed) if self.post_norm else mixed)
        return _finish(steer, self._fed_forward(x)), carried

    def _prompts(self, steer: BlockSteer | None, x: Tensor) -> tuple[Prompt, ...]:
        prompts = steer.prompts_for(x) if steer is not None else ()
        if prompts and not isinstance(self.mixer, WindowAttention):
            raise UsageError(f"a block with {_describe(self.mixer)} takes no prompt tokens")
        return prompts

    def _drop(self, branch: Tensor) -> Tensor:
        """Drop the branch of a whole sample, and rescale those kept."""
        if not self.training or self.drop_path == 0.0:
            return branch
        keep = 1.0 - self.drop_path
        kept = torch.rand(branch.shape[0], 1, 1, 1, device=branch.device) < keep
        return branch * kept / keep


class Stage(nn.Module):
    """A run of blocks at one resolution; takes and gives (B, C, H, W)."""

    def __init__(self, channels: int, stage: config.Stage, drop_path: Sequence[float]) -> None:
        super().__init__()
        self.residual = stage.residual
        self.blocks = nn.ModuleList(
            Block(channels, stage, stage.shift and i % 2 == 1, drop_path[i]) for i in range(stage.depth)
        )

    def forward(self, x: Tensor, steer: StageSteer | None = None, region: Tensor | None = None) -> Tensor:
        """Return ``steer``: what acts at each block, by its number, and at the output, by -1.

        ``region``: see NgramContext.
        """
        steer = steer or {}
        tokens = first = x.permute(0, 2, 3, 1)
        carried: tuple[Prompt, ...] = ()
        for i, block in enumerate(self.blocks):
            acting = BlockSteer(carried).then(steer.get(i, _NOTHING)) if carried else steer.get(i)
            if acting is not None and i + 1 < len(self.blocks) and any(p.carry for p in acting.prompts):
                tokens, carried = block.forward_carrying(tokens, acting, region)  # type: ignore[operator]
            else:
                tokens, carried = block(tokens, acting, region), ()
        out = tokens.permute(0, 3, 1, 2)
        if self.residual:
            # In place where neither gradients nor the caller may want what is lost; float64, which probabilities go by,
            # keeps the operations whose exactness was measured.
            ours = not torch.is_grad_enabled() and tokens is not first and out.dtype == torch.float32
            out = out.add_(x) if ours else x + out
        return steer[-1].finish(out) if -1 in steer else out


StageSteer = Mapping[int, BlockSteer]
_NOTHING = BlockSteer()


def _finish(steer: BlockSteer | None, tokens: Tensor) -> Tensor:
    """Apply a site's outputs to tokens (B, H, W, C)."""
    if steer is None or not steer.outputs:
        return tokens
    return steer.finish(tokens.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _describe(mixer: nn.Module | None) -> str:
    if isinstance(mixer, DepthwiseMixer):
        return "a depthwise convolution as mixer"
    return "a separable convolution as mixer" if isinstance(mixer, SeparableConvMixer) else "no mixer"


def _normed(mixer: config.Attention | config.Depthwise | config.SeparableConv | None) -> bool:
    return mixer is not None and not isinstance(mixer, config.SeparableConv)
