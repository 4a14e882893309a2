"""Where a model can be steered: its sites, from its configuration alone, and refusals in sentences."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from promptcodec.errors import UsageError
from promptcodec.model import config
from promptcodec.model.steering import Site, Steering, TransformName

TRANSFORMS: tuple[TransformName, ...] = ("g_a", "h_a", "h_s", "h_m", "g_s")


@dataclass(frozen=True)
class SiteInfo:
    """A block of a model: its place, width, and what can act there. ``window`` is 0 where there is no attention."""

    site: Site
    channels: int
    mixer: str
    window: int = 0
    shift: int = 0

    @property
    def takes_tokens(self) -> bool:
        """Whether prompts can join its attention."""
        return self.window > 0


@dataclass(frozen=True)
class StageInfo:
    """A stage: the resampling layers between the stage before (or the input) and it, its width and its blocks."""

    transform: TransformName
    index: int
    before: tuple[config.Resample | config.ReflectConv, ...]
    channels: int
    blocks: tuple[SiteInfo, ...]

    @property
    def takes_tokens(self) -> bool:
        """Whether prompts can join the attention of its blocks."""
        return any(block.takes_tokens for block in self.blocks)

    @property
    def output(self) -> Site:
        """The site at its end."""
        return Site(self.transform, self.index)


def transform_config(cfg: config.Model, name: TransformName) -> config.Transform:
    """Return the configuration of a transform by its short name; a model without contextual means has an empty h_m."""
    if name == "h_m":
        means = cfg.context
        return means.features if isinstance(means, config.ContextualMean) else config.Transform(cfg.hyper_channels, ())
    return {"g_a": cfg.analysis, "h_a": cfg.hyper_analysis, "h_s": cfg.hyper_synthesis, "g_s": cfg.synthesis}[name]


def stages(cfg: config.Model, transform: TransformName) -> tuple[StageInfo, ...]:
    """Return the stages of a transform, in the order of computation."""
    infos: list[StageInfo] = []
    chain = transform_config(cfg, transform)
    channels = chain.in_channels
    before: list[config.Resample | config.ReflectConv] = []
    for layer in chain.layers:
        if not isinstance(layer, config.Stage):
            if isinstance(layer, (config.Resample, config.ReflectConv)):
                before.append(layer)
                channels = layer.channels
            continue
        index = len(infos)
        blocks = tuple(_block(Site(transform, index, i), channels, layer) for i in range(layer.depth))
        infos.append(StageInfo(transform, index, tuple(before), channels, blocks))
        before = []
    if transform == "h_m" and isinstance(cfg.context, config.ContextualMean):
        network = SiteInfo(Site(transform, len(infos), 0), cfg.context.hidden, "the mean network")
        infos.append(StageInfo(transform, len(infos), tuple(before), cfg.context.hidden, (network,)))
    return tuple(infos)


def has_ngram_context(transform: config.Transform) -> bool:
    """Return whether a stage of ``transform`` adds N-gram context, which a region can limit."""
    mixers = (layer.mixer for layer in transform.layers if isinstance(layer, config.Stage))
    return any(isinstance(mixer, config.Attention) and mixer.ngram > 0 for mixer in mixers)


def sites(cfg: config.Model) -> tuple[SiteInfo, ...]:
    """Return every block of a model."""
    return tuple(block for name in TRANSFORMS for stage in stages(cfg, name) for block in stage.blocks)


def stages_with_tokens(cfg: config.Model, transform: TransformName, indices: Iterable[int] | None) -> list[StageInfo]:
    """Return the stages of a transform that take prompts: all of them, or those with these ``indices``.

    Raises UsageError where such a stage does not exist or takes none, or where there is none at all.
    """
    known = stages(cfg, transform)
    takers = [stage.index for stage in known if stage.takes_tokens]
    for index in indices or ():
        if not 0 <= index < len(known):
            raise UsageError(f"{transform} of {cfg.name} has stages 0 to {len(known) - 1}, there is no stage {index}")
        if index not in takers:
            mixer = known[index].blocks[0].mixer if known[index].blocks else "no blocks"
            raise UsageError(
                f"{transform} stage {index} of {cfg.name} uses {mixer}, which takes no prompt tokens; {_advice(takers)}"
            )
    chosen = takers if indices is None else list(indices)
    if not chosen:
        raise UsageError(f"no stage of {transform} of {cfg.name} has attention to take prompts; {_advice(takers)}")
    return [known[i] for i in chosen]


def prompted_from(cfg: config.Model, transform: TransformName) -> StageInfo:
    """Return the first stage of a transform, where generators of prompts begin.

    Raises UsageError where no stage takes any.
    """
    stages_with_tokens(cfg, transform, None)
    return stages(cfg, transform)[0]


def check_steering(cfg: config.Model, steering: Steering) -> None:
    """Raise UsageError where steering acts at sites that ``cfg`` does not have, or with prompts that do not fit."""
    for site, steer in steering.sites.items():
        known = stages(cfg, site.transform)
        if not 0 <= site.stage < len(known):
            raise UsageError(f"{cfg.name} has no {site}: {site.transform} has {len(known)} stages, counted from 0")
        stage = known[site.stage]
        if not -1 <= site.block < len(stage.blocks):
            raise UsageError(f"{cfg.name} has no {site}: that stage has {len(stage.blocks)} blocks, counted from 0")
        if not steer.prompts:
            continue
        if site.block == -1:
            raise UsageError(f"prompts cannot join {site}: they go to its blocks")
        block = stage.blocks[site.block]
        if not block.takes_tokens:
            takers = [s.index for s in known if s.takes_tokens]
            raise UsageError(
                f"{site} of {cfg.name} uses {block.mixer}, which takes no prompt tokens; {_advice(takers)}"
            )
        for prompt in steer.prompts:
            if prompt.channels != block.channels:
                raise UsageError(
                    f"prompts of {prompt.channels} channels do not fit {site} of {cfg.name}, whose width is "
                    f"{block.channels}; build the adapter for this model"
                )


def _advice(takers: list[int]) -> str:
    if takers:
        return f"stages that take them: {', '.join(map(str, takers))}"
    return "steer it with affines (SFT, beta) or gains instead"


def _block(site: Site, channels: int, stage: config.Stage) -> SiteInfo:
    mixer = stage.mixer
    if isinstance(mixer, config.Attention):
        shifted = stage.shift and site.block % 2 == 1
        return SiteInfo(site, channels, "window attention", mixer.window, mixer.window // 2 if shifted else 0)
    kind = "separable" if isinstance(mixer, config.SeparableConv) else "depthwise"
    return SiteInfo(site, channels, f"{kind}-convolution mixers" if mixer else "no mixers")
