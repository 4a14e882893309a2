"""What decides an output beside its picture: how to encode, decode or measure."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptcodec.batch.records import Coded
from promptcodec.bitstream.container import HASH_BYTES, MAX_PIXELS
from promptcodec.bitstream.tiling import Rect
from promptcodec.codec.budget import DEFAULT_MEMORY
from promptcodec.codec.search import Target
from promptcodec.errors import PromptcodecError
from promptcodec.store.shipped import DEFAULT, find_model, read_metadata
from promptcodec.store.shipped_adapters import shipped_adapters

if TYPE_CHECKING:
    from collections.abc import Callable

    from promptcodec.codec.analysed_picture import AnalysedPicture
    from promptcodec.model.inference.precision import Precision
    from promptcodec.picture.picture import Picture

DEFAULT_QUALITY = 50.0
GPU_BATCH = 8  # pictures of one size that a GPU analyses at once


@dataclass(frozen=True)
class EncodeSettings:
    """All that decides a .ptc file beside its picture, and where to compute it. ``quality``: None with a target.

    ``batch_size``: pictures of one size that go through the networks together; None: ``GPU_BATCH`` on a GPU, else 1.
    """

    quality: float | None = None
    target: Target | None = None
    model: str | None = None
    strip: bool = False
    device: str = "cpu"
    adapters: tuple[str, ...] = ()
    scalars: tuple[tuple[str, float], ...] = ()
    maps: tuple[tuple[str, str], ...] = ()
    effort: int = 0
    memory: int = DEFAULT_MEMORY
    preview: bool | None = None
    precision: Precision = "float32"
    verify: bool = True
    batch_size: int | None = None

    verb = "encode"
    suffix = ".ptc"

    def __post_init__(self) -> None:
        """Take whole numbers for what they are: 40 and 40.0 must give one stamp, and one digest of the job."""
        if self.quality is not None:
            object.__setattr__(self, "quality", float(self.quality))
        if self.target is not None:
            object.__setattr__(self, "target", replace(self.target, value=float(self.target.value)))
        object.__setattr__(self, "scalars", tuple((name, float(value)) for name, value in self.scalars))

    def fingerprint(self) -> str:
        """Fingerprint of the model. Raises ModelMismatchError where there is none."""
        return read_metadata(find_model(self.model or DEFAULT))["fingerprint"]

    def decisive(self) -> list[object]:
        """Return what the bytes of an output follow from, as JSON knows it; files count by their content."""
        rate: object = DEFAULT_QUALITY if self.quality is None else self.quality
        if self.target is not None:
            rate = asdict(self.target)
        inputs: list[object] = [rate, self.strip, self.fingerprint(), self.memory, self.preview]
        if self.precision != "float32":
            inputs.append(self.precision)
        if self.effort:
            inputs.append(self.effort)
        if self.adapters or self.scalars or self.maps:
            files = [content_hash(path) for path in self.adapters]
            drawn = [(name, content_hash(source)) for name, source in self.maps]
            shipped = [adapter.fingerprint for adapter in shipped_adapters()]  # any of them may be what was asked for
            inputs += [files, self.scalars, drawn, shipped]
        return inputs

    def stamp(self, digest: bytes) -> bytes:
        """8 bytes over a picture, by the SHA-256 of its file, and all else that its .ptc file depends on."""
        return hashlib.sha256(digest + json.dumps(self.decisive()).encode()).digest()[:HASH_BYTES]

    def identity(self) -> dict[str, Any]:
        """Return what must be the same for outputs to belong to one job, by the names that people know."""
        return {
            "quality": DEFAULT_QUALITY if self.quality is None and self.target is None else self.quality,
            "target": None if self.target is None else asdict(self.target), "strip": self.strip,
            "effort": self.effort, "memory": self.memory, "preview": self.preview, "precision": self.precision,
            "adapters": [content_hash(path) for path in self.adapters], "scalars": dict(self.scalars),
            "maps": {name: content_hash(source) for name, source in self.maps},
        }  # fmt: skip

    def encode(
        self,
        data: bytes | Path,
        source_hash: bytes | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> bytes:
        """Return the bytes of the .ptc file of a picture, with this process' codec. Raises as ``Codec.encode`` does."""
        from promptcodec.batch.runtime import codec

        return codec(self.model, self.device, self.precision).encode(
            data, self.quality, target=self.target, adapters=self.adapters, settings=dict(self.scalars),
            maps=dict(self.maps), strip=self.strip, source_hash=source_hash, effort=self.effort, memory=self.memory,
            preview=self.preview, verify=self.verify, progress=progress,
        )  # fmt: skip

    def code(self, data: bytes, name: str) -> Coded:
        """Return the .ptc file of a picture, equal to what ``promptcodec encode`` makes of it in a batch."""
        from promptcodec.api import info

        coded = self.encode(data, self.stamp(hashlib.sha256(data).digest()))
        facts = info(coded)
        return Coded(coded, facts.width, facts.height)

    @property
    def pictures_together(self) -> int:
        """How many pictures of one size are to be analysed together: 1 where anything steers them."""
        if self.effort or self.adapters or self.scalars or self.maps:
            return 1
        return self.batch_size or (1 if self.device == "cpu" else GPU_BATCH)

    def prepare(self, pictures: Sequence[bytes]) -> list[Callable[[], Coded] | None]:
        """Analyse pictures together; return what codes each as ``code`` does, None where that has to do it alone."""
        from promptcodec.batch.runtime import codec

        chosen = codec(self.model, self.device, self.precision)
        codings: list[Callable[[], Coded] | None] = [None] * len(pictures)
        groups: dict[tuple[int, ...], list[tuple[int, Picture, list[Warning]]]] = {}
        for index, data in enumerate(pictures):
            with (
                warnings.catch_warnings(record=True) as caught,
                suppress(Exception),
            ):  # which its coding will meet again
                warnings.simplefilter("always")
                picture = chosen.read(data)
                messages = [each.message for each in caught if isinstance(each.message, Warning)]
                groups.setdefault(picture.rgb.shape, []).append((index, picture, messages))
        for group in groups.values():
            with warnings.catch_warnings(), suppress(Exception):
                warnings.simplefilter("ignore")  # what there is to say, each encode says
                analysed = chosen.analysed_batch([picture for _, picture, _ in group], self.memory)
                for (index, _, messages), each in zip(group, analysed, strict=True):
                    codings[index] = partial(self._code_analysed, each, pictures[index], messages)
        return codings

    def _code_analysed(self, picture: AnalysedPicture, data: bytes, messages: Sequence[Warning]) -> Coded:
        """Return what ``code`` does, and warn of what reading the picture did."""
        from promptcodec.api import info

        for message in messages:
            warnings.warn(message, stacklevel=2)
        coded = picture.encode(
            self.quality, target=self.target, strip=self.strip, preview=self.preview, verify=self.verify,
            source_hash=self.stamp(hashlib.sha256(data).digest()),
        )  # fmt: skip
        facts = info(coded)
        return Coded(coded, facts.width, facts.height)


@dataclass(frozen=True)
class DecodeSettings:
    """How to decode, and the format to write. ``max_pixels``: None trusts the files."""

    format: str = "png"
    model: str | None = None
    strip: bool = False
    device: str = "cpu"
    max_pixels: int | None = MAX_PIXELS
    adapters: tuple[str, ...] = ()
    scalars: tuple[tuple[str, float], ...] = ()
    crop: Rect | None = None
    preview: bool = False
    precision: Precision = "float32"

    verb = "decode"

    def __post_init__(self) -> None:
        """As of ``EncodeSettings``."""
        object.__setattr__(self, "scalars", tuple((name, float(value)) for name, value in self.scalars))

    @property
    def suffix(self) -> str:
        """Extension of the outputs."""
        return "." + self.format.lower().lstrip(".")

    def fingerprint(self) -> str:
        """Fingerprint of the model that is to decode all files; empty where each names its own."""
        return "" if self.model is None else read_metadata(find_model(self.model))["fingerprint"]

    def identity(self) -> dict[str, Any]:
        """As of ``EncodeSettings``."""
        return {
            "format": self.format.lower().lstrip("."), "strip": self.strip, "max_pixels": self.max_pixels,
            "adapters": [content_hash(path) for path in self.adapters], "scalars": dict(self.scalars),
            "crop": None if self.crop is None else asdict(self.crop), "preview": self.preview,
            "precision": self.precision,
        }  # fmt: skip

    def decode(self, source: Any, progress: Callable[[int, int], None] | None = None) -> tuple[Picture, int]:
        """Return the picture in a .ptc file (path, bytes or file object) and the file's size. Raises as ``decode``
        does.
        """
        from promptcodec.api import model_of, opened
        from promptcodec.api import preview as decode_preview
        from promptcodec.batch.runtime import codec

        if self.preview:
            from promptcodec.picture.read import read

            chosen = None if self.model is None else codec(self.model, self.device, self.precision)
            image = decode_preview(
                source, device=self.device, max_pixels=self.max_pixels, codec=chosen, precision=self.precision
            )
            picture, size = read(image), _size(source)
        else:
            with opened(source, self.max_pixels) as file:
                decoder = codec(self.model or str(model_of(file.header)), self.device, self.precision)
                picture = decoder.decode_picture(
                    file, adapters=self.adapters, settings=dict(self.scalars), crop=self.crop, progress=progress
                )
                size = file.size
        return picture.stripped() if self.strip else picture, size

    def code(self, data: bytes, name: str) -> Coded:
        """Return the picture of a .ptc file as a file of the wanted format."""
        from promptcodec.picture.write import write

        picture, _ = self.decode(data)
        file = io.BytesIO()
        write(picture, file, format=self.format)
        height, width = picture.rgb.shape[:2]
        return Coded(file.getvalue(), width, height)


def _size(source: Any) -> int:
    if isinstance(source, bytes):
        return len(source)
    return Path(source).stat().st_size if isinstance(source, (str, Path)) else 0


@dataclass(frozen=True)
class EvalSettings:
    """Codecs to measure, each at its settings: a row of results for each, as ``promptcodec eval`` writes them.

    ``plan``: codecs as ``eval --codec`` has them, each with its settings, such as ``("promptcodec", (25, 50))``.
    ``metrics``: beside PSNR and MS-SSIM. ``networks``: folder of the weights that LPIPS and DISTS need.
    """

    plan: tuple[tuple[str, tuple[float, ...]], ...] = (("promptcodec", (DEFAULT_QUALITY,)),)
    metrics: tuple[str, ...] = ()
    networks: str | None = None

    verb = "eval"
    suffix = ".jsonl"

    def fingerprint(self) -> str:
        """Names of the codecs, with their versions and options."""
        from promptcodec.evaluate.codecs.registry import open_codec

        codecs = [open_codec(spec) for spec, _ in self.plan]
        return "; ".join(f"{codec.name} {codec.version} {json.dumps(codec.options)}" for codec in codecs)

    def identity(self) -> dict[str, Any]:
        """As of ``EncodeSettings``."""
        return {"codecs": [[spec, list(at)] for spec, at in self.plan], "metrics": sorted(self.metrics)}

    def code(self, data: bytes, name: str) -> Coded:
        """Return the rows of a picture, a line each."""
        from promptcodec.batch.measuring import rows_of

        return rows_of(self.plan, self.metrics, self.networks, data, name)


Settings = EncodeSettings | DecodeSettings | EvalSettings
"""What a job does with each picture."""

_VERBS: dict[str, type[Settings]] = {
    "encode": EncodeSettings, "decode": DecodeSettings, "eval": EvalSettings,
}  # fmt: skip


def settings_from_json(verb: str, content: Mapping[str, Any]) -> Settings:
    """Settings from the JSON of their ``asdict``. Raises PromptcodecError for anything else."""
    try:
        kind = _VERBS[verb]
        known = {field.name for field in fields(kind)}
        values = {key: _tuples(value) for key, value in content.items() if key in known}
        if values.get("target"):
            values["target"] = Target(**content["target"])
        if values.get("crop"):
            values["crop"] = Rect(**content["crop"])
        return kind(**values)
    except (KeyError, TypeError, AttributeError) as error:
        raise PromptcodecError(f"the settings of the job cannot be read: {error!r}") from None


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def content_hash(source: str) -> str:
    """SHA-256 of a file, or what else stands in its place."""
    return hashlib.sha256(Path(source).read_bytes()).hexdigest() if Path(source).is_file() else source
