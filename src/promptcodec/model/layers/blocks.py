"""Blocks (mixer, then feed-forward) and stages of blocks.

Inference on CPUs runs a block with window attention a row of windows at a time (``in_strips``): only its result leaves
the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.errors import UsageError
from promptcodec.model import config
from promptcodec.model.layers.compiled_windows import run_compiled
from promptcodec.model.layers.mixers import DepthwiseMixer, PromptKeys, WindowAttention
from promptcodec.model.layers.pointwise import feed_forward, last_layer, linear
from promptcodec.model.layers.s2c import SeparableConvMixer
from promptcodec.model.layers.windows import WindowGrid
from promptcodec.model.steering import BlockSteer, Prompt

Branch = Callable[[Tensor], Tensor]
PAIRS = 192  # (window, head) pairs at once: fewer stay in cache a little better, but every call has its price
COMPILED_TOKENS = 4096  # of a map; less does not earn the compiler's tenth of a second


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


def in_strips(
    x: Tensor, mixer: WindowAttention, prompts: Sequence[Prompt], norms: tuple[nn.Module, nn.Module], ffn: Branch | None
) -> Tensor:
    """Return x + mixer(norms[0](x)), then the same with ``ffn`` where there is one. Takes and gives (B, H, W, C).

    float32 goes by compiled kernels, the rows on several threads, or else, as small maps do, in pieces of a row.
    float64 is the way to probabilities and keeps the operations whose exactness was measured; bfloat16 has torch's
    fused attention.
    """
    grid = mixer.grid(x)
    keys = mixer.prompt_keys(prompts, grid)
    x = x.contiguous()
    out = torch.empty_like(x)
    in_pieces = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    compiled = in_pieces and grid.height * grid.width >= COMPILED_TOKENS
    for sample in range(len(x)):
        sample_keys = [k.of_sample(sample) for k in keys]
        source, target = x[sample].flatten(0, 1), out[sample].flatten(0, 1)
        if compiled and run_compiled(source, target, grid, mixer, norms, sample_keys, ffn):
            continue
        attention = StripAttention(mixer, grid, sample_keys, x) if in_pieces else None
        step = attention.windows if attention is not None else grid.cols
        for row in range(grid.rows):
            tokens = source.index_select(0, grid.strip(row).gather)
            for col in range(0, grid.cols, step):
                part = tokens[col * grid.window**2 : (col + step) * grid.window**2]
                normed = norms[0](part)
                if attention is not None:
                    part += attention(normed, row, col)
                else:
                    windows = normed.view(1, 1, grid.cols, -1, x.shape[3])
                    part += mixer.attend(windows, grid, sample_keys, row).view_as(part)
                if ffn is not None:
                    part += ffn(norms[1](part))
            _put_back(tokens, target, grid, row)
    return out


def _put_back(tokens: Tensor, target: Tensor, grid: WindowGrid, row: int) -> None:
    """Put the tokens of a row of windows to where they lie in the map (height · width, C)."""
    for top, rows, index in grid.strip(row).bands:
        torch.index_select(tokens, 0, index, out=target[top * grid.width : (top + rows) * grid.width])


class StripAttention:
    """Attention of one block over neighbours in a row of windows; holds the masks and the room for the scores.

    ``prompts``: of one sample. Not for N-gram context, which looks across windows.
    """

    def __init__(self, mixer: WindowAttention, grid: WindowGrid, prompts: Sequence[PromptKeys], like: Tensor) -> None:
        self._mixer, self._grid, self._prompts = mixer, grid, prompts
        pieces = -(-grid.cols * mixer.heads // PAIRS)
        self.windows = -(-grid.cols // pieces)  # at most so many windows a call
        self._labels, self._key_labels = mixer.labels(grid, prompts, like.device)
        self._bias = F.pad(mixer.bias(like), (self._key_labels.shape[2] - self._labels.shape[2], 0))
        self._masks: dict[tuple[int, int], Tensor] = {}
        self._room = like.new_empty(self.windows, mixer.heads, *self._bias.shape[2:])

    def __call__(self, tokens: Tensor, row: int, col: int) -> Tensor:
        """Normalised tokens of the windows from (``row``, ``col``) on, (windows · window², C), to the same shape."""
        mixer, size = self._mixer, self._grid.window**2
        qkv = linear(tokens, mixer.qkv).view(-1, size, 3, mixer.heads, tokens.shape[1] // mixer.heads)
        windows = len(qkv)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).contiguous()  # each (windows, heads, tokens, d)
        q, k = mixer.query(q), mixer.key(k)
        if self._prompts:
            keys = [(_at(p.key, row, col, windows), _at(p.value, row, col, windows)) for p in self._prompts]
            k, v = torch.cat([*(key for key, _ in keys), k], 2), torch.cat([*(value for _, value in keys), v], 2)
        out = self._attend(q, k, v, row, col)
        return linear(out.transpose(1, 2).reshape(tokens.shape), mixer.proj)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, row: int, col: int) -> Tensor:
        shape, scale = q.shape, q.shape[-1] ** -0.5
        q, k, v = (t.flatten(0, 1) for t in (q, k, v))
        scores = self._masked(shape[0], row, col).flatten(0, 1)
        torch.baddbmm(scores, q, k.transpose(1, 2), alpha=scale, out=scores)
        return torch.bmm(torch.softmax(scores, -1, out=scores), v).view(shape)

    def _masked(self, windows: int, row: int, col: int) -> Tensor:
        """Return the room for scores, (windows, heads, tokens, keys), filled with what is added to them."""
        room = self._room[:windows]
        for part, mask in self._parts(windows, row, col):
            room[part] = mask
        return room

    def _parts(self, windows: int, row: int, col: int) -> Iterator[tuple[slice, Tensor]]:
        """Runs of windows with one mask: columns but the last few are alike."""
        alike = min(max(self._grid.clean_cols - col, 0), windows)
        if alike:
            yield slice(0, alike), self._mask(row, 0)
        for i in range(alike, windows):
            yield slice(i, i + 1), self._mask(row, col + i)

    def _mask(self, row: int, col: int) -> Tensor:
        row = row if row >= self._grid.clean_rows else 0
        if row < self._grid.clean_rows and col < self._grid.clean_cols:
            return self._bias
        if (row, col) not in self._masks:
            one = (slice(row, row + 1), slice(col, col + 1))
            self._masks[row, col] = self._mixer.masked(self._bias, self._labels[one], self._key_labels[one])
        return self._masks[row, col]


def _at(keys: Tensor, row: int, col: int, windows: int) -> Tensor:
    """Keys or values (1, rows or 1, cols or 1, heads, P, d) of some windows of a row, (windows, heads, P, d)."""
    of_row = keys[0, row if keys.shape[1] > 1 else 0]
    return of_row[col : col + windows] if len(of_row) > 1 else of_row.expand(windows, -1, -1, -1)
