"""Pictures that are analysed once and encoded many times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from promptcodec.codec.adapters import Request
from promptcodec.codec.picture_encoder import FileOptions, KeptLatents, PictureEncoder
from promptcodec.codec.search import Target
from promptcodec.codec.tile_latents import Progress
from promptcodec.model.effort import Effort, effort_of
from promptcodec.picture.picture import Picture

if TYPE_CHECKING:
    from promptcodec.codec.adapters import MapSource


class AnalysedPicture:
    """A picture whose latents stay in memory, to be encoded at many qualities, targets and looks. ``Codec.analysed``
    makes it. Safe to use from several threads.

    Its files are those of ``Codec.encode`` with the same arguments, byte for byte, and take a fraction of the time:
    neither rate nor look acts in the analysis. Where a setting does, of an adapter with an encoder half, the picture is
    analysed anew, and the latest analysis is the one that is kept.
    """

    def __init__(self, encoder: PictureEncoder, request: Request, kept: KeptLatents) -> None:
        """``request``: with its maps read."""
        self._encoder, self._request, self._kept = encoder, request, kept

    @property
    def picture(self) -> Picture:
        """What was analysed: pixels, alpha and metadata, as they were read."""
        return self._encoder.picture

    @property
    def nbytes(self) -> int:
        """Memory in bytes of what is kept: pixels, alpha, metadata, latents and maps."""
        maps = sum(getattr(plane, "nbytes", 0) for plane in self._request.maps.values())
        return self._encoder.nbytes + self._kept.nbytes + maps

    def encode(
        self,
        quality: float | None = None,
        *,
        target: Target | None = None,
        settings: Mapping[str, float] | None = None,
        look: float | None = None,
        strip: bool = False,
        source_hash: bytes | None = None,
        effort: int | Effort = 0,
        preview: bool | None = None,
        verify: bool = False,
        progress: Progress | None = None,
    ) -> bytes:
        """Encode the picture into a .ptc file: arguments, warnings and errors are those of ``Codec.encode``.

        ``settings`` and ``look`` replace, or join, those that the picture was analysed with. An ``effort`` above 0
        refines latents for one rate, so it takes as long as it does in ``Codec.encode``.
        """
        options = FileOptions(strip, source_hash, preview, verify)
        request = self._with_settings(settings, look)
        with self._encoder.default_settings():
            return self._encoder.encode(request, quality, target, effort_of(effort), options, progress, self._kept)

    def encode_and_decode(
        self,
        quality: float | None = None,
        *,
        target: Target | None = None,
        settings: Mapping[str, float] | None = None,
        look: float | None = None,
        strip: bool = False,
        source_hash: bytes | None = None,
        effort: int | Effort = 0,
        preview: bool | None = None,
        verify: bool = False,
        progress: Progress | None = None,
    ) -> tuple[bytes, Picture]:
        """Encode as ``encode`` does, and return the picture that ``Codec.decode_picture`` makes of the file too.

        The integers that the file holds are at hand, so that its stream need not be decoded for it, unless the picture
        is divided into tiles; ``verify`` decodes it.
        """
        options = FileOptions(strip, source_hash, preview, verify)
        request = self._with_settings(settings, look)
        with self._encoder.default_settings():
            return self._encoder.encode_and_decode(
                request, quality, target, effort_of(effort), options, progress, self._kept
            )

    def with_maps(
        self,
        roi: MapSource | None = None,
        *,
        maps: Mapping[str, MapSource] | None = None,
        progress: Progress | None = None,
    ) -> AnalysedPicture:
        """Return the same picture with another region, or none; see ``Codec.encode`` for what one is.

        What was read is shared with this one, and the latents too where no map acts in their analysis: the region of
        the adapters in this package acts behind it. Raises as ``Codec.analysed`` does.
        """
        request = Request(self._request.adapters, self._request.settings, Request.of(roi=roi, maps=maps).maps)
        with self._encoder.default_settings():
            request = self._encoder.with_maps_read(request)
            return AnalysedPicture(self._encoder, request, self._encoder.analyse(request, progress, self._kept))

    def _with_settings(self, settings: Mapping[str, float] | None, look: float | None) -> Request:
        return self._request.with_settings(Request.of(settings=settings, look=look).settings)
